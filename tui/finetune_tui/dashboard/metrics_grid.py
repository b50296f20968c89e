"""Every metric of a run as a curve: a grid of small charts, filtered by typing, a page at a time, one enlarged.

The grid is one widget: its charts are drawn as lines beside each other, however many metrics a run has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Click
from textual.widgets import Input

from finetune_core.runs.metrics import Metric, metrics_in_order
from finetune_core.runs.view.run_view import RunView
from finetune_core.text import memory_text, one_line, plural
from finetune_tui.run_words import ascii_only, glyph
from finetune_tui.widgets.axis import Format, number_text, tick_text
from finetune_tui.widgets.cells import Cells, Line, Span, fitted, line_width, wrapped
from finetune_tui.widgets.chart import Axes, Curve, render
from finetune_tui.widgets.line_input import LineInput
from finetune_tui.widgets.run_charts import loss_chart

# The least room of a chart in the grid, in cells.
_LEAST_WIDTH: Final = 26
_LEAST_HEIGHT: Final = 5
_MOST_HEIGHT: Final = 12
_GAP: Final = 2
_TITLE: Final = 60
_BETTER: Final = {"lower": "lower is better", "higher": "higher is better", "": ""}


@dataclass(frozen=True)
class Layout:
    """Columns and rows of charts on a page, each chart so many cells wide and high."""

    columns: int
    rows: int
    width: int
    height: int

    @property
    def page(self) -> int:
        """Charts on a page."""
        return self.columns * self.rows


def layout(width: int, height: int, count: int) -> Layout:
    """As many of `count` charts as have room, one at least; fewer are higher."""
    columns = max((width + _GAP) // (_LEAST_WIDTH + _GAP), 1)
    rows = min(max(height // _LEAST_HEIGHT, 1), max(math.ceil(count / columns), 1))
    return Layout(columns, rows, (width + _GAP) // columns - _GAP, min(height // rows, _MOST_HEIGHT))


def metric_curves(view: RunView, metric: Metric, *, small: bool) -> tuple[list[Curve], Axes]:
    """The chart of one metric: the loss as its own pane draws it where there is room."""
    if metric.name == "loss" and not small:
        return loss_chart(view)
    series = view.series[metric.name]
    text, tick = _formats(metric)
    mark = glyph("◆", "o") if len(series.steps) < 2 or metric.name.startswith("eval_") else ""
    low = 0.0 if metric.unit in {"bytes", "%"} else None
    axes = Axes(view.total or 0, low=low, text=text, tick=tick, bottom=not small, log=False if low == 0.0 else None)
    return [Curve(one_line(metric.title, _TITLE), series.steps, series.values, mark=mark)], axes


def _formats(metric: Metric) -> tuple[Format, Format]:
    if metric.unit == "bytes":
        return memory_text, lambda value: memory_text(value) if value else "0"
    if metric.unit in {"%", "°C", "W", "s"}:
        return (lambda value: f"{number_text(value)} {metric.unit}"), tick_text
    return number_text, tick_text


def page_lines(view: RunView, metrics: list[Metric], chosen: Metric | None, where: Layout) -> list[Line]:
    """A page of charts beside and below each other; the chosen one has a mark."""
    plain = ascii_only()
    lines: list[Line] = []
    for start in range(0, len(metrics), where.columns):
        charts = []
        for metric in metrics[start : start + where.columns]:
            curves, axes = metric_curves(view, metric, small=True)
            (head, *body) = render(curves, axes, where.width - 2, where.height, plain=plain)
            mark: Span = (glyph("▸ ", "> "), "accent") if metric is chosen else ("  ", "")
            charts.append([(mark, *head), *(((" " * 2, ""), *line) for line in body)])
        for row in range(where.height):
            parts = [
                ((" " * _GAP if place else "", ""), *fitted(chart[row], where.width))
                for place, chart in enumerate(charts)
            ]
            lines.append(tuple(span for part in parts for span in part))
    return lines


class MetricsGrid(Cells, can_focus=True):
    """The charts of a page, or the enlarged one; arrows choose, Enter enlarges."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", "Metric before", show=False),
        Binding("right", "move(1)", "Next metric", show=False),
        Binding("up", "move_row(-1)", "Row before", show=False),
        Binding("down", "move_row(1)", "Next row", show=False),
        Binding("pageup", "page(-1)", "Page before", show=False),
        Binding("pagedown,space", "page(1)", "Next page", show=False),
        Binding("home", "edge(0)", "First metric", show=False),
        Binding("end", "edge(1)", "Last metric", show=False),
        Binding("enter", "enlarge", "Enlarge", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(id="metrics-grid")
        self._view: RunView | None = None
        self._metrics: list[Metric] = []
        self._all = 0
        self._chosen = ""
        self.wanted = ""
        self.enlarged = False

    def show_view(self, view: RunView) -> None:
        """Draw a run's metrics as they are now."""
        self._view = view
        names = [name for name in list(view.series) if view.series[name].steps]
        found = metrics_in_order(names)
        self._all = len(found)
        wanted = self.wanted.casefold()
        self._metrics = [one for one in found if wanted in f"{one.title} {one.name} {one.group}".casefold()]
        self.show(self._drawn)

    @property
    def shown(self) -> list[str]:
        """The names of the metrics that pass the filter, in order."""
        return [metric.name for metric in self._metrics]

    @property
    def at(self) -> int:
        """The place of the chosen metric; the first where it is none of them any more."""
        return next((place for place, metric in enumerate(self._metrics) if metric.name == self._chosen), 0)

    def filter(self, text: str) -> None:
        """Show only metrics whose title, name or group has this text."""
        self.wanted = text.strip()
        self._again()

    def _again(self) -> None:
        if self._view is not None:
            self.show_view(self._view)

    def _where(self, width: int, height: int) -> Layout:
        return layout(width, max(height - 1, 1), len(self._metrics))

    def _drawn(self, width: int, height: int) -> list[Line]:
        view = self._view
        if view is None or not self._metrics:
            return wrapped(self._nothing(), width, "dim")
        at = self.at
        chosen = self._metrics[at]
        if self.enlarged:
            curves, axes = metric_curves(view, chosen, small=False)
            chart = render(curves, axes, width, max(height - 1, 1), plain=ascii_only())
            return [*chart, _foot(_about(chosen), "Esc: all metrics", width)]
        where = self._where(width, height)
        first = at // where.page * where.page
        page = self._metrics[first : first + where.page]
        more = "  PgDn: more" if len(self._metrics) > where.page else ""
        lines = page_lines(view, page, chosen, where)
        lines += [()] * (max(height - 1, 1) - len(lines))
        return [*lines, _foot(self._count(first, len(page)), f"/: filter  Enter: enlarge{more}", width)]

    def _nothing(self) -> str:
        if self._all:
            return f"No metric has {one_line(self.wanted, 40)!r} in its name; Esc clears the filter."
        return "The metrics come with the first step."

    def _count(self, first: int, count: int) -> str:
        hidden = self._all - len(self._metrics)
        of = f"{first + 1}-{first + count} of {len(self._metrics)} {plural(len(self._metrics), 'metric')}"
        return f"{of}, {hidden} filtered out" if hidden else of

    # Moving

    def _choose(self, place: int) -> None:
        if self._metrics:
            self._chosen = self._metrics[min(max(place, 0), len(self._metrics) - 1)].name
            self._again()

    def action_move(self, by: int) -> None:
        """Choose a metric before or after this one."""
        self._choose(self.at + by)

    def action_move_row(self, by: int) -> None:
        """Choose the metric above or below; the one before or after where one is enlarged."""
        self._choose(self.at + by * (1 if self.enlarged else self._where(*self.content_size).columns))

    def action_page(self, by: int) -> None:
        """Choose the first metric of the page before or after."""
        page = 1 if self.enlarged else self._where(*self.content_size).page
        wanted = self.at // page + by
        if 0 <= wanted <= (len(self._metrics) - 1) // page:
            self._choose(wanted * page)

    def action_edge(self, end: int) -> None:
        """Choose the first or the last metric."""
        self._choose(len(self._metrics) if end else 0)

    def action_enlarge(self) -> None:
        """Give the chosen metric the whole pane, or the grid back."""
        self.enlarged = not self.enlarged and bool(self._metrics)
        self._again()

    def on_click(self, event: Click) -> None:
        """Choose the chart under the mouse; a second click enlarges it."""
        if self.enlarged or not self._metrics:
            self.action_enlarge()
            return
        where = self._where(*self.content_size)
        column, row = event.x // (where.width + _GAP), event.y // where.height
        place = self.at // where.page * where.page + row * where.columns + column
        if column < where.columns and row < where.rows and place < len(self._metrics):
            again = place == self.at and bool(self._chosen)
            self._choose(place)
            if again:
                self.action_enlarge()


def _about(metric: Metric) -> str:
    return ", ".join(part for part in (metric.title, metric.unit, _BETTER[metric.direction]) if part)


def _foot(left: str, right: str, width: int) -> Line:
    gap = width - line_width(((left, ""), (right, "")))
    return ((left, "dim"), (" " * gap + right, "dim")) if gap >= 2 else ((one_line(left, max(width, 1)), "dim"),)


class MetricsPane(Vertical):
    """The grid with its filter."""

    DEFAULT_CSS = """
    MetricsPane LineInput { height: 1; display: none; }
    MetricsPane.-filtered LineInput { display: block; }
    """

    def __init__(self) -> None:
        super().__init__(id="metrics")

    def compose(self) -> ComposeResult:
        """The filter above the charts."""
        yield LineInput(placeholder="part of a metric's name", id="metrics-filter", compact=True, disabled=True)
        yield MetricsGrid()

    @property
    def grid(self) -> MetricsGrid:
        """The charts."""
        return self.query_one(MetricsGrid)

    def open_filter(self) -> None:
        """Let a part of a name be typed."""
        field = self.query_one(Input)
        field.disabled = False
        self.add_class("-filtered")
        field.focus()

    def step_back(self) -> bool:
        """Undo the last of filter and enlargement; False where there was neither."""
        field = self.query_one(Input)
        if self.has_class("-filtered") and (field.has_focus or not self.grid.enlarged):
            field.value = ""
            field.disabled = True
            self.remove_class("-filtered")
            self.grid.filter("")
        elif self.grid.enlarged:
            self.grid.action_enlarge()
        else:
            return False
        self.grid.focus()
        return True

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while one types."""
        event.stop()
        self.grid.filter(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter leads from the filter to the charts."""
        event.stop()
        self.grid.focus()
