"""What the terminal can do, and how to leave it as it was found."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from typing import Final

# Mouse, bracketed paste and reports off, keyboard protocol off, line wrap on, main screen, cursor shown, plain colours.
_MODES_OFF: Final = (1000, 1003, 1015, 1006, 1016, 2004, 2048, 1004)
RESTORE: Final = "".join(f"\x1b[?{mode}l" for mode in _MODES_OFF) + "\x1b[<u\x1b[?7h\x1b[?1049l\x1b[?25h\x1b[0m"
_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)
_PATIENCE: Final = 3.0


def why_no_app() -> str | None:
    """Why a full-screen app cannot be shown here, in words; None when it can."""
    for name, stream in (("input", sys.__stdin__), ("output", sys.__stdout__), ("error output", sys.__stderr__)):
        if stream is None or stream.closed or not stream.isatty():
            return f"the {name} is no terminal"
    term = os.environ.get("TERM", "")
    return f"TERM is {term!r}, which can neither move the cursor nor clear the screen" if term in {"", "dumb"} else None


def hung_up(descriptor: int) -> bool:
    """Whether the other end of a terminal is gone (its window closed, its connection lost)."""
    poll = select.poll()
    poll.register(descriptor, 0)
    try:
        return any(event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))
    except OSError:
        return True


def restore() -> None:
    """Give the terminal back to the shell; for ends at which the app itself no longer can."""
    with contextlib.suppress(OSError):
        os.write(2, RESTORE.encode())


def die_soon(code: int) -> None:
    """End the process within seconds even when the orderly end hangs, as writing to a lost terminal does."""

    def end() -> None:
        restore()
        os._exit(code)

    timer = threading.Timer(_PATIENCE, end)
    timer.daemon = True
    timer.start()


def on_termination(leave: Callable[[int], None]) -> None:
    """Call `leave(exit code)` at SIGTERM or SIGHUP; a second signal ends the process at once."""
    seen: list[int] = []

    def handle(number: int, _frame: object) -> None:
        code = 128 + number
        if seen:
            restore()
            os._exit(code)
        seen.append(number)
        die_soon(code)
        leave(code)

    for number in _SIGNALS:
        signal.signal(number, handle)
