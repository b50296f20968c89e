"""What the trainer reports: events in the journal, the status with its heartbeat, lines in the log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from finetune_core.redaction import redact
from finetune_core.runs.directory import RunDir
from finetune_core.runs.events import (
    AlarmEvent,
    ControlEvent,
    EndEvent,
    FailureEvent,
    Record,
    StateEvent,
    VerdictEvent,
)
from finetune_core.runs.journal import Journal
from finetune_core.runs.status import StatusWriter
from finetune_core.text import clean

_PROGRESS_SECONDS = 0.5
_FULL_DISK_SECONDS = 600.0


class Reporter:
    """The one writer of a run's journal and status while the trainer lives."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self._journal = Journal(run.events_file)
        self._status = StatusWriter(run)
        self._shown: tuple[str, str] = ("", "")
        self._shown_at = float("-inf")

    @property
    def events(self) -> int:
        """The seq of the last event that is on the disk."""
        return self._journal.written

    def event(self, record: Record) -> None:
        """Write one event."""
        self._journal.record(record)

    def state(
        self,
        state: str,
        phase: str,
        done: int | None = None,
        total: int | None = None,
        unit: str | None = None,
        *,
        step: int | None = None,
    ) -> None:
        """Report what the run does now; progress within the same phase is thinned to two events a second.

        `step` says from which step a resumed run goes on: readers forget what an earlier attempt did after it.
        """
        now = time.monotonic()
        fresh = (state, phase) != self._shown
        if not fresh and done != total and now - self._shown_at < _PROGRESS_SECONDS:
            return
        self._shown, self._shown_at = (state, phase), now
        self.event(StateEvent(state=state, phase=phase, done=done, total=total, unit=unit, step=step))
        if fresh:
            known = self._status.status.step if step is None else step
            self._status.update(state=state, phase=phase, step=known)
            self.log(f"{state}: {phase}")

    def position(self, step: int, total: int, epoch: float | None = None, loss: float | None = None) -> None:
        """How far the run is, for lists of runs."""
        self._status.update(step=step, total=total, epoch=epoch, loss=loss)

    def verdict(self, path: str, found: Mapping[str, Any]) -> None:
        """The verdict, for readers of the run, and its outcome for lists of runs."""
        self.event(VerdictEvent(path=path, found=found))
        self._status.update(verdict=found["outcome"])
        self.log(str(found["words"]))

    def begun(self) -> None:
        """Training begins; a resumed run keeps the time it first began."""
        self._status.update(started=self._status.status.started or time.time())

    def alarm(self, name: str, text: str) -> None:
        """Something a person should know of although the run goes on."""
        self.event(AlarmEvent(name=name, text=redact(clean(text))))
        self.log(f"alarm: {text}")

    def answer(self, request_id: str, request: str, text: str, *, ok: bool) -> None:
        """Answer a control request."""
        self.event(ControlEvent(id=request_id, request=request, ok=ok, text=redact(clean(text))))

    def failure(self, reason: str, cause: str, remedy: str) -> None:
        """Why this process ends, for the supervisor, who decides whether the run does."""
        self.event(FailureEvent(reason=reason, cause=redact(clean(cause)), remedy=remedy))
        self.log(f"{reason}: {cause}")

    def end(self, state: str, cause: str | None = None, remedy: str | None = None, reason: str = "") -> None:
        """The last event and the last status."""
        cause = redact(clean(cause)) if cause else None
        self.event(EndEvent(state=state, cause=cause, remedy=remedy, reason=reason))
        self._status.update(now=True, state=state, phase="", ended=time.time(), cause=cause, remedy=remedy)
        self.log(f"{state}: {cause or 'finished'}")

    def log(self, text: str) -> None:
        """A line in the worker's log."""
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {redact(clean(text))}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Hand the status over to the supervisor; events that wait for room on the disk are waited for, ten minutes."""
        deadline = time.monotonic() + _FULL_DISK_SECONDS
        while not self._journal.flush() and time.monotonic() < deadline:
            time.sleep(1)
        self._status.close()
        self._journal.close()
