"""The trash: where a deleted run lies for seven days, from where it can be restored.

An entry is the run's own directory under another name, `runs/.trash/<ns>-<name>` with the moment of its deletion in
unix nanoseconds. So it lies on the file system of the runs whatever links lead there. Deleting and restoring are one
rename each, and a crash leaves a run either here or there, whole. Lists of runs pass over names that begin with a dot.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from finetune_core.errors import FtError, Problem, problem
from finetune_core.paths import private_folder, refused, runs_root
from finetune_core.runs.directory import RunDir, begins
from finetune_core.runs.upkeep.claim import claimed
from finetune_core.runs.view import history
from finetune_core.text import one_line

KEPT_SECONDS: Final = 7 * 24 * 3600
_ENTRY: Final = re.compile(r"(\d{18,20})-(.+)", re.DOTALL)
# What is being removed for good; it is no entry any more, and whoever comes next finishes the removal.
_DOOMED: Final = ".doomed-"
# As `lifecycle.delete` names what it removes among the runs.
_DELETED: Final = ".deleted-"
# A removal takes less, unless it was interrupted.
_INTERRUPTED_SECONDS: Final = 600.0
_NAMES_SHOWN: Final = 8


@dataclass(frozen=True)
class Trashed:
    """One deleted run; `deleted` is in unix seconds."""

    path: Path
    name: str
    deleted: float

    @property
    def expires(self) -> float:
        """When it is deleted for good, in unix seconds."""
        return self.deleted + KEPT_SECONDS


def move_to_trash(run: RunDir) -> Trashed:
    """Move a run to the trash. Raises FtError while it is live, or when the disk refuses; then it stays where it is."""
    with claimed(run):
        moment = time.time_ns()
        try:
            path = run.path.rename(private_folder(_folder()) / f"{moment}-{run.name}")
        except OSError as error:
            raise problem(
                "the run cannot be moved to the trash",
                where=one_line(str(run.path), 200),
                why=error.strerror or str(error),
                remedy="check the rights there, or remove the directory by hand",
            ) from error
    history.forget(run)
    return Trashed(path, run.name, moment / 1e9)


def list_trash() -> list[Trashed]:
    """What lies in the trash, deleted last first. Raises FtError when it cannot be read."""
    found = []
    for entry in _scan(_folder()):
        match = _ENTRY.fullmatch(entry.name)
        if match is not None and entry.is_dir():
            found.append(Trashed(Path(entry.path), match[2], int(match[1]) / 1e9))
    return sorted(found, key=lambda one: one.deleted, reverse=True)


def restore(one: Trashed) -> RunDir:
    """Put a deleted run back among the runs, under another name where its own is taken. Raises FtError."""
    root = runs_root()
    for count in range(1, 1000):
        path = root / (one.name if count == 1 else f"{one.name}-{count}")
        if os.path.lexists(path):
            continue
        try:
            return RunDir(one.path.rename(path))
        except FileExistsError:
            continue
        except OSError as error:
            gone = isinstance(error, FileNotFoundError)
            raise problem(
                "the run cannot be restored",
                where=one_line(one.name, 200),
                why="it is no longer in the trash" if gone else error.strerror or str(error),
                remedy="see what is there: `ft-tui trash`",
            ) from error
    raise problem("the run cannot be restored", where=one.name, why="its name is taken", remedy="rename the other run")


def find_trashed(name: str) -> Trashed:
    """The deleted run of this name, or of this unique beginning of it; of several of one name the one deleted last.

    Raises FtError when there is none, or several names begin so.
    """
    entries = list_trash()
    exact = [one for one in entries if one.name == name]
    matches = exact[:1] or [one for one in entries if name and begins(one.name, name)]
    if len({one.name for one in matches}) == 1:
        return matches[0]
    shown = [one_line(one.name, 80) for one in (matches or entries)]
    more = f" and {len(shown) - _NAMES_SHOWN} more" if len(shown) > _NAMES_SHOWN else ""
    listed = ", ".join(shown[:_NAMES_SHOWN]) + more
    raise problem(
        "several deleted runs begin like this" if matches else "no deleted run begins like this",
        where=one_line(name, 80) or "an empty name",
        why=f"in the trash {'are' if len(shown) > 1 else 'is'} {listed}" if shown else "the trash is empty",
        remedy="give more of the name" if matches else "take one of these; `ft-tui trash` lists them all",
    )


def empty_trash(*, only_expired: bool = False) -> list[Trashed]:
    """Remove for good what lies in the trash, or what has lain there for seven days; gives what was removed.

    Finishes removals that were interrupted. Raises FtError when something cannot be removed.
    """
    now = time.time()
    doomed = [one for one in list_trash() if not only_expired or now >= one.expires]
    problems = [found for one in doomed if (found := _remove_entry(one)) is not None]
    for entry in (*_scan(_folder(), _DOOMED), *_scan(runs_root(), _DELETED)):
        # What another process removes at this moment, or may not be removed, is tried again next time.
        if now - _moment_at_end(entry.name) > _INTERRUPTED_SECONDS:
            with suppress(OSError):
                _remove(Path(entry.path))
    if problems:
        raise FtError(problems)
    return doomed


def _remove_entry(one: Trashed) -> Problem | None:
    """Remove one entry: renamed first, since half of it is no run that could be restored."""
    try:
        _remove(one.path.rename(one.path.with_name(f"{_DOOMED}{one.name}-{time.time_ns()}")))
    except FileNotFoundError:
        return None
    except OSError as error:
        why = error.strerror or str(error)
        where = one_line(str(error.filename or one.path), 200)
        return Problem("a deleted run cannot be removed wholly", where, why, "check the rights there")
    return None


def _moment_at_end(name: str) -> float:
    """When a removal began, in unix seconds, as the end of the name says; 0 where it says nothing."""
    moment = name.rpartition("-")[2]
    return int(moment) / 1e9 if moment.isascii() and moment.isdigit() else 0.0


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


def size_of(path: Path) -> int:
    """Bytes of all files below a directory, each counted once; of a link to a directory 0, since only that goes."""
    seen: set[tuple[int, int]] = set()
    total = 0
    if path.is_symlink():
        return 0
    for folder, _, files in os.walk(path):
        for name in files:
            with suppress(OSError):
                info = Path(folder, name).lstat()
                if stat.S_ISREG(info.st_mode) and (info.st_dev, info.st_ino) not in seen:
                    seen.add((info.st_dev, info.st_ino))
                    total += info.st_size
    return total


def _folder() -> Path:
    return runs_root() / ".trash"


def _scan(folder: Path, prefix: str = "") -> Iterator[os.DirEntry[str]]:
    """The entries of a folder that begin so; nothing of one that is not there."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if entry.name.startswith(prefix)]
    except FileNotFoundError:
        return
    except OSError as error:
        raise refused(error, folder, "the trash cannot be read") from error
    yield from found
