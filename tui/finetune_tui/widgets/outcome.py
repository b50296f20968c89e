"""How a run ended: the verdict and how to use the result, or what went wrong and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from finetune_core.evaluation.measure_names import HELD_OUT_LOSS, MEASURES, measure_name
from finetune_core.runs.journal import Event, number
from finetune_core.runs.view.run_view import RunView
from finetune_core.runs.view.verdict import change_of, outcome_of, words_of
from finetune_core.text import bytes_text, one_line
from finetune_tui.run_rows import when
from finetune_tui.run_words import FAULTS, glyph, loading_lines, verdict_looks
from finetune_tui.widgets.axis import number_text
from finetune_tui.widgets.cells import Line, Span, fitted, folded, line_width, wrapped
from finetune_tui.widgets.log_tail import log_lines
from finetune_tui.widgets.states import state_span

_LABEL: Final = 26
_FIGURE: Final = 9
_LOG_LINES: Final = 12


def outcome_lines(view: RunView, log: tuple[str, ...], width: int, height: int) -> list[Line]:
    """For a run that has ended; `log` is the end of its worker's log. Set closer where the height is small."""
    if view.state in {"failed", "crashed"}:
        return _failure(view, log, width)
    forms = ((False, True), (False, False), (True, False))
    found = [_ended_well(view, width, tight=tight, gaps=gaps) for tight, gaps in forms]
    return next((lines for lines in found if len(lines) <= height), found[-1])


def _ended_well(view: RunView, width: int, *, tight: bool, gaps: bool) -> list[Line]:
    gap: list[Line] = [()] if gaps else []
    parts = (
        _ending(view, width),
        _verdict(view, width, tight=tight, gap=gap),
        _next(view, width),
        _result(view, width),
    )
    lines = [line for part in parts if part for line in (*part, *gap)]
    return lines[: len(lines) - len(gap)]


def _ending(view: RunView, width: int) -> list[Line]:
    cause = view.cause
    if view.state == "done" or not cause:
        return []
    lines: list[Line] = [(state_span(view.state),), *wrapped(str(cause), width)]
    return lines + (wrapped(_going_on(view), width) if view.state in {"stopped", "preempted"} else [])


def _going_on(view: RunView) -> str:
    """How a stopped run is continued, here and from the command line."""
    return f"{_saved(view)} Outside: ft-tui resume {view.run.name}"


def _verdict(view: RunView, width: int, *, tight: bool, gap: list[Line]) -> list[Line]:
    verdict = view.verdict
    if verdict is None:
        return [(("no verdict: no held-out questions were answered", "dim"),)]
    looks = verdict_looks(outcome_of(verdict))
    mark = (f"{glyph(looks.picture, looks.plain)} ", looks.style)
    words = wrapped(words_of(verdict), width - 2, "strong")
    lines: list[Line] = [(mark if not row else ("  ", ""), *line) for row, line in enumerate(words)]
    base, tuned = _numbers(verdict.get("base")), _numbers(verdict.get("tuned"))
    names = [name for name in MEASURES if name in base or name in tuned]
    names += [name for name in dict.fromkeys((*base, *tuned)) if name not in names]
    if tight:
        return [*lines, *_changes(names, base, tuned, width)]
    marks = [(name, _change(verdict, name, base.get(name), tuned.get(name))) for name in names]
    rows = one_line(str(verdict.get("rows", "?")), 12)
    return [*lines, *gap, *_table(marks, base, tuned, rows, width), *_faults(verdict, width)]


def _faults(verdict: Event, width: int) -> list[Line]:
    """How many answers of either model nobody could use, for each fault that any has."""
    found = verdict.get("faults")
    sides = [_numbers(found.get(side)) for side in ("base", "tuned")] if isinstance(found, dict) else [{}, {}]
    label = _label(width)
    return [
        (
            *fitted(((words, ""),), label),
            (f"{sides[0].get(name, 0):.0f}".rjust(_FIGURE), ""),
            (f"{sides[1].get(name, 0):.0f}".rjust(_FIGURE), "strong"),
        )
        for name, words in FAULTS.items()
        if any(side.get(name) for side in sides)
    ]


def _next(view: RunView, width: int) -> list[Line]:
    """What to change next, why, and the key that sets up such a run."""
    change = change_of(view.verdict)
    if change is None:
        return []
    words = f"{one_line(change.what, 200)}: {one_line(change.why, 300)}"
    return wrapped(f"Next{' (c)' if change.set else ''}: {words}", width, "accent")


def _change(verdict: Event, name: str, base: float | None, tuned: float | None) -> Span:
    """What the verdict calls a change; one that says nothing of its measures is read by what is shown of them."""
    known = verdict.get("changes")
    if isinstance(known, dict):
        sign = number(known.get(name)) or 0
    elif base is None or tuned is None or verdict.get("better") is None or _figure(name, base) == _figure(name, tuned):
        sign = 0
    else:
        sign = 1 if (tuned > base) == measure_name(name).more_is_better else -1
    if not sign:
        return "", ""
    if name == HELD_OUT_LOSS:
        # A loss says nothing of the answers: what it did is all that is said.
        return ("  lower", "") if sign > 0 else ("  higher", "warn")
    return ("  better", "good") if sign > 0 else ("  worse", "warn")


