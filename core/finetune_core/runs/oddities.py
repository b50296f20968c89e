"""What stands in a run directory and does not belong there: pipes, sockets, devices, links, folders.

Nothing of it is opened: a pipe would be waited for, a device never ends, and a link may lead anywhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from finetune_core.errors import FtError, Problem
from finetune_core.runs.directory import RunDir
from finetune_core.text import one_line

_FILES: Final = (
    "recipe.yaml", "plan.json", "adapted.json", "data.json", "chat_template.jinja", "events.jsonl", "status.json",
    "lock", "trainer.lock", "worker.log",
)  # fmt: skip
_FOLDERS: Final = ("control", "checkpoints", "samples", "eval", "result")
# Folders of which the entries are files; checkpoints/ holds folders.
_HOLD_FILES: Final = ("control", "samples", "eval")
_CHECKPOINT: Final = "step-"
_KINDS: Final = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISREG, "a file"),
)
_CACHE: Final = "status.json"
_MOST: Final = 20
_Test = Callable[[int], bool]


@dataclass(frozen=True)
class Oddity:
    """Something in a run directory that is not what belongs there; `name` is relative to it."""

    name: str
    kind: str
    wanted: str

    def __str__(self) -> str:
        return f"{one_line(self.name, 100)} is {self.kind}, where {self.wanted} belongs"


def oddities(run: RunDir, *, deep: bool = True) -> list[Oddity]:
    """What does not belong into a run directory; of its folders' entries where `deep`, and then at most 20."""
    found = _at_top(run.path)
    odd = {oddity.name for oddity in found}
    if deep:
        for name in (*_HOLD_FILES, "checkpoints"):
            found += [] if name in odd else _inside(run.path, name)
    return found[:_MOST]


def refuse_oddities(run: RunDir) -> None:
    """Raise FtError with everything odd in a run that is to be started; not for the status, which is written anew."""
    found = [oddity for oddity in oddities(run) if oddity.name != _CACHE]
    if found:
        raise FtError([_problem(run, oddity) for oddity in found])


def _problem(run: RunDir, oddity: Oddity) -> Problem:
    return Problem(
        "the run directory is damaged",
        one_line(str(run.path / oddity.name), 200),
        f"it is {oddity.kind}, where {oddity.wanted} belongs",
        "move it out of the run directory, and put back what was there, if you have it",
    )


def _at_top(folder: Path) -> list[Oddity]:
    """The odd entries of a run directory itself, without a look at those that are as they should be."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                file, known = entry.is_file(follow_symlinks=False), entry.name in _FILES
                if (known and not file) or (entry.name in _FOLDERS and not entry.is_dir(follow_symlinks=False)):
                    mode = entry.stat(follow_symlinks=False).st_mode
                    found.append(Oddity(entry.name, kind_of(mode), "a file" if known else "a folder"))
    except OSError:
        return found
    return sorted(found, key=lambda oddity: (*_FILES, *_FOLDERS).index(oddity.name))


def _wrong(folder: Path, names: tuple[str, ...], is_right: _Test, wanted: str) -> Iterator[Oddity]:
    for name in names:
        mode = _mode(folder / name)
        if mode is not None and not is_right(mode):
            yield Oddity(name, kind_of(mode), wanted)


def _inside(folder: Path, name: str) -> list[Oddity]:
    """The odd entries of one of the folders; those of a name that no reader looks at are left alone."""
    try:
        entries = sorted(entry.name for entry in os.scandir(folder / name))
    except OSError:
        return []
    if name == "checkpoints":
        wanted = tuple(f"{name}/{entry}" for entry in entries if entry.startswith(_CHECKPOINT))
        return list(_wrong(folder, wanted, stat.S_ISDIR, "a folder"))
    wanted = tuple(f"{name}/{entry}" for entry in entries if not entry.startswith("."))
    return list(_wrong(folder, wanted, stat.S_ISREG, "a file"))


def kind_of(mode: int) -> str:
    """In words what an entry of this mode is."""
    return next((words for is_kind, words in _KINDS if is_kind(mode)), "something unknown")


def _mode(path: Path) -> int | None:
    try:
        return path.lstat().st_mode
    except OSError:
        return None
