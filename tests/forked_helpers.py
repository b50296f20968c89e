"""Helper processes forked from one that has imported the training stack, in place of a fresh Python for each.

Importing it costs seconds of CPU time, and hundreds of tests start a helper that needs it. A forked helper runs the
same module with the same arguments, pipes, session and tie to its parent; only the imports are there already. Fresh
ones have the tests of how helpers start and end, end-to-end tests, and whoever carries the mark `fresh_helpers`.
"""

from __future__ import annotations

import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, Final, NoReturn

from finetune_core.child_process import Helper, end_with

# Modules that bind the name `Helper`, and those whose processes need the stack and ask no hub.
USERS: Final = (
    "finetune_core.child_messages.Helper",
    "finetune_core.data.tokens.process.Helper",
    "finetune_core.plan.memory.traced.Helper",
    "finetune_core.runs.start.preflight.Helper",
)
_FORKED: Final = frozenset(
    f"finetune_core.worker.{name}" for name in ("rows.server", "memory.trace", "memory.layer_costs", "train")
)
_MOST: Final = 1 << 20


class ForkedHelper(Helper):
    """A `Helper` whose process is forked from one that has the stack, where that makes a difference."""

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
        given = dict(os.environ if env is None else env)
        self._ending: threading.Thread | None = None
        if module not in _FORKED or "HF_ENDPOINT" in given:
            super().__init__(module, arguments, stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, env=env)
            return
        tie, held = os.pipe()
        self._held = os.fdopen(held, "wb", buffering=0)
        pipes = [_Pipe(stdin, "wb"), _Pipe(stdout, "rb"), _Pipe(stderr, "rb")]
        self.stdin, self.stdout, self.stderr = (pipe.ours for pipe in pipes)  # type: ignore[assignment]
        self.args = ["forked", module, *arguments]
        self.returncode: int | None = None
        asked = repr((module, list(arguments), str(cwd or Path.cwd()), given)).encode()
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        line.connect(_server())
        socket.send_fds(line, [len(asked).to_bytes(8)], [tie, *(pipe.theirs for pipe in pipes)])
        line.sendall(asked)
        os.close(tie)
        for pipe in pipes:
            pipe.close_theirs()
        self.pid = int.from_bytes(line.recv(8))
        self._ending = threading.Thread(target=self._take_end, args=(line,), daemon=True)
        self._ending.start()

    def __del__(self) -> None:
        if self._ending is None:
            super().__del__()
        else:
            self._held.close()

    def _take_end(self, line: socket.socket) -> None:
        with line:
            told = line.recv(8)
        self.returncode = int.from_bytes(told, signed=True) if told else -signal.SIGKILL

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return super().poll() if self._ending is None else self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; gives the exit code."""
        if self._ending is None:
            return super().wait(timeout)
        self._ending.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self.returncode

    def send_signal(self, sig: int) -> None:
        """Send a signal, if it still runs."""
        if self._ending is None:
            super().send_signal(sig)
        elif self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def _has_ended(self) -> bool:
        return super()._has_ended() if self._ending is None else self.returncode is not None

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:  # noqa: A002 - Popen's
        """Write everything, then read both pipes to their end."""
        if self._ending is None:
            return super().communicate(input, timeout)
        read: list[bytes | None] = [None, None]

        def take(place: int, pipe: IO[bytes] | None) -> None:
            read[place] = None if pipe is None else pipe.read()

        takers = [
            threading.Thread(target=take, args=pair, daemon=True) for pair in enumerate((self.stdout, self.stderr))
        ]
        for taker in takers:
            taker.start()
        if self.stdin is not None:
            with suppress(BrokenPipeError):
                self.stdin.write(input or b"")
            self.stdin.close()
        self.wait(timeout)
        for taker in takers:
            taker.join()
        return read[0], read[1]


class _Pipe:
    """One of the three: a new pipe, what was given, or nothing; `ours` is None unless it is a pipe."""

    def __init__(self, given: int | IO[bytes], mode: str) -> None:
        self.ours: IO[bytes] | None = None
        self._made = True
        if given == subprocess.PIPE:
            read, write = os.pipe()
            mine, self.theirs = (write, read) if mode == "wb" else (read, write)
            self.ours = os.fdopen(mine, mode)
        elif given == subprocess.DEVNULL:
            self.theirs = os.open(os.devnull, os.O_RDWR)
        else:
            self._made = False
            self.theirs = given if isinstance(given, int) else given.fileno()

    def close_theirs(self) -> None:
        if self._made:
            os.close(self.theirs)


@cache
def start() -> tuple[str, subprocess.Popen[bytes]]:
    """Start the process that forks, which ends with this one; gives its address, and does not wait until it answers."""
    address = f"{tempfile.mkdtemp(prefix='fork-')}/asked"
    command = [sys.executable, "-P", "-c", f"from tests.forked_helpers import serve; serve({address!r})"]
    root = str(Path(__file__).resolve().parents[1])
    # A home of its own: what is kept of the imports is no part of a test's, nor of the developer's.
    home = str(Path(address).parent)
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root, "FT_TUI_HOME": home}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=variables)
    return address, process


@cache
def _server() -> str:
    """The address of the process that forks, once it has the stack."""
    address, process = start()
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return address


def serve(address: str) -> NoReturn:
    """Import the stack, then fork a helper for each request, until standard input ends."""
    from finetune_core.worker.stack import import_stack
    from finetune_core.worker.train import be_quiet

    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(address)
    listening.listen(64)
    be_quiet()
    import_stack()
    # Those who wait for a helper's end are waited for by nobody.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    threading.Thread(target=_end_with_input, daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        line, _ = listening.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            _mind(line)
        line.close()


def _end_with_input() -> None:
    # Not through `sys.stdin`: whoever is forked meanwhile would inherit its lock, held for ever.
    while os.read(0, 1):
        pass
    os._exit(0)


def _mind(line: socket.socket) -> NoReturn:
    """Fork the helper, tell its number, wait for its end, tell that."""
    size, descriptors, _, _ = socket.recv_fds(line, 8, 4)
    asked = b""
    while len(asked) < int.from_bytes(size):
        asked += line.recv(_MOST)
    helper = os.fork()
    if helper == 0:
        line.close()
        _become(descriptors, *_literal(asked))
    for descriptor in descriptors:
        os.close(descriptor)
    line.sendall(helper.to_bytes(8))
    code = os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1])
    with suppress(OSError):
        line.sendall(code.to_bytes(8, signed=True))
    os._exit(0)


def _literal(asked: bytes) -> Any:
    import ast

    return ast.literal_eval(asked.decode())


def _become(descriptors: list[int], module: str, arguments: list[str], cwd: str, variables: dict[str, str]) -> NoReturn:
    """Be the helper, as `child_process.main` in a session of its own."""
    os.setsid()
    tie, *pipes = descriptors
    for number, pipe in enumerate(pipes):
        os.dup2(pipe, number)
        os.close(pipe)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    end_with(tie, group=True)
    sys.argv = [module, *arguments]
    code = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # noqa: BLE001 - as Python does with what nobody caught
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
