"""At most one supervisor for each run, held by the kernel: released at any death, never left behind."""

from __future__ import annotations

import fcntl
import os

from ft_core.runs.directory import RunDir


class RunLock:
    """A POSIX record lock on the run's lock file.

    `lockf`, not `flock`: children of the trainer must not inherit it. It belongs to the process, so it guards one
    process from another, not two threads of one.
    """

    def __init__(self, run: RunDir) -> None:
        self._path = run.lock_file
        self._handle = -1

    def acquire(self) -> bool:
        """Take the lock; False when another process holds it. Raises OSError where the file cannot be opened."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(handle)
            return False
        self._handle = handle
        return True

    def held_elsewhere(self) -> bool:
        """Whether another process holds the lock now; not for one that holds it itself."""
        try:
            if not self.acquire():
                return True
        except OSError:
            return False
        self.release()
        return False

    def release(self) -> None:
        """Let the lock go; does no harm when it is not held."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
