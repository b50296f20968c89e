"""The two lines at the top of the dashboard: which run, what it does, how far it is, how long it still takes."""

from __future__ import annotations

import math

from finetune_core.runs.status import ACTIVE
from finetune_core.runs.view.run_view import RunView
from finetune_core.text import count_text, counted, duration_text, one_line, plural
from finetune_tui.run_words import cost_words
from finetune_tui.widgets.axis import number_text
from finetune_tui.widgets.cells import Line, Span, bar, fitted, line_width, spread
from finetune_tui.widgets.states import state_span

_PHASE_LIMIT = 36
_LEAST_BAR = 6
_ROOMY, _WIDE = 72, 96


def header_lines(view: RunView, width: int, now: float) -> list[Line]:
    """Name and state, then progress; `now` in unix seconds."""
    state: Line = (state_span(view.state), *_phase(view, width // 3), (" ", ""))
    room = max(width - line_width(state) - 3, 8)
    first = spread(((f" {one_line(view.run.name, room)}", "strong"),), state, width)
    return [first, _progress(view, width, now)]


def _phase(view: RunView, limit: int) -> tuple[Span, ...]:
    phase = _phase_words(view, max(limit, 12))
    return ((f": {phase}", ""),) if phase and view.state in ACTIVE - {"preparing"} and phase != view.state else ()


def _phase_words(view: RunView, limit: int) -> str:
    return one_line(str((view.states[-1] if view.states else {}).get("phase") or ""), limit)


def _progress(view: RunView, width: int, now: float) -> Line:
    counts = _counts(view, now)[: 4 if width >= _WIDE else 3 if width >= _ROOMY else 2]
    share = progress(view)
    percent: Line = ((f" {math.floor(share * 100)} %", "strong"),) if share is not None else ()
    right: Line = (*percent, (f"  {_times(view, now)} ", "dim"))
    # What matters less gives way: a figure is whole, or not there.
    while len(counts) > 1 and line_width(_left(counts)) + line_width(right) > width:
        counts.pop()
    left = _left(counts)
    room = width - line_width(left) - line_width(right) - 2
    if share is None or room < _LEAST_BAR:
        return (*fitted(left, width - line_width(right)), *right)
    return (*left, ("  ", ""), *bar(share, room), *right)


def _left(counts: list[str]) -> Line:
    return ((f" {'  '.join(counts)}", ""),)


def progress(view: RunView) -> float | None:
    """How much of the run's steps is done, 0 to 1; before training, of its present phase; None when not known."""
    if view.state != "preparing" and view.step and view.total:
        return min(view.step / view.total, 1.0)
    # How far the preparation came is no progress of a run that ended in it.
    last = view.states[-1] if view.states and view.state in ACTIVE else {}
    done, total = last.get("done"), last.get("total")
    if isinstance(done, int | float) and isinstance(total, int | float) and total > 0:
        return max(0.0, min(done / total, 1.0))
    return 0.0 if view.total and view.state != "preparing" else None


def _counts(view: RunView, now: float) -> list[str]:
    if view.state == "preparing":
        return [_phase_words(view, _PHASE_LIMIT) or "preparing"]
    if not view.total:
        return ["no steps yet"] if view.state in ACTIVE else [f"{counted(view.step, 'step')}"]
    parts = [f"step {view.step}/{view.total}"]
    if view.epoch is not None:
        parts.append(f"epoch {number_text(view.epoch)}")
    # Who gave a price wants to see the cost, in a narrow terminal too.
    if words := cost_words(view, now):
        parts.append(words)
    if view.tokens:
        parts.append(f"{count_text(view.tokens)} {plural(view.tokens, 'token')}")
    return parts


def _times(view: RunView, now: float) -> str:
    elapsed = view.worked_seconds(now)
    if elapsed is None:
        return "not started"
    if view.state not in ACTIVE:
        return f"took {duration_text(elapsed)}"
    left = view.eta_seconds
    return f"{duration_text(elapsed)}, {duration_text(left)} left" if left is not None else duration_text(elapsed)
