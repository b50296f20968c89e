"""Where ft-tui keeps what it writes: under FT_TUI_HOME, or the platform's user data folder."""

from __future__ import annotations

import errno
import os
import pwd
import shlex
import stat
from pathlib import Path
from typing import Final

from platformdirs import user_data_path

from finetune_core.errors import FtError, problem
from finetune_core.text import one_line

HOME_VARIABLE = "FT_TUI_HOME"
_WRITERS: Final = ((stat.S_IWGRP, "its group"), (stat.S_IWOTH, "every user of the machine"))


def home() -> Path:
    """The folder that holds everything the program writes, made private (0700) if it is not there.

    Raises FtError when it cannot be made, as do the folders below it.
    """
    chosen = os.environ.get(HOME_VARIABLE)
    return private_folder(_absolute(chosen) if chosen else user_data_path("ft-tui"))


def expanded(text: str | Path) -> Path:
    """The path with `~` as the user's home; `~nobody`, who has none, stays as it is and is then not found."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - pathlib's raises for a user without a home


def _absolute(chosen: str) -> Path:
    try:
        return Path(chosen).expanduser().absolute()
    except (OSError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise problem(
            f"{HOME_VARIABLE} names no folder",
            where=one_line(f"{HOME_VARIABLE}={chosen}", 200),
            why=one_line(str(why), 200),
            remedy="give it a whole path, which begins with /",
        ) from error


def runs_root() -> Path:
    """The folder of all run directories."""
    return private_folder(home() / "runs")


def drafts_root() -> Path:
    """The folder of unfinished wizard sessions."""
    return private_folder(home() / "drafts")


def cache_root() -> Path:
    """The folder of what can be computed again: scans, traces, histories."""
    return private_folder(home() / "cache")


def private_folder(path: Path) -> Path:
    """Make `path` (and its parents) if needed; a folder made here can be entered by its owner only.

    Raises FtError when the system refuses, and for a folder that another user could put files into (`require_own`).
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_own(path)
    except OSError as error:
        raise refused(error, path, "the folder for runs and settings cannot be used") from error
    return path


def require_own(path: Path) -> None:
    """Raise FtError where another user could change what is read from this folder. OSError when it is not there.

    What lies in it is obeyed: recipes, requests, checkpoints. A link is followed where you or root made it.
    """
    link, info = path.lstat(), path.stat()
    me, moved = os.geteuid(), f"set {HOME_VARIABLE} to a folder that you made yourself"
    if link.st_uid not in {me, 0} or info.st_uid != me:
        other = info.st_uid if info.st_uid != me else link.st_uid
        kind = "link" if stat.S_ISLNK(link.st_mode) and info.st_uid == me else "folder"
        why = f"the {kind} belongs to {_user(other)}, who could change what is trained and how"
        raise _not_private(path, "belongs to another user", why, moved)
    if writers := [who for bit, who in _WRITERS if info.st_mode & bit]:
        why = f"{' and '.join(writers)} may write there, and so change what is trained and how"
        raise _not_private(path, "is open to others", why, f"type: chmod go-w {shlex.quote(str(path))} (or {moved})")


def _user(number: int) -> str:
    try:
        return f"the user {one_line(pwd.getpwuid(number).pw_name, 60)}"
    except KeyError:
        return f"the user number {number}"


def _not_private(path: Path, how: str, why: str, remedy: str) -> FtError:
    return problem(f"a folder of the program {how}", where=one_line(str(path), 200), why=why, remedy=remedy)


def require_writable(path: Path) -> None:
    """Raise FtError when nothing can be made in this folder."""
    if not os.access(path, os.W_OK | os.X_OK):
        error = OSError(errno.EACCES, os.strerror(errno.EACCES))
        raise refused(error, path, "nothing can be written to the folder for runs and settings")


def refused(error: OSError, path: Path, what: str) -> FtError:
    """What a user can do about a file or folder of the program that the system refused to make or read."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        free = "free some disk space (`ft-tui trash empty` frees that of deleted runs)"
        remedy = f"{free}; {HOME_VARIABLE} moves everything to another place"
    else:
        remedy = f"set {HOME_VARIABLE} to a folder you can write to"
    taken = error.errno in {errno.EEXIST, errno.ENOTDIR}
    why = "a file of that name, or of a name on the way there, is no folder" if taken else error.strerror or str(error)
    return problem(what, where=one_line(str(path), 200), why=why, remedy=remedy)
