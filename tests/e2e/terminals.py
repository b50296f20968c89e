"""Real terminals for end-to-end tests: a pty with an emulator behind it, and tmux where it is installed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pyte

KEYS = {
    "enter": "\r", "escape": "\x1b", "tab": "\t", "shift+tab": "\x1b[Z", "backspace": "\x7f", "pagedown": "\x1b[6~",
    "pageup": "\x1b[5~", "down": "\x1b[B", "home": "\x1b[H", "end": "\x1b[F",
}  # fmt: skip
TMUX_KEYS = {"enter": "Enter", "escape": "Escape", "tab": "Tab", "pagedown": "NPage", "pageup": "PPage", "down": "Down"}


class Terminal(Protocol):
    """What a person does with a terminal: press, type, look, and lose it."""

    def press(self, key: str) -> None: ...

    def type(self, text: str) -> None: ...

    def text(self) -> str: ...

    def close(self) -> None: ...


def wait_until(condition: Callable[[], bool], *, seconds: float, what: Callable[[], str]) -> None:
    """Poll until the condition holds; fail with words and what was seen."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s; last seen:\n{what()}")
        time.sleep(0.05)


def wait_for(terminal: Terminal, pattern: str, *, seconds: float = 30) -> str:
    """Wait until the screen shows the pattern; returns the screen."""
    seen = [""]

    def shown() -> bool:
        seen[0] = terminal.text()
        return re.search(pattern, seen[0]) is not None

    wait_until(shown, seconds=seconds, what=lambda: f"(looking for {pattern!r})\n{seen[0]}")
    return seen[0]


def a_moment() -> None:
    """A person's pause between two keys: keys sent at once all go to what had the focus before the first of them."""
    time.sleep(0.3)


class PtyTerminal:
    """A program on a pty whose output is drawn by a terminal emulator."""

    def __init__(self, command: Sequence[str], *, size: tuple[int, int], env: Mapping[str, str], cwd: Path) -> None:
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execvpe(command[0], list(command), {**os.environ, "TERM": "xterm-256color", **env})
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        # Never waits in read(): the descriptor would be closed under it, and its number given to another test's pipe.
        while not self._closing.is_set():
            if not select.select([self._terminal], [], [], 0.05)[0]:
                continue
            try:
                data = os.read(self._terminal, 65536)
            except OSError:
                return
            if not data:
                return
            with self._lock:
                self._stream.feed(data)

    def press(self, key: str) -> None:
        os.write(self._terminal, KEYS.get(key, key).encode())

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def text(self) -> str:
        with self._lock:
            return "\n".join(line.rstrip() for line in self._screen.display)

    def kill(self) -> None:
        """`kill -9` of the program and its whole group, as a lost connection or an angry admin does."""
        os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self, seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while os.waitpid(self.pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                raise AssertionError(f"the program did not end within {seconds} s")
            select.select([], [], [], 0.05)

    def close(self) -> None:
        """Take the terminal away, as a closed lid does."""
        self._closing.set()
        self._reader.join()
        os.close(self._terminal)


class TmuxTerminal:
    """A program in a detached tmux session on a server of its own."""

    def __init__(self, command: Sequence[str], *, size: tuple[int, int], env: Mapping[str, str], cwd: Path) -> None:
        self._socket = f"ft-{uuid.uuid4().hex[:8]}"
        variables = [part for name, value in env.items() for part in ("-e", f"{name}={value}")]
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", str(size[0]), "-y", str(size[1]), "-c", str(cwd),
                   *variables, *command)  # fmt: skip

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(["tmux", "-L", self._socket, *arguments], capture_output=True, text=True, check=True)
        return done.stdout

    def press(self, key: str) -> None:
        self._tmux("send-keys", TMUX_KEYS.get(key, key))

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)

    def text(self) -> str:
        return self._tmux("capture-pane", "-p")

    def close(self) -> None:
        self._tmux("kill-server")


def has_tmux() -> bool:
    """Whether tmux is installed here."""
    return shutil.which("tmux") is not None
