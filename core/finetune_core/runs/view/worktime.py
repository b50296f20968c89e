"""How long a run has been worked on: without its pauses, and without the time between an end and a new start."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from finetune_core.runs.journal import Event, number
from finetune_core.runs.status import ACTIVE

_WORKING = ACTIVE - {"paused", "queued"}


class Moment(NamedTuple):
    """When an event was written: by the wall clock, and by the one of the machine's boot that never jumps."""

    t: float
    mono: float | None


def moment(event: Event) -> Moment | None:
    """When an event was written; None when it does not say."""
    t = number(event.get("t"))
    return None if t is None else Moment(t, number(event.get("mono")))


def between(first: Moment, last: Moment) -> float:
    """Seconds between two moments of one attempt, whatever the wall clock did meanwhile; never negative."""
    if first.mono is not None and last.mono is not None and last.mono >= first.mono:
        return last.mono - first.mono
    return max(0.0, last.t - first.t)


class WorkTime:
    """Adds up the stretches of work that a run's events show, taken in one by one in their order."""

    def __init__(self) -> None:
        self._done = 0.0
        self._since: Moment | None = None
        self._latest: Moment | None = None
        self._state = ""

    @classmethod
    def from_data(cls, found: dict[str, Any]) -> Self:
        """One that goes on where `to_data` was asked for."""
        time = cls()
        time._done, time._state = found["done"], found["state"]
        time._since, time._latest = (Moment(*found[name]) if found[name] else None for name in ("since", "latest"))
        return time

    def to_data(self) -> dict[str, Any]:
        """What was added up, as plain values."""
        return {"done": self._done, "since": self._since, "latest": self._latest, "state": self._state}

    def take(self, kind: str, event: Event) -> None:
        """Take in one event of any kind."""
        before, now = self._latest, moment(event)
        if now is None:
            return
        self._latest = now
        if kind == "end":
            self._rest(now)
        elif kind == "state":
            state = str(event.get("state"))
            if self._is_new_start(state, event):
                # A killed attempt left no word: it worked until its last event at least.
                self._rest(before)
            if state in _WORKING:
                self._since = now if self._since is None else self._since
            else:
                self._rest(now)
            self._state = state

    def _is_new_start(self, state: str, event: Event) -> bool:
        return state == "preparing" and (self._state != "preparing" or event.get("phase") == "starting")

    def _rest(self, now: Moment | None) -> None:
        if self._since is not None and now is not None:
            self._done += between(self._since, now)
        self._since = None

    def seconds(self, now: float) -> float:
        """Seconds worked until `now`, in unix seconds; `now` counts only while the run is at work."""
        if self._since is None or self._latest is None:
            return self._done
        # Of the wall clock only what no event covers yet.
        return self._done + between(self._since, self._latest) + max(0.0, now - self._latest.t)
