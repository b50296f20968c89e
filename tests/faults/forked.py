"""Processes forked from one that holds nothing they would share."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable

from tqdm.std import TqdmDefaultWriteLock


def fork() -> int:
    """Fork as `os.fork` does. RuntimeError when the child would share a lock, or lack a thread, of this process.

    tqdm's lock is a semaphore that all forked processes share: one killed while it draws a bar never releases it.
    """
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if threads or hasattr(TqdmDefaultWriteLock, "mp_lock"):
        raise RuntimeError(f"not to be forked: threads {threads}, or tqdm's lock, would be shared")
    return os.fork()


def apart(work: Callable[[], object]) -> None:
    """Do the work in a forked process, which leaves nothing behind in this one. RuntimeError when it fails."""
    pid = fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - nothing may go on as a second copy of the parent
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise RuntimeError(f"the forked process ended with {code}")
