"""The real program in a pseudo terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from typing import Self


def _own_terminal() -> None:
    """In the child: standard input becomes the terminal that a hang-up is told to."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """A program whose only way in and out is a terminal; `output` is everything it has sent."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        columns: int = 80,
        lines: int = 24,
        environment: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        variables = {**os.environ, "TERM": "xterm-256color", **(environment or {})}
        for name in ("COLUMNS", "LINES"):
            variables.pop(name, None)
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, "-m", "finetune_tui.cli", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=variables,
            start_new_session=True,
            preexec_fn=_own_terminal,  # noqa: PLW1509 - one call, in a child without threads
        )
        os.close(slave)
        self.output = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self.hang_up()

    def hang_up(self) -> None:
        """Close the terminal, as a lost connection does."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def send(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    def read(self, seconds: float) -> bytes:
        """What comes within so many seconds (nothing when the program has gone)."""
        deadline, start = time.monotonic() + seconds, len(self.output)
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._master], [], [], left)[0] and not self._take():
                break
        return self.output[start:]

    def until(self, wanted: str, seconds: float = 30.0) -> None:
        """Read until the program has sent these words, or fail with what it sent."""
        deadline = time.monotonic() + seconds
        while wanted.encode() not in self.output:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self._master], [], [], left)[0]
            assert ready and self._take(), f"{wanted!r} never came: {self.output[-3000:]!r}"  # noqa: PT018 - one fault

    def _take(self) -> bool:
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return False
        self.output += data
        return bool(data)

    def end(self, seconds: float = 15.0) -> int:
        """Wait for the program's end, reading on; gives its exit code."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it did not end: {self.output[-2000:]!r}"
            if self._master >= 0:
                self.read(0.05)
            else:
                self.process.wait(max(0.1, deadline - time.monotonic()))
        if self._master >= 0:
            self.read(0.2)
        return self.process.returncode
