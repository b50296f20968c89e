"""Models in the hub's cache: what each takes on the disk, and taking one away."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from finetune_core.errors import FtError, problem
from finetune_core.models.find import hub_cache
from finetune_core.text import one_line

_PREFIX: Final = "models--"
_LOCKS: Final = ".locks"


@dataclass(frozen=True)
class Downloaded:
    """A model's folder in the cache: bytes on the disk, and when it was last changed (seconds since 1970).

    `whole` is false while a download of it is going on, or after one that broke off.
    """

    name: str
    path: Path
    size: int
    changed: float
    whole: bool


def downloaded() -> tuple[Downloaded, ...]:
    """Every model of the cache, the largest first; never raises."""
    try:
        folders = [path for path in hub_cache().iterdir() if path.name.startswith(_PREFIX) and path.is_dir()]
    except OSError:
        return ()
    return tuple(sorted(map(_measured, folders), key=lambda one: (-one.size, one.name)))


def _measured(folder: Path) -> Downloaded:
    """Counts each file once: snapshots hold links to the blobs, or files of their own where links are not made."""
    size, changed, whole = 0, 0.0, True
    seen: set[tuple[int, int]] = set()
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                info = os.lstat(os.path.join(place, name))  # noqa: PTH118 - a walk over thousands of files
            except OSError:
                continue
            if stat.S_ISREG(info.st_mode) and (info.st_dev, info.st_ino) not in seen:
                seen.add((info.st_dev, info.st_ino))
                size, changed = size + info.st_size, max(changed, info.st_mtime)
                whole = whole and not name.endswith(".incomplete")
    return Downloaded(folder.name.removeprefix(_PREFIX).replace("--", "/", 1), folder, size, changed, whole)


def find_downloaded(name: str) -> Downloaded:
    """The model of this name. Raises FtError where the cache has none, with what it has."""
    every = downloaded()
    found = next((one for one in every if one.name == name), None)
    if found is not None:
        return found
    there = ", ".join(one.name for one in every[:8]) or "none"
    raise problem(
        f"the cache holds no model `{one_line(name, 100)}`",
        where=one_line(str(hub_cache()), 200),
        why=f"it holds: {one_line(there, 300)}",
        remedy="give a name as `ft-tui models --downloaded` writes it; a model in a folder of yours is yours to delete",
    )


def remove(model: Downloaded) -> None:
    """Take a model out of the cache for good. At no moment half of it is found under its name. Raises FtError."""
    if model.path.is_symlink():
        raise _kept(model, "its folder is a link to another place", "delete what it points to, then the link")
    aside = model.path.with_name(f".removed-{secrets.token_hex(4)}")
    try:
        model.path.rename(aside)
        shutil.rmtree(aside)
    except OSError as error:
        raise _kept(model, error.strerror or str(error), f"look at the rights of {model.path.parent}") from error
    shutil.rmtree(hub_cache() / _LOCKS / model.path.name, ignore_errors=True)


def _kept(model: Downloaded, why: str, remedy: str) -> FtError:
    return problem(
        f"{one_line(model.name, 100)} cannot be removed whole",
        where=one_line(str(model.path), 200),
        why=one_line(why, 200),
        remedy=one_line(remedy, 300),
    )
