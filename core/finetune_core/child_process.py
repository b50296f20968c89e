"""Helper processes, which end with the process that started them: also when that one is killed and cannot say so.

A helper holds one end of a pipe, and whoever started it the other. The kernel closes the latter with its owner, and
then ends the helper and all it has started itself, whatever they are doing. A run's supervisor and trainer are no
helpers: nothing ties them to the program that launched them.
"""

from __future__ import annotations

import fcntl
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Final

# Where the kernel sends another signal than SIGIO (Linux; fcntl(2), F_SETSIG).
_SET_SIGNAL: Final = getattr(fcntl, "F_SETSIG", 10)
_LOOK_SECONDS: Final = 0.01


def python_command(module: str, *arguments: str) -> list[str]:
    """This Python running a module, which nothing in the folder where the user stands can take the place of."""
    return [sys.executable, "-P", "-m", module, *arguments]


class Helper(subprocess.Popen[bytes]):
    """A Python module run in a process and session of its own, that ends when this object or this process does."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str] = (),
        *,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.DEVNULL,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        tie, held = os.pipe()
        self._held = os.fdopen(held, "wb", buffering=0)
        try:
            super().__init__(
                python_command(__name__, str(tie), module, *arguments),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd,
                env=None if env is None else dict(env),
                pass_fds=(tie,),
                start_new_session=True,
            )
        finally:
            os.close(tie)

    def __del__(self) -> None:
        # Popen keeps itself to be waited for when nobody else does; its helper has nothing to do any more.
        self._held.close()
        super().__del__()

    def end(self, patience: float = 2.0) -> None:
        """Ask the helper and all it started to end, and kill them after `patience` seconds; 0 kills at once."""
        if self.poll() is not None:
            return
        deadline = time.monotonic() + patience
        if patience:
            self._signal_all(signal.SIGTERM)
        while time.monotonic() < deadline and not self._has_ended():
            time.sleep(_LOOK_SECONDS)
        # As long as its end was not taken note of, no other group can have its number.
        self._signal_all(signal.SIGKILL)
        self.wait()

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _signal_all(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def end_with(descriptor: int, *, group: bool) -> None:
    """End this process, or its whole `group`, as soon as the other end of a pipe is closed. Nothing may come from it.

    The kernel does it where it can, so that no code that is at work keeps it from that; else a thread waits.
    """
    owner = -os.getpgrp() if group else os.getpid()
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, owner)
        fcntl.fcntl(descriptor, _SET_SIGNAL, signal.SIGKILL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)
    except (OSError, AttributeError):
        threading.Thread(target=_end_when_closed, args=(descriptor, group), daemon=True).start()
        return
    # It may have been closed before.
    if select.select([descriptor], [], [], 0)[0]:
        _end_when_closed(descriptor, group)


def _end_when_closed(descriptor: int, group: bool) -> None:  # noqa: FBT001 - of a thread
    select.select([descriptor], [], [])
    if group:
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def main() -> None:
    """Run the module named second with the arguments behind it, tied to the descriptor named first."""
    tie = int(sys.argv[1])
    os.set_inheritable(tie, False)
    end_with(tie, group=True)
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
