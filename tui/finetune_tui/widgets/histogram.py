"""How long the rows are, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from finetune_core.data.stats import histogram
from finetune_core.text import count_text, counted
from finetune_tui.run_words import ascii_only
from finetune_tui.widgets.cells import Line, Span
from finetune_tui.widgets.flow_cells import FlowCells

_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
_ASCII_STEPS: Final = " .:|#"
_ROWS: Final = 4
_SCALE: Final = 6


class Histogram(FlowCells):
    """Counts of rows by length in tokens; what lies beyond `limit` is marked by colour and by a sign on the axis."""

    def show_lengths(self, values: Sequence[int], limit: int | None) -> None:
        """Lengths in tokens, one a row, and the length at which rows are cut."""
        self.show(lambda width, _height: histogram_lines(values, limit, width) if values and width > 20 else [])


def histogram_lines(values: Sequence[int], limit: int | None, width: int) -> list[Line]:
    """The columns with their scale, an axis and its ends, as lines of at most `width` cells."""
    room = width - _SCALE - 1
    bins = histogram(values, room)
    repeat = max(1, min(room // len(bins), 4))
    highest = max(count for *_, count in bins)
    lines: list[Line] = []
    for row in range(_ROWS, 0, -1):
        scale = count_text(highest) if row == _ROWS else "0" if row == 1 else ""
        spans: list[Span] = [(f"{scale:>{_SCALE - 1}} ", "dim"), ("|" if ascii_only() else "│", "dim")]
        for _, last, count in bins:
            beyond = limit is not None and last > limit
            spans.append((_cell(count / highest, row) * repeat, "warn" if beyond else "series-1"))
        lines.append(tuple(spans))
    return [*lines, *_axis(bins[0][0], bins[-1][1], limit, len(bins) * repeat)]


def _cell(share: float, row: int) -> str:
    steps = _ASCII_STEPS if ascii_only() else _EIGHTHS
    filled = share * _ROWS - (row - 1)
    level = round(max(0.0, min(1.0, filled)) * (len(steps) - 1))
    return steps[1] if not level and row == 1 and share > 0 else steps[level]


def _axis(low: int, high: int, limit: int | None, width: int) -> list[Line]:
    corner, dash, mark = ("+", "-", "^") if ascii_only() else ("└", "─", "┴")
    line = [dash] * width
    if limit is not None and low <= limit <= high:
        line[min(round((limit - low) / max(high - low, 1) * (width - 1)), width - 1)] = mark
    first, last = str(low), f"{counted(high, 'token')}"
    gap = max(width - len(first) - len(last), 1)
    words = f"   max length {limit} at {mark}" if limit is not None and low <= limit <= high else ""
    return [
        ((" " * _SCALE + corner + "".join(line), "dim"),),
        ((" " * (_SCALE + 1) + first + " " * gap + last, "dim"), (words, "warn")),
    ]
