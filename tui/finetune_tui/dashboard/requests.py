"""What the dashboard asks of a run: why a request makes no sense now, and how far each one is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from finetune_core.runs.journal import Event
from finetune_core.runs.status import ENDED
from finetune_core.runs.view.run_view import RunView
from finetune_core.text import one_line, reading_seconds
from finetune_tui.run_words import glyph
from finetune_tui.widgets.cells import Line, Span, within, wrapped

_WORDS: Final = {
    "pause": "pause",
    "resume": "go on",
    "checkpoint": "write a checkpoint",
    "sample": "answer your prompt",
    "evaluate": "measure the held-out loss",
    "stop": "finish the step, save and end",
    "stop_now": "stop at once",
}
_LIMIT: Final = 500
_HINT: Final[Line] = ((" 1-5 panes   [ ] samples   l log   y copy   arrows move", "dim"),)


def refusal(view: RunView, request: str) -> str | None:
    """Why this request cannot be made now, in words; None when it can."""
    words = _WORDS[request]
    if view.state in ENDED:
        return f"Cannot {words}: this run has ended ({view.state})."
    if view.state == "crashed":
        return f"Cannot {words}: the worker is gone (crashed). r continues from the last checkpoint."
    if view.state == "created":
        return f"Cannot {words}: the run has not started yet."
    if view.state in {"preparing", "queued"} and not request.startswith("stop"):
        return f"Cannot {words} yet: training has not begun. x can stop the run."
    return None


def resume_refusal(view: RunView) -> str | None:
    """Why the run cannot be continued now; None when it can."""
    if view.state == "done":
        return "Nothing to continue: this run is done."
    if view.state not in {"failed", "crashed", "stopped", "preempted", "created"}:
        return f"Nothing to continue: this run is at work ({view.state})."
    return None


def place_of_own_answer(view: RunView, answers: list[Event]) -> int | None:
    """Index into `view.samples` of the set that came with the newest of these answers to a typed prompt, if any."""
    asked = [event["seq"] for event in answers if event.get("request") == "sample" and event.get("ok")]
    own = [
        place
        for place, event in enumerate(view.samples)
        if asked and event.get("source") == "user" and event["seq"] < max(asked)
    ]
    return own[-1] if own else None


class Requests:
    """The requests made here, until each is answered; then the newest answer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds; a message stays for as many as it takes to read it."""
        self._clock = clock
        self._open: dict[str, str] = {}
        self._said: Line = ()
        self._until = 0.0
        self._read = -1  # seq of the newest answer looked at
        self.filled: float | None = None  # how much of a long journal has been read, 0 to 1

    def asked(self, identity: str, request: str) -> None:
        """A request was left for the run."""
        self._open[identity] = request
        self._said = ()

    def say(self, words: str, style: str = "") -> None:
        """Show a message until it has been read, or something newer happens."""
        self._say((f" {one_line(words, _LIMIT)}", style))

    def _say(self, span: Span) -> None:
        self._said = (span,)
        self._until = self._clock() + reading_seconds(span[0])

    def expire(self) -> bool:
        """Drop a message that has been there long enough; False when there is none such."""
        if not self._said or self._clock() < self._until:
            return False
        self._said = ()
        return True

    def take_in(self, view: RunView) -> list[Event]:
        """Look for answers among the run's events; gives those to requests made here."""
        answers = []
        for event in view.controls:
            if event["seq"] <= self._read:
                continue
            request = self._open.pop(str(event.get("id")), None)
            if request is not None:
                answers.append(event)
                text = one_line(str(event.get("text") or _WORDS[request]), _LIMIT)
                ok = bool(event.get("ok"))
                mark = glyph("✓", "+") if ok else glyph("✗", "x")
                self._say((f" {mark} {text}", "good" if ok else "warn"))
        self._read = max((event["seq"] for event in view.controls), default=-1)
        if view.state in ENDED | {"crashed"}:
            self._open.clear()
        return answers

    def lines(self, width: int, most: int) -> list[Line]:
        """What waits for an answer, or the newest answer or message, in at most `most` lines."""
        ((text, style),) = self._line()
        found: list[Line] = [((" ", ""), *line) for line in wrapped(text.strip(), max(width - 2, 1), style)]
        if len(found) > most:
            found[most - 1] = within((*found[most - 1], (" ".ljust(width), style)), width)
        return found[:most]

    def _line(self) -> Line:
        if not self._open:
            return self._said or self._reading() or _HINT
        waiting = ", ".join(_WORDS[request] for request in self._open.values())
        now = "stop_now" in self._open.values()
        answered = "answered when the worker is gone" if now else "answered after this step"
        return ((f" {glyph('…', '...')} asked to {waiting}; {answered}", "accent"),)

    def _reading(self) -> Line:
        return () if self.filled is None else ((f" reading what came before: {self.filled:.0%}", "dim"),)
