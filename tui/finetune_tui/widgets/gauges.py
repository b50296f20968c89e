"""Memory, utilisation, temperature and power in one line a device; the run's key figures in one line."""

from __future__ import annotations

import math
from typing import Any

from finetune_core.runs.view.run_view import RunView
from finetune_core.text import count_text, memory_text
from finetune_tui.widgets.axis import number_text
from finetune_tui.widgets.cells import Line, Span, bar, line_width

_FULL = 0.92
_ROOMY = 60
_LEAST_BAR, _WIDEST_BAR = 6, 30


def newest(view: RunView, name: str) -> float | None:
    """The newest value of a series; None when it has none."""
    series = view.series.get(name)
    return series.values[-1] if series and series.values else None


def figure_line(view: RunView, width: int) -> Line:
    """Learning rate, gradient norm and speed; what does not fit is left out from the end."""
    parts = [
        ("lr", newest(view, "learning_rate"), number_text),
        ("grad norm", newest(view, "grad_norm"), number_text),
        ("tokens/s", newest(view, "tokens_per_s"), count_text),
    ]
    spans: list[Span] = [(" ", "")]
    for label, value, text in parts:
        shown = "-" if value is None else (text(value) if math.isfinite(value) else number_text(value))
        found: list[Span] = [(f"{label} ", "dim"), (shown, "strong"), ("   ", "")]
        if line_width((*spans, *found)) <= width + 3:
            spans += found
    return tuple(spans)


def device_lines(view: RunView, width: int) -> list[Line]:
    """One line a GPU; one line of the machine's memory on a CPU run."""
    if view.gpus:
        return [_gpu_line(gpu, width) for gpu in view.gpus]
    used = newest(view, "memory_bytes")
    if used is None:
        return [((" memory ", "dim"), ("known after the first step", "dim"))]
    return [_gauge(" RAM " if width >= _ROOMY else "RAM ", used, view.memory_total, (), width)]


def fullest_first(lines: list[Line], view: RunView, limit: int) -> list[Line]:
    """At most `limit` device lines, the fullest devices, and a word on the others."""
    if len(lines) <= limit:
        return lines
    order = sorted(range(len(lines)), key=lambda index: -_share(view.gpus[index]))
    kept = [lines[index] for index in sorted(order[: limit - 1])]
    return [*kept, ((f" {len(lines) - limit + 1} more GPUs: press 3", "dim"),)]


def _share(gpu: dict[str, Any]) -> float:
    used, total = _number(gpu.get("memory_used")), _number(gpu.get("memory_total"))
    return used / total if used is not None and total else 0.0


def _gpu_line(gpu: dict[str, Any], width: int) -> Line:
    readings = [
        ("utilisation", "{:.0f} %", 4),
        ("temperature", "{:.0f} °C", 5),
        ("power_watts", "{:.0f} W", 5),
    ]
    gap = "   " if width >= _ROOMY else " "
    spans: list[Span] = []
    for name, form, size in readings:
        value = _number(gpu.get(name))
        spans.append((f"{gap}{(form.format(value) if value is not None else '-').rjust(size)}", ""))
    label = f"{' ' if width >= _ROOMY else ''}GPU {gpu.get('index', '?')} "[:8]
    return _gauge(label, _number(gpu.get("memory_used")), _number(gpu.get("memory_total")), tuple(spans), width)


def _gauge(label: str, used: float | None, total: float | None, after: Line, width: int) -> Line:
    """`label ████░░░ 17.2/24.0 GiB` and what follows; nearly full memory has a mark, and a word where it fits."""
    if used is None:
        return ((label, "dim"), ("memory not reported", "dim"), *after)
    if not total:
        return ((label, "dim"), (memory_text(used), "strong"), *after)
    share = used / total
    full = share > _FULL
    tail: Line = ((f" {_pair(used, total)}", ""), ("!" if full else " ", "warn"), *after)
    room = min(width - len(label) - line_width(tail) - 1, _WIDEST_BAR)
    drawn = bar(share, room, "warn" if full else "accent") if room >= _LEAST_BAR else ()
    line: Line = ((label, "dim"), *drawn, *tail)
    words = "  nearly full"
    return (*line, (words, "warn")) if full and line_width(line) + len(words) <= width else line


def _pair(used: float, total: float) -> str:
    """`17.2/24.0 GiB`; the unit once where both have the same."""
    one, other = memory_text(used), memory_text(total)
    return f"{one.split()[0]}/{other}" if one.split()[1] == other.split()[1] else f"{one} of {other}"


def _number(value: object) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known and math.isfinite(value) else None  # type: ignore[arg-type]
