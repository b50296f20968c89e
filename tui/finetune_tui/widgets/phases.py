"""What happens before the first step: each phase in words, with how far it is."""

from __future__ import annotations

from finetune_core.runs.journal import Event, number
from finetune_core.runs.status import ACTIVE
from finetune_core.runs.view.run_view import RunView
from finetune_core.runs.view.worktime import between, moment
from finetune_core.text import bytes_text, duration_text, one_line, plural
from finetune_tui.run_words import glyph
from finetune_tui.widgets.cells import Line, Span, bar, line_width, wrapped

_BAR = 24


def phase_lines(view: RunView, width: int) -> list[Line]:
    """The phases of the present start, done ones ticked; the one at work with its progress."""
    begun = _present_start(view.states)
    lines: list[Line] = []
    for index, event in enumerate(begun):
        later = begun[index + 1] if index + 1 < len(begun) else None
        lines.append(_done(event, later, width) if later or view.state not in ACTIVE else _at_work(event, width))
    if not lines:
        lines = wrapped("The worker has not written anything yet; it starts within a few seconds.", width, "dim")
    return lines + _plan_lines(view, width)


def _present_start(states: list[Event]) -> list[Event]:
    """The states since the last start or restart."""
    start = 0
    for index, event in enumerate(states):
        if event["state"] == "preparing" and (not index or states[index - 1]["state"] != "preparing"):
            start = index
    return states[start:] if states and states[start]["state"] != "created" else states[start + 1 :]


def _name(event: Event) -> str:
    return one_line(str(event.get("phase") or event["state"]), 80)


def _done(event: Event, later: Event | None, width: int) -> Line:
    begun, ended = moment(event), moment(later or {})
    seconds = between(begun, ended) if begun and ended else 0
    took = f"  {duration_text(seconds)}" if seconds >= 1 else ""
    name = one_line(_name(event), max(width - len(took) - 4, 8))
    return ((f" {glyph('✓', '+')} ", "good"), (name, ""), (took, "dim"))


def _at_work(event: Event, width: int) -> Line:
    done, total = number(event.get("done")), number(event.get("total"))
    head: list[Span] = [(f" {glyph('▸', '>')} ", "accent"), (_name(event), "strong")]
    if done is None or not total:
        return tuple(head)
    unit = str(event.get("unit") or "")
    counted = f"{bytes_text(done)} of {bytes_text(total)}" if unit == "bytes" else f"{done:.0f}/{total:.0f} {unit}"
    head.append((f"  {one_line(counted, 40)}  ", ""))
    room = min(_BAR, width - line_width(tuple(head)) - 6)
    share = min(done / total, 1.0)
    drawn = bar(share, room) if room >= 4 else ()
    return (*head, *drawn, (f" {int(share * 100)} %", "strong"))


def _plan_lines(view: RunView, width: int) -> list[Line]:
    """What was planned, in one sentence, once it is known."""
    plan = view.plan
    rows, steps = plan.get("rows"), plan.get("total_steps")
    parts = [
        (f"{rows} {plural(number(rows) or 0, 'row')}", rows),
        (f"{steps} {plural(number(steps) or 0, 'step')}", steps),
        (f"effective batch {plan.get('effective_batch')}", plan.get("effective_batch")),
        (f"on {plan.get('device')}", plan.get("device")),
        (f"in {plan.get('dtype')}", plan.get("dtype")),
    ]
    text = ", ".join(one_line(words, 40) for words, value in parts if value is not None)
    if not text:
        return []
    return [(), *((("   ", ""), *line) for line in wrapped(text, max(width - 4, 8), "dim"))]
