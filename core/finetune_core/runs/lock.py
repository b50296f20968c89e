"""Who may write into a run, held by the kernel: released at any death, never left behind, seen from every namespace.

Two locks: the run's own, held by its supervisor, and the trainer's, which shows that a trainer has outlived its
supervisor. Whoever writes journal, status or answers of a run holds one of them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from pathlib import Path
from typing import Final

from finetune_core.runs.directory import RunDir

# struct flock of fcntl(2) on 64-bit Linux: type, whence, start, length, pid.
_FLOCK: Final = "hhqqi"
# Files whose lock this process holds, by device and inode, with its pid: to close any descriptor of such a file would
# let the lock go (fcntl(2)), so it is not opened a second time; a forked child inherits the table and not the lock.
_held_here: dict[tuple[int, int], int] = {}


class RunLock:
    """A POSIX record lock on a run's lock file, or on its trainer's.

    `lockf`, not `flock`: children of the trainer must not inherit it. It belongs to the process, and to one RunLock in
    it.
    """

    def __init__(self, run: RunDir, *, trainer: bool = False) -> None:
        self._path = run.trainer_lock_file if trainer else run.lock_file
        self._handle = -1
        self._key = (0, 0)

    def acquire(self) -> bool:
        """Take the lock; False when it is held already. Raises OSError where the file cannot be opened or is odd."""
        if _is_held_here(self._path):
            return False
        handle = open_lock(self._path, create=True)
        if not locked(handle):
            os.close(handle)
            return False
        info = os.fstat(handle)
        self._handle, self._key = handle, (info.st_dev, info.st_ino)
        _held_here[self._key] = os.getpid()
        return True

    def held(self) -> bool:
        """Whether any process holds the lock now, this one included; nothing is taken."""
        return _is_held_here(self._path) or self.held_elsewhere()

    def held_elsewhere(self) -> bool:
        """Whether another process holds the lock now; nothing is taken."""
        if _is_held_here(self._path):
            return False
        try:
            handle = open_lock(self._path)
        except OSError:
            return False
        try:
            return held_by_other(handle)
        except OSError:
            return False
        finally:
            os.close(handle)

    def release(self) -> None:
        """Let the lock go; does no harm when it is not held."""
        if self._handle >= 0:
            _held_here.pop(self._key, None)
            os.close(self._handle)
            self._handle = -1


def at_work(run: RunDir) -> bool:
    """Whether a supervisor or trainer holds a lock of the run."""
    return RunLock(run).held() or RunLock(run, trainer=True).held()


def _is_held_here(path: Path) -> bool:
    try:
        info = path.lstat()
    except OSError:
        return False
    return _held_here.get((info.st_dev, info.st_ino)) == os.getpid()


def open_lock(path: Path, *, create: bool = False) -> int:
    """A descriptor of a lock file, never a link, and never waited for. Raises OSError, also for what is no file."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | (os.O_CREAT if create else 0)
    handle = os.open(path, flags, 0o600)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


def locked(handle: int) -> bool:
    """Lock a file for this process; False when another one has it."""
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def held_by_other(handle: int) -> bool:
    """Whether another process holds a lock here, without taking it for a moment oneself."""
    return owner_of(handle) is not None


def owner_of(handle: int) -> int | None:
    """The pid of another process that holds a lock here; None when none does, 0 or less where it has no pid for us.

    The latter is so for a process of another PID namespace. Raises OSError where the file system has no locks.
    """
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, *_, pid = struct.unpack(_FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, asked))
    return None if kind == fcntl.F_UNLCK else int(pid)
