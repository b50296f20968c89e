"""The process that answers questions on tokens, seen from the side that asks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from finetune_core.child_process import Helper
from finetune_core.environment import SECRETS, TOKENS
from finetune_core.errors import FtError, Problem, problem
from finetune_core.text import one_line

SILENCE_SECONDS = 60.0
_POLL_SECONDS = 0.05
_END_SECONDS = 0.5

Answer = dict[str, Any]
Answers = Queue[Answer | None]


def _never() -> bool:
    return False


class AskProcess:
    """Keeps one process running for a model folder, and gives each call the answers to its own request."""

    def __init__(self, model_path: Path) -> None:
        self._model_path = model_path
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._last_id = 0
        self._closed = False

    def ask(self, request: Mapping[str, Any], cancel: Callable[[], bool] = _never) -> Iterator[Answer]:
        """Send a request and give its answers until the last; none more once `cancel` has said so.

        FtError when the request fails, the process dies, or it is silent for too long.
        """
        child, number = self._next()
        with child.waiting(number) as answers:
            self._send(child, {**request, "id": number})
            finished = False
            try:
                while not finished and not cancel():
                    answer = self._answer(child, answers, cancel)
                    if answer is not None:
                        finished = answer["last"]
                        yield answer
            finally:
                if not finished:
                    child.cancel(number)

    def _answer(self, child: _Child, answers: Answers, cancel: Callable[[], bool]) -> Answer | None:
        """The next answer; None when `cancel` has said so before one came."""
        asked = time.monotonic()
        while not cancel():
            try:
                answer = answers.get(timeout=_POLL_SECONDS)
            except Empty:
                self._check_silence(child, time.monotonic() - asked)
                continue
            if answer is None:
                raise self._died(child)
            if "failed" in answer:
                raise FtError([Problem(**found) for found in answer["problems"]])
            return answer
        return None

    def close(self) -> None:
        """End the process. Whoever waits for an answer gets an FtError."""
        with self._lock:
            self._closed = True
            child = self._child
        if child is not None:
            child.end()

    def _next(self) -> tuple[_Child, int]:
        """The running process (started if needed) and the number of the next request."""
        with self._lock:
            if self._closed:
                raise self._given_up()
            if self._child is None or self._child.process.poll() is not None:
                self._child = _Child(self._model_path)
            self._last_id += 1
            return self._child, self._last_id

    def _send(self, child: _Child, message: Mapping[str, Any]) -> None:
        try:
            child.send(message)
        except (OSError, ValueError) as error:
            raise self._died(child) from error

    def _check_silence(self, child: _Child, seconds: float) -> None:
        if seconds > SILENCE_SECONDS:
            child.process.kill()
            raise self._failed(
                "the question on tokens got no answer",
                f"the tokenizer or the chat template was silent for {SILENCE_SECONDS:.0f} s and was stopped",
                "look for a row with endless text, or choose another model",
            )

    def _died(self, child: _Child) -> FtError:
        if self._closed:
            return self._given_up()
        code = child.process.wait()
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        why = f"it ended {how}; its last words: {child.last_words() or 'none'}"
        return self._failed("the process that turns rows into tokens died", why, "try again; `ft-tui doctor` may help")

    def _given_up(self) -> FtError:
        return self._failed("the question on tokens was given up", "its process was closed", "ask again")

    def _failed(self, what: str, why: str, remedy: str) -> FtError:
        return problem(what, where=one_line(str(self._model_path), 300), why=why, remedy=remedy)


class _Child:
    """One started process: its pipes, and who waits for which answer."""

    def __init__(self, model_path: Path) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
        self.process = Helper(
            "finetune_core.worker.rows.server",
            [str(model_path)],
            stdin=subprocess.PIPE,
            stderr=self._errors,
            env={**environment, **TOKENS},
        )
        self._reading = threading.Lock()
        # A lock of its own: a writer held up by a full pipe must not keep the reader from emptying the other one.
        self._writing = threading.Lock()
        self._waiting: dict[int, Answers] = {}
        self._ended = False
        threading.Thread(target=self._read, name="token answers", daemon=True).start()

    def send(self, message: Mapping[str, Any]) -> None:
        """Write one request. OSError or ValueError when the process is gone."""
        assert self.process.stdin is not None
        with self._writing:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()

    def cancel(self, number: int) -> None:
        """Ask the process to leave a request; nothing happens when it is gone."""
        with suppress(OSError, ValueError):
            self.send({"id": number, "do": "cancel"})

    @contextmanager
    def waiting(self, number: int) -> Iterator[Answers]:
        """A queue of the answers to one request; None in it means that the process has ended."""
        answers: Answers = Queue()
        with self._reading:
            self._waiting[number] = answers
            if self._ended:
                answers.put(None)
        try:
            yield answers
        finally:
            with self._reading:
                del self._waiting[number]

    def end(self) -> None:
        """Let the process end by itself, or kill it."""
        assert self.process.stdin is not None
        if self._writing.acquire(timeout=_END_SECONDS):
            with suppress(OSError):
                self.process.stdin.close()
            self._writing.release()
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_words(self) -> str:
        """The end of what the process wrote to standard error."""
        size = os.fstat(self._errors.fileno()).st_size
        tail = os.pread(self._errors.fileno(), 2000, max(size - 2000, 0)).decode(errors="replace")
        return one_line(" | ".join(tail.splitlines()[-4:]), 400)

    def _read(self) -> None:
        """Hand each answer to the call that waits for it; runs in a thread until the process ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            answer = json.loads(line)
            with self._reading:
                answers = self._waiting.get(answer["id"])
            if answers is not None:
                answers.put(answer)
        self.process.wait()
        with self._reading:
            self._ended = True
            for answers in self._waiting.values():
                answers.put(None)
