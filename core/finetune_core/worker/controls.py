"""Requests from people and signals from the system, obeyed between two steps."""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from finetune_core.errors import FtError
from finetune_core.runs.control import Request, take, take_faulty
from finetune_core.worker.failures import explain, ran_out_of_memory
from finetune_core.worker.report import Reporter

TERMINATED = "terminated"
_LOOK_SECONDS = 0.1
_SHORT_SECONDS = 2.0
_TOGETHER_SECONDS = 1.0
# stop_now is carried out by the supervisor, from outside.
_STOP = frozenset({"stop"})
_OURS = _STOP | {"pause", "resume", "checkpoint", "sample", "evaluate"}
_ENDED = "the run has ended"


class Stopped(Exception):  # noqa: N818 - a decision of the user, not an error
    """The run must end now; the text says on whose word."""


class Actions(Protocol):
    """What a request may set off; each gives the words of its answer or raises FtError."""

    def checkpoint(self) -> str:
        """Save a checkpoint of this step."""

    def evaluate(self) -> str:
        """Measure the held-out loss."""

    def sample(self, prompt: str) -> str:
        """Let base and tuned model answer a prompt."""


class Signals:
    """SIGTERM, SIGUSR1 and SIGINT as a flag; while `at_once` is set they raise Stopped where the program is.

    A second one is meant to hurry. One that comes with the first is not: a scheduler or a shutdown signals every
    process of a job, and the supervisor hands its own on.
    """

    def __init__(self) -> None:
        self.at_once = True
        self._first = float("-inf")
        self.terminated = threading.Event()

    def install(self) -> None:
        """Take the signals over. A hang-up is ignored: the run outlives the terminal."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._note)
        # A warm trainer was started before its supervisor could give them back.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD})
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        again = self.terminated.is_set() and now - self._first > _TOGETHER_SECONDS
        if not self.terminated.is_set():
            self._first = now
        self.terminated.set()
        if self.at_once or again:
            self.at_once = False
            raise Stopped(TERMINATED)


class Controls:
    """Takes the requests of a run. `stopping` says why the run should end after this step, None while it should not."""

    def __init__(self, reporter: Reporter, signals: Signals) -> None:
        self._reporter = reporter
        self._run = reporter.run
        self._signals = signals
        self.stopping: str | None = None
        self.paused = False

    def look_for_stop(self) -> None:
        """Raise Stopped when the user or the system wants the run to end; everything else waits."""
        for request in take(self._run, _STOP):
            self._reporter.answer(request.id, request.request, "stopping at once", ok=True)
            self.stopping = "stopped on request"
        self._heed_signals()
        if self.stopping is not None:
            raise Stopped(self.stopping)

    def progress(self, state: str, phase: str, unit: str) -> Callable[[int, int], None]:
        """A `progress(done, total)` that reports the state and raises Stopped when the run has to end.

        It may be called for every row: it acts ten times a second.
        """
        looked = float("-inf")

        def progress(done: int, total: int) -> None:
            nonlocal looked
            if done != total and time.monotonic() - looked < _LOOK_SECONDS:
                return
            looked = time.monotonic()
            self.look_for_stop()
            self._reporter.state(state, phase, done, total, unit)

        return progress

    @contextmanager
    def shown_if_long(self) -> Iterator[Callable[[int, int], None]]:
        """Progress of a measurement amid training, a state once it takes long; the one before comes back afterwards.

        It raises Stopped when the system wants the run to end.
        """
        begun, shown = time.monotonic(), False

        def progress(done: int, total: int) -> None:
            nonlocal shown
            if self._signals.terminated.is_set():
                raise Stopped(TERMINATED)
            if shown or time.monotonic() - begun > _SHORT_SECONDS:
                shown = True
                self._reporter.state("evaluating", "held-out loss", done, total, "rows")

        try:
            yield progress
        finally:
            if shown:
                word = "paused" if self.paused else "training"
                self._reporter.state(word, word)

    def take(self) -> tuple[Request, ...]:
        """The requests that wait, in their order; those nobody can read are refused here."""
        self._refuse_faulty()
        return tuple(take(self._run, _OURS))

    def carry_out(self, requests: Iterable[Request], actions: Actions) -> None:
        """Do what is asked for, and answer each request; behind a stop the rest is refused."""
        for request in requests:
            if self.stopping is not None:
                self._reporter.answer(request.id, request.request, "the run is being stopped", ok=False)
                continue
            text, ok = self._tried(request, actions)
            self._reporter.answer(request.id, request.request, text, ok=ok)

    def refuse_rest(self) -> None:
        """Answer what is still waiting at the end."""
        for request in take(self._run, _OURS):
            self._reporter.answer(request.id, request.request, _ENDED, ok=False)
        self._refuse_faulty()

    def _refuse_faulty(self) -> None:
        for request in take_faulty(self._run):
            self._reporter.answer(request.id, request.request, request.fault, ok=False)

    def _tried(self, request: Request, actions: Actions) -> tuple[str, bool]:
        """The words of the answer, and whether it was done: that a wish fails is no reason to lose the training."""
        try:
            return self._act(request, actions), True
        except Stopped as stop:
            return str(stop), False
        except FtError as error:
            return "; ".join(f"{found.what}: {found.why}" for found in error.problems), False
        except Exception as error:
            if ran_out_of_memory(error):
                raise
            traceback.print_exception(error)
            return explain(error)[0], False

    def _heed_signals(self) -> None:
        if self._signals.terminated.is_set():
            self.stopping = TERMINATED

    def _act(self, request: Request, actions: Actions) -> str:
        match request.request:
            case "stop":
                self.stopping = "stopped on request"
                return "stopping: the step is finished, the result is saved"
            case "pause":
                return self._pause()
            case "resume":
                return self._resume()
            case "checkpoint":
                return actions.checkpoint()
            case "evaluate":
                return actions.evaluate()
            case _:
                return actions.sample(str(request.args["prompt"]))

    def _pause(self) -> str:
        if self.paused:
            return "already paused"
        self.paused = True
        self._reporter.state("paused", "paused")
        return "paused; memory stays taken"

    def _resume(self) -> str:
        if not self.paused:
            return "not paused"
        self.paused = False
        self._reporter.state("training", "training")
        return "going on"
