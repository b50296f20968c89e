"""The journal as the supervisor follows it while the trainer writes: alarms, where it is, and its last word."""

from __future__ import annotations

from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Event, Tail

_END_BYTES = 1024 * 1024
_MOST_A_LOOK = 16 * 1024 * 1024


class Follower:
    """Reads what comes after `begin`; every event counts once."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._begun = 0
        self._tail = Tail(run.events_file, start=self._end_bytes())
        self._failure: Event | None = None
        self._end: Event | None = None
        self.state = ""
        self.trained = False

    def begin(self, seq: int) -> None:
        """Only what is written after the event `seq` belongs to the present trainer."""
        self.news()
        self._begun = seq
        self._failure = self._end = None
        self.state, self.trained = "", False

    def news(self) -> list[Event]:
        """Take in what is new, and give the alarms among it."""
        events = self._tail.read(_MOST_A_LOOK)
        return [event for event in events if event["seq"] > self._begun and self._take(event)]

    def _take(self, event: Event) -> bool:
        """Take in one event; True for an alarm."""
        kind = event["kind"]
        if kind == "state":
            self.state = str(event.get("state"))
        elif kind == "step":
            self.trained = True
        elif kind == "failure":
            self._failure = event
        elif kind == "end" and isinstance(event.get("state"), str):
            self._end = event
        return bool(kind == "alarm")

    @property
    def size(self) -> int:
        """Bytes of the journal now."""
        try:
            return self._run.events_file.stat().st_size
        except OSError:
            return 0

    def end(self) -> Event | None:
        """The `end` event the trainer wrote itself."""
        self.news()
        return self._end

    def failure(self) -> Event | None:
        """The `failure` event the trainer left before it ended."""
        self.news()
        return self._failure

    def last_sign_of_work(self) -> int:
        """Seq of the last state or step: an end after it is the end of the present attempt."""
        events = Tail(self._run.events_file, start=self._end_bytes()).read()
        return max((event["seq"] for event in events if event["kind"] in {"state", "step"}), default=0)

    def _end_bytes(self) -> int:
        return max(0, self.size - _END_BYTES)