def _numbers(found: object) -> dict[str, float]:
    pairs = found.items() if isinstance(found, dict) else ()
    read = ((one_line(str(name), 40), number(value)) for name, value in pairs)
    return {name: value for name, value in read if value is not None}


def _changes(names: list[str], base: dict[str, float], tuned: dict[str, float], width: int) -> list[Line]:
    """`valid JSON 0 % → 100 %`, as many in a line as fit."""
    arrow = glyph("→", "->")
    lines: list[Line] = [()]
    for name in names:
        words = measure_name(name).title
        found: Line = ((f"{words} ", "dim"), (f"{_figure(name, base.get(name))} {arrow} ", ""),
                       (_figure(name, tuned.get(name)), "strong"))  # fmt: skip
        if not lines[-1]:
            lines[-1] = (("  ", ""), *found)
        elif line_width(lines[-1]) + line_width(found) + 3 <= width:
            lines[-1] = (*lines[-1], ("   ", ""), *found)
        else:
            lines.append((("  ", ""), *found))
    return lines


def _table(
    marks: list[tuple[str, Span]], base: dict[str, float], tuned: dict[str, float], rows: str, width: int
) -> list[Line]:
    if not marks:
        return []
    label = _label(width)
    words = f"{rows} {'held-out row' if rows == '1' else 'held-out rows'}".strip()
    head: Line = fitted(((words, "dim"),), label)
    columns: Line = (("base".rjust(_FIGURE), "dim"), ("tuned".rjust(_FIGURE), "accent"))
    return [(*head, *columns), *(_row(name, base.get(name), tuned.get(name), change, label) for name, change in marks)]


def _label(width: int) -> int:
    return min(_LABEL, max(width - 3 * _FIGURE, 10))


def _row(name: str, base: float | None, tuned: float | None, change: Span, label: int) -> Line:
    return (
        *fitted(((measure_name(name).title, ""),), label),
        (_figure(name, base).rjust(_FIGURE), ""),
        (_figure(name, tuned).rjust(_FIGURE), "strong"),
        change,
    )


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if not measure_name(name).is_share or not 0 <= value <= 1:
        return number_text(value)
    return f"{value * 100:.1f}".removesuffix(".0") + " %"


def _result(view: RunView, width: int) -> list[Line]:
    if view.result is None:
        return [(("nothing was saved as a result", "dim"),)]
    return _where(view, width) + [line for code in load_lines(view) for line in folded(code, width, "accent")]


def _where(view: RunView, width: int) -> list[Line]:
    """What the result is, and where it lies."""
    result = view.result or {}
    kind = one_line(str(result.get("kind") or "adapter"), 20)
    size = number(result.get("bytes"))
    weight = f" ({bytes_text(size)})" if size is not None else ""
    return wrapped(f"The {kind}{weight}{_dated(view)} lies in {result_path(view)}", width)


def _dated(view: RunView) -> str:
    """Of which stop a result is, when the run went on after it."""
    if not view.result_is_earlier:
        return ""
    result = view.result or {}
    step, moment = result.get("step"), when(number(result.get("t")))
    at = f" at step {step}" if step is not None else ""
    return f" of an earlier stop{at}{f' ({moment})' if moment else ''}, without what came after it,"


def result_path(view: RunView) -> Path:
    """Where the adapter (or model) lies."""
    return view.run.path / str((view.result or {}).get("path") or view.run.result.name)


def load_lines(view: RunView) -> tuple[str, str, str]:
    """Three lines of Python that load the result; every name in them is quoted."""
    return loading_lines(result_path(view), view.result or {})


def _failure(view: RunView, log: tuple[str, ...], width: int) -> list[Line]:
    end = view.end or {}
    cause = view.cause or "its worker left no word"
    remedy = view.remedy or "look at the end of its log (l)"
    lines: list[Line] = [(state_span(view.state), (" ", "")), *wrapped(str(cause), width, "strong")]
    lines += _after("What to do: ", str(remedy), width)
    lines += _after("", _saved(view), width)
    lines += _where(view, width) if view.result is not None else []
    said = end.get("last_lines")
    last = tuple(str(line) for line in said) if isinstance(said, list) and said else log
    tail = log_lines(last[-_LOG_LINES:], width) if last else []
    return [*lines, (), (("last words of the worker", "dim"),), *tail] if tail else lines


def _after(label: str, text: str, width: int) -> list[Line]:
    return wrapped(f"{label}{text}", width)


def _saved(view: RunView) -> str:
    if not view.checkpoints:
        return "No checkpoint was written: r begins it again from its first step."
    return f"r continues from the checkpoint of step {view.checkpoints[-1].get('step')}."
