"""What happened in a run, one line an event, the newest last."""

from __future__ import annotations

import time
from typing import Any, Final

from finetune_core.runs.journal import Event, number
from finetune_core.runs.metrics import EVAL_LOSS, metrics_of
from finetune_core.runs.view.run_view import RunView
from finetune_core.runs.view.verdict import outcome_of, words_of
from finetune_core.text import bytes_text, duration_text, one_line, plural
from finetune_tui.run_words import glyph, measured_words, verdict_looks
from finetune_tui.widgets.axis import number_text
from finetune_tui.widgets.cells import Line, Span, line_width, wrapped
from finetune_tui.widgets.states import state_span

_MOST: Final = 500
_WORDS: Final = 400
# What a request leaves in the journal besides its answer.
_MADE_BY: Final = {"checkpoint": "checkpoint", "sample": "sample", "evaluate": "eval"}


def event_lines(view: RunView, width: int) -> list[Line]:
    """The newest 500 events in order of time, then what is wrong with the run's files.

    Steps are in the charts, not here. What is said is wrapped.
    """
    # The plan is not in the journal, so the view lays it beside what was measured.
    probes = [{**event, "words": measured_words(view.plan, event)} for event in view.probes]
    made = (view.evals, view.samples, view.checkpoints)
    lists = (probes, view.states, view.settled, *made, view.controls, view.alarms, view.later)
    # A view has in a result's `kind` what it is.
    result = {**view.result, "kind": "result", "what": view.result.get("kind")} if view.result else None
    single = (view.verdict, result, view.end)
    found = [event for events in lists for event in events[-_MOST:]]
    found += [event for event in single if event is not None]
    found.sort(key=lambda event: int(event["seq"]))
    shown = _without_repeats(found)[-_MOST:]
    lines = [line for event in shown for line in _wrapped((_clock(event), *_words(event)), width)]
    for words in view.damage:
        lines += _wrapped(((f"{glyph('▲', '!')} damaged: ", "warn"), (one_line(words, _WORDS), "warn")), width)
    return lines or [(("nothing yet", "dim"),)]


def _without_repeats(events: list[Event]) -> list[Event]:
    """Events in order of time, without the answers that say over again what the event before them says.

    That event gets `asked`. A request's answer follows what it made.
    """
    once: list[Event] = []
    made: dict[str, int] = {}  # since the last answer: where the newest event of a kind stands
    for event in events:
        if event["kind"] != "control":
            made[event["kind"]] = len(once)
            once.append(event)
            continue
        place = made.get(_MADE_BY.get(str(event.get("request")), ""))
        if event.get("ok") and place is not None:
            once[place] = {**once[place], "asked": True}
        else:
            once.append(event)
        made.clear()
    return once


def _wrapped(line: Line, width: int) -> list[Line]:
    """The line with its last part wrapped beside all before it."""
    if line_width(line) <= width:
        return [line]
    *head, (text, style) = line
    indent = line_width(tuple(head))
    rest = wrapped(text.lstrip(), max(width - indent - 1, 1), style)
    gap = " " * (len(text) - len(text.lstrip()))
    return [(*head, (gap, ""), *rest[0]), *(((" " * (indent + len(gap)), ""), *one) for one in rest[1:])]


def _clock(event: Event) -> Span:
    seconds = number(event.get("t"))
    try:
        return time.strftime("%H:%M:%S ", time.localtime(seconds)), "dim"
    except (OverflowError, ValueError, OSError):
        return "--:--:-- ", "dim"


def _words(event: Event) -> tuple[Span, ...]:
    match event["kind"]:
        case "state":
            phase = one_line(str(event.get("phase") or ""), _WORDS)
            return _state(str(event.get("state")), phase)
        case "end":
            cause = one_line(str(event.get("cause") or ""), _WORDS)
            return state_span(str(event.get("state"))), (f" {cause}" if cause else "", "")
        case "control":
            return _answer(event)
        case "alarm":
            return ((f"{glyph('▲', '!')} {one_line(str(event.get('text') or event.get('name')), _WORDS)}", "warn"),)
        case "verdict":
            looks = verdict_looks(outcome_of(event))
            return ((f"{glyph(looks.picture, looks.plain)} {one_line(words_of(event) or 'verdict', _WORDS)}", ""),)
        case kind:
            asked = ", as asked" if event.get("asked") else ""
            return ((_plain_words(str(kind), event) + asked, ""),)


def _state(state: str, phase: str) -> tuple[Span, ...]:
    """A phase of the preparation has its own words, with the picture of preparing."""
    words, style = state_span(state)
    if not phase or phase == state:
        return ((words, style),)
    return (words.split(" ")[0] if state == "preparing" else words, style), (f" {phase}", "")


def _answer(event: Event) -> tuple[Span, ...]:
    word = glyph("✓ ", "+ ") if event.get("ok") else glyph("✗ not done: ", "x not done: ")
    text = one_line(str(event.get("text") or event.get("request")), _WORDS)
    return ((f"{word}{text}", "good" if event.get("ok") else "warn"),)


def settled_words(event: dict[str, Any]) -> str:
    """What was settled when the rows were counted: each field by its name, and the steps it comes to."""
    fields = event.get("fields")
    values = fields.items() if isinstance(fields, dict) else ()
    said = [f"{str(field).rpartition('.')[2]} {_value(value)}" for field, value in values if value is not None]
    steps = number(event.get("total_steps"))
    end = f": {steps:.0f} {plural(int(steps), 'step')}" if steps is not None else ""
    return one_line("settled from the rows: " + ", ".join(said) + end, _WORDS)


def _value(value: object) -> str:
    figure = None if isinstance(value, bool) else number(value)
    return str(value) if figure is None else number_text(figure)


def _plain_words(kind: str, event: dict[str, Any]) -> str:
    step, seconds = event.get("step"), number(event.get("seconds"))
    took = f", took {duration_text(seconds)}" if seconds is not None and seconds >= 5 else ""
    size = number(event.get("bytes"))
    weight = f", {bytes_text(size)}" if size is not None else ""
    loss = number(metrics_of(event).get(EVAL_LOSS)) if kind == "eval" else None
    match kind:
        case "eval":
            return f"{glyph('◆', 'o')} step {step}: held-out loss {'?' if loss is None else number_text(loss)}{took}"
        case "sample":
            count = number(event.get("count")) or 0
            return f"{glyph('≡', '=')} step {step}: {count:.0f} {plural(count, 'answer')}"
        case "checkpoint":
            return f"{glyph('▼', 'v')} step {step}: checkpoint{weight}{took}"
        case "settled":
            return f"{glyph('◷', 'o')} {settled_words(event)}"
        case "probe":
            return f"{glyph('◷', 'o')} {one_line(str(event['words']), _WORDS)}"
        case "result":
            return f"{glyph('✓', '+')} {one_line(str(event.get('what') or 'result'), 20)} saved{weight}"
        case _:
            # Of a later version: its name, and what it says of itself.
            said = next((value for name in ("text", "words") if isinstance(value := event.get(name), str)), "")
            return one_line(f"{kind}: {said}" if said else kind, _WORDS)
