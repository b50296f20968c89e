"""The lock of a GPU that every user and every home of this machine sees: a file named by the card's UUID.

It lies in a folder where all may write and none may delete what is another's (sticky, as /tmp). Files there may be
anybody's, so one is never followed as a link, nor written to where it is more than a plain file of one name: then it
counts as not there, and NVML's list of processes is what is left to see others by.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from finetune_core.runs.lock import owner_of
from finetune_core.text import one_line

PLACE_VARIABLE: Final = "FT_TUI_SHARED_LOCKS"
# Chosen by what all users see alike, never by what this one may do: root and others must come to the same folder.
_PLACES: Final = ("/run/lock", "/dev/shm", "/tmp")  # noqa: S108 - any user may write there, which is what it is for
_PREFIX: Final = "ft-tui-gpu-"
_FOR_ALL: Final = 0o666
_TEXT_BYTES: Final = 512


def shared_place() -> Path | None:
    """The folder of the locks, as every user of this machine finds it; None where there is none.

    FT_TUI_SHARED_LOCKS names another one; set to nothing, no lock is shared.
    """
    chosen = os.environ.get(PLACE_VARIABLE)
    if chosen is not None:
        return Path(chosen) if chosen and Path(chosen).is_dir() else None
    return next((Path(place) for place in _PLACES if _open_to_all(Path(place))), None)


def _open_to_all(folder: Path) -> bool:
    with suppress(OSError):
        info = folder.lstat()
        wanted = stat.S_IWOTH | stat.S_IXOTH | stat.S_ISVTX
        return stat.S_ISDIR(info.st_mode) and info.st_uid == 0 and info.st_mode & wanted == wanted
    return False


def lock_path(uuid: str) -> Path | None:
    """The file of a GPU's shared lock."""
    place = shared_place()
    return place / (_PREFIX + (re.sub(r"[^A-Za-z0-9-]", "_", uuid)[:100] or "_") + ".lock") if place else None


class SharedLock:
    """The shared lock of one GPU, held by this process until `release` or its death."""

    def __init__(self, uuid: str) -> None:
        self._uuid = uuid
        self._handle = -1

    def acquire(self, run_name: str) -> str | None:
        """Take the lock; None when it is ours, or cannot be shared on this machine, else in words who has it."""
        path = lock_path(self._uuid)
        handle = _opened(path, create=True) if path is not None else None
        if handle is None:
            return None
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            words = _holder(handle) or "another run"
            os.close(handle)
            return words
        with suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, run_name.encode()[:_TEXT_BYTES], 0)
        self._handle = handle
        return None

    def release(self) -> None:
        """Let the lock go; does no harm when it is not held."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def shared_holder(uuid: str) -> str | None:
    """In words which process of this machine holds the GPU's lock; None when none does. Nothing is taken.

    Not for a process that holds the lock itself: closing the file would let it go.
    """
    path = lock_path(uuid)
    handle = _opened(path, create=False) if path is not None else None
    if handle is None:
        return None
    try:
        return _holder(handle)
    finally:
        os.close(handle)


def _opened(path: Path, *, create: bool) -> int | None:
    """The lock file, opened for reading and writing; None where it is not there or is none to be touched."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    # The kernel refuses O_CREAT for a file of another user in such a folder (fs.protected_regular).
    for more in (0, os.O_CREAT | os.O_EXCL, 0) if create else (0,):
        try:
            handle = os.open(path, flags | more, _FOR_ALL)
        except OSError:
            continue
        info = os.fstat(handle)
        if stat.S_ISREG(info.st_mode) and info.st_nlink == 1 and info.st_size <= _TEXT_BYTES:
            if more:
                # Whatever the umask: other users lock this file too.
                os.fchmod(handle, _FOR_ALL)
            return handle
        os.close(handle)
        return None
    return None


def _holder(handle: int) -> str | None:
    """Who holds the lock: user and process as the kernel knows them, and the run's name as the file has it."""
    try:
        pid = owner_of(handle)
    except OSError:
        return None
    if pid is None:
        return None
    name = one_line(os.pread(handle, _TEXT_BYTES, 0).decode(errors="replace"), 80)
    run = f"run {name}" if name else "a run"
    # A process of another container has no number here.
    return f"{run} of {_user(pid)} (pid {pid})" if pid > 0 else f"{run} outside this container"


def _user(pid: int) -> str:
    import psutil

    try:
        return f"user {one_line(psutil.Process(pid).username(), 40)}"
    except (psutil.Error, OSError, KeyError):
        return "another user"
