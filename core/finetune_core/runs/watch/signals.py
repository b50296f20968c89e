"""The supervisor's signals: a request to end is noted with its sender, a hang-up is nothing, a wait ends early."""

from __future__ import annotations

import os
import pwd
import signal
from pathlib import Path
from types import FrameType
from typing import Final, Self

from finetune_core.text import one_line

# Schedulers announce the end of a job by either: Slurm's --signal=USR1@60, and SIGTERM by nearly all.
ENDING: Final = frozenset({signal.SIGTERM, signal.SIGUSR1})
_WAITED_FOR: Final = ENDING | {signal.SIGCHLD}


class Signals:
    """SIGTERM and SIGUSR1 counted, SIGHUP ignored; `wait` ends when one comes, or a child ends.

    They are blocked and waited for, since only so the kernel names who sent them. `last` says it in words. A child is
    to begin with `give_back` in its own process.
    """

    def __init__(self) -> None:
        self.terms = 0
        self.last = ""

    def __enter__(self) -> Self:
        self._before = {
            signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_IGN),
            # Another thread of this process may be given the signal: it must not be its end.
            **{number: signal.signal(number, self._note) for number in ENDING},
            signal.SIGCHLD: signal.signal(signal.SIGCHLD, lambda *_: None),
        }
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
        return self

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def give_back(self) -> None:
        """Let signals reach this process as they did before; for a child between fork and exec."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def wait(self, seconds: float) -> None:
        """Wait at most so long; what has come is counted."""
        found = signal.sigtimedwait(_WAITED_FOR, seconds)
        if found is not None and found.si_signo in ENDING:
            self.terms += 1
            name = signal.Signals(found.si_signo).name
            self.last = f"{name} {sender(found.si_pid, found.si_uid)}".strip()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.terms += 1
        self.last = signal.Signals(number).name


def sender(pid: int, uid: int) -> str:
    """Who sent a signal, as `from bash (pid 812) of alice`; empty where the kernel itself did."""
    if pid <= 0:
        return ""
    try:
        name = f"{one_line(Path(f'/proc/{pid}/comm').read_text(errors='replace'), 40)} (pid {pid})"
    except OSError:
        name = f"pid {pid}, which has ended,"
    return f"from {name} of {_user(uid)}"


def _user(uid: int) -> str:
    if uid == os.getuid():
        return "this user"
    try:
        return one_line(pwd.getpwuid(uid).pw_name, 40)
    except KeyError:
        return f"user {uid}"
