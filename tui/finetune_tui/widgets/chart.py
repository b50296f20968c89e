"""Line charts in text: curves over the steps of a run, with axes and a legend.

`render` is a pure function from points to lines. The x-axis runs from 0 to the run's total steps from the start, so
that a curve grows into it: the picture stays where it is and little is sent over the connection.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from finetune_tui.run_words import ascii_only, glyph
from finetune_tui.widgets.axis import Format, Scale, linear_scale, log_scale, number_text, round_step, tick_text
from finetune_tui.widgets.canvas import Canvas
from finetune_tui.widgets.cells import Cells, Line, Span, fitted, line_width
from finetune_tui.widgets.thinning import Column, smooth, thin

_SPREAD_FOR_LOG: Final = 20.0
# The least range of a value axis, as a share of the largest value on it.
_LEAST_RANGE: Final = 0.1
_MARGIN: Final = 4
_NARROWEST: Final = 12
# In a single row the name stands before the curve, and the range of values takes the place of ticks.
_NAME: Final = 25
_RANGE: Final = 8


@dataclass(frozen=True)
class Curve:
    """One series. `steps` must not fall; a value that is not finite is a gap.

    `mark` draws points with this character instead of a line; `end` puts a character at the newest point;
    `span` draws the moving average over about that many points instead of the points; `plain` stands for its line where
    only ASCII can be shown.
    """

    label: str
    steps: Sequence[int]
    values: Sequence[float]
    style: str = "series-1"
    mark: str = ""
    end: str = ""
    span: float = 0.0
    plain: str = ""


@dataclass(frozen=True)
class Axes:
    """How values are laid out.

    `x_end` is the last step; `low` and `high` pin the value axis; `log` None takes a logarithmic one where values
    rise far above those at the start; `unit` names steps; without `bottom` there is no axis of steps, without `legend`
    no first row.
    """

    x_end: int = 0
    low: float | None = None
    high: float | None = None
    text: Format = number_text
    tick: Format = tick_text
    log: bool | None = None
    unit: str = "steps"
    empty: str = "no steps yet"
    legend: bool = True
    bottom: bool = True


class _Thinned:
    """The columns of each series at one width; curves over the same points share the work."""

    def __init__(self, curves: Sequence[Curve], x_end: int, pixels: int) -> None:
        self.pixels = pixels
        points: dict[int, list[Column]] = {}
        self.columns: list[list[Column]] = []
        for curve in curves:
            if id(curve.values) not in points:
                points[id(curve.values)] = thin(curve.steps, curve.values, x_end, pixels)
            columns = points[id(curve.values)]
            self.columns.append(smooth(columns, curve.span) if curve.span else columns)


def render(curves: Sequence[Curve], axes: Axes, width: int, height: int, *, plain: bool = False) -> list[Line]:
    """The chart as `height` lines of `width` cells: a legend, the curves (the last one on top), the x-axis."""
    if axes.legend and height == 1 and width >= _NAME + 1 + _RANGE + _NARROWEST:
        return [_named_row(curves, axes, width, plain=plain)]
    legend_rows = 1 if axes.legend and height > 1 else 0
    axis_rows = 1 if axes.bottom and height > 3 else 0
    rows = height - legend_rows - axis_rows
    x_end = max([axes.x_end, *(curve.steps[-1] for curve in curves if curve.steps)])
    thinned = _Thinned(curves, x_end, max(width - _MARGIN - 1, 1) * (1 if plain else 2))
    legend = [fitted(_legend(curves, thinned, axes, width, plain=plain), width)] * legend_rows
    if width < _NARROWEST:
        return [*legend, *([fitted((), width)] * (height - legend_rows))]
    scale = _scale(thinned, axes, rows)
    if scale is None:
        return [*legend, *_empty(axes.empty, width, height - legend_rows)]
    margin = _margin(scale, axes, rows, plain=plain)
    canvas = Canvas(width - margin - 1, rows, plain=plain)
    if thinned.pixels != canvas.width:
        thinned = _Thinned(curves, x_end, canvas.width)
    for curve, columns in zip(curves, thinned.columns, strict=True):
        _draw(canvas, curve, columns, scale)
    body = [(*_label(scale, axes, row, canvas, margin), *line) for row, line in enumerate(canvas.lines())]
    bottom = [_x_axis(x_end, axes.unit, width, margin, plain=plain)] * axis_rows
    return [*legend, *(fitted(line, width) for line in body), *bottom]


def _named_row(curves: Sequence[Curve], axes: Axes, width: int, *, plain: bool) -> Line:
    """The legend and the curve side by side, where there is but one row for both."""
    thinned = _Thinned(curves, axes.x_end, width)
    name = fitted(_legend(curves, thinned, axes, _NAME, plain=plain), _NAME)
    (row,) = render(curves, replace(axes, legend=False), width - _NAME - 1, 1, plain=plain)
    return (*name, (" ", ""), *row)


def _margin(scale: Scale, axes: Axes, rows: int, *, plain: bool) -> int:
    """Cells before the axis."""
    if rows == 1:
        return max(_RANGE, len(_range(scale, axes, plain=plain)))
    return max(_MARGIN, *(len(axes.tick(tick)) for tick in scale.ticks))


def _range(scale: Scale, axes: Axes, *, plain: bool) -> str:
    return f"{axes.tick(scale.low)}{'..' if plain else '–'}{axes.tick(scale.high)}"  # noqa: RUF001 - a range's dash


def _scale(thinned: _Thinned, axes: Axes, rows: int) -> Scale | None:
    """The value axis for these curves; None when there is not one finite value."""
    found = [column for columns in thinned.columns for column in columns if column.count]
    if not found:
        return None
    low = min(column.low for column in found) if axes.low is None else axes.low
    high = max(column.high for column in found) if axes.high is None else axes.high
    if axes.low is None and axes.high is None:
        low, high = _wide_enough(low, high)
    parts = max(1, rows // 2)
    start = max((columns[0].high for columns in thinned.columns if columns and columns[0].count), default=high)
    if low > 0 and (axes.log or (axes.log is None and high > _SPREAD_FOR_LOG * start)):
        return log_scale(low, high, parts)
    scale = linear_scale(low, high, parts)
    return scale if axes.high is None else replace(scale, low=low, high=high, ticks=(low, high))


def _wide_enough(low: float, high: float) -> tuple[float, float]:
    """A range in which a nearly flat curve looks nearly flat, and its noise like no rise or fall."""
    lacking = _LEAST_RANGE * max(abs(low), abs(high)) - (high - low)
    return (low, high) if lacking <= 0 or high == low else (low - lacking / 2, high + lacking / 2)


def _draw(canvas: Canvas, curve: Curve, columns: Sequence[Column], scale: Scale) -> None:
    canvas.layer(curve.style, curve.plain)
    before: Column | None = None
    for column in columns:
        if column.gap and not curve.mark:
            canvas.mark(column.x, canvas.height - 1, "x" if canvas.plain else "✗", "bad")
        if not column.count:
            before = None
            continue
        if curve.mark:
            canvas.mark(column.x, _height(canvas, scale, column.mean), curve.mark, curve.style)
            continue
        canvas.fill(column.x, _height(canvas, scale, column.high), _height(canvas, scale, column.low))
        if before is not None and not column.gap:
            _join(canvas, scale, before, column)
        before = column
    if curve.end and before is not None:
        canvas.mark(before.x, _height(canvas, scale, before.mean), curve.end, curve.style, beside=True)


def _height(canvas: Canvas, scale: Scale, value: float) -> float:
    return (1 - scale.share(value)) * (canvas.height - 1)


def _join(canvas: Canvas, scale: Scale, left: Column, right: Column) -> None:
    """A straight line from one column's mean to the next one's, without a hole between dots."""
    start, end = _height(canvas, scale, left.mean), _height(canvas, scale, right.mean)
    distance = right.x - left.x
    for offset in range(distance + 1):
        one = start + (end - start) * max(offset - 0.5, 0) / distance
        other = start + (end - start) * min(offset + 0.5, distance) / distance
        canvas.fill(left.x + offset, one, other)


def _label(scale: Scale, axes: Axes, row: int, canvas: Canvas, margin: int) -> Line:
    bar, tick_bar = ("|", "+") if canvas.plain else ("│", "┤")
    if canvas.rows == 1:
        return ((_range(scale, axes, plain=canvas.plain).rjust(margin) + bar, "dim"),)
    for tick in scale.ticks:
        if min(int(_height(canvas, scale, tick) + 0.5) // canvas.dots_y, canvas.rows - 1) == row:
            return ((axes.tick(tick).rjust(margin) + tick_bar, "dim"),)
    return ((" " * margin + bar, "dim"),)


def _x_axis(x_end: int, unit: str, width: int, margin: int, *, plain: bool) -> Line:
    """The bottom line with step numbers set into it."""
    corner, dash = ("+", "-") if plain else ("└", "─")
    cells = list(" " * margin + corner + dash * (width - margin - 1))
    room = width - margin - 1
    step = max(1, int(round_step(float(x_end), max(1, room // 14)))) if x_end else 1
    final = f" {x_end} {unit}".rstrip()
    cells[-len(final) :] = final
    for value in range(0, x_end, step):
        text = str(value)
        start = margin + 1 + round(value / max(x_end, 1) * (room - 1)) - (len(text) // 2 if value else 0)
        if start + len(text) + 1 < width - len(final):
            cells[start : start + len(text)] = text
    return (("".join(cells)[:width], "dim"),)


def _legend(curves: Sequence[Curve], thinned: _Thinned, axes: Axes, width: int, *, plain: bool) -> Line:
    """Each curve with its newest figure; one that does not fit is left out whole."""
    spans: list[Span] = []
    for curve, columns in zip(curves, thinned.columns, strict=True):
        if not curve.label:
            continue
        picture = (
            curve.mark
            or curve.end
            or (("--" if plain else "━━") if curve.style != "faint" else ".." if plain else "··")
        )
        newest = columns[-1].mean if columns and curve.span else (curve.values[-1] if curve.values else None)
        known = newest is not None and math.isfinite(newest)
        figure: Span = ("-" if newest is None else axes.text(newest), "strong" if known else "bad")
        item: list[Span] = [(f"{picture} ", curve.style), (f"{curve.label} ", "dim"), figure]
        gap: list[Span] = [("   ", "")] if spans else []
        if spans and line_width((*spans, *gap, *item)) > width:
            mark: Line = ((f" {glyph('…', '~')}", "dim"),)
            return (*spans, *(mark if line_width((*spans, *mark)) <= width else ()))
        spans += [*gap, *item]
    return tuple(spans)


def _empty(words: str, width: int, height: int) -> list[Line]:
    lines: list[Line] = [((" " * width, ""),) for _ in range(height)]
    lines[height // 2] = fitted(((words.center(width), "dim"),), width)
    return lines


class Chart(Cells):
    """A chart as a widget: draws itself anew at every size and sends only the cells that changed."""

    DEFAULT_CSS = "Chart { min-height: 1; }"

    def plot(self, curves: Sequence[Curve], axes: Axes) -> None:
        """Draw these curves; the sequences are read again at a resize."""
        self.show(lambda width, height: render(curves, axes, width, height, plain=ascii_only()))


__all__ = ["Axes", "Chart", "Curve", "line_width", "render"]
