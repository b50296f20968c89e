"""What stands in each pane of the dashboard: from the run as read to lines and curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from textual.screen import Screen

from finetune_core.errors import FtError
from finetune_tui.dashboard.metrics_grid import MetricsGrid
from finetune_tui.dashboard.reader import RunReader
from finetune_tui.widgets.cells import Cells, Draw, Line, wrapped
from finetune_tui.widgets.chart import Chart
from finetune_tui.widgets.event_list import event_lines
from finetune_tui.widgets.gauges import device_lines, figure_line, fullest_first
from finetune_tui.widgets.log_tail import log_lines
from finetune_tui.widgets.outcome import outcome_lines
from finetune_tui.widgets.pager import Pager
from finetune_tui.widgets.phases import phase_lines
from finetune_tui.widgets.run_charts import loss_chart, memory_chart, rate_charts
from finetune_tui.widgets.run_header import header_lines
from finetune_tui.widgets.samples_view import samples_lines

RATES: Final = ("learning_rate", "grad_norm", "tokens_per_s")
_FIGURE_DEVICES: Final = 2
_SIDE_DEVICES: Final = 4


def draw(screen: Screen[None], reader: RunReader, now: float) -> None:
    """Fill every pane; a hidden one only takes note and draws itself when it is shown."""
    view = reader.view
    screen.query_one("#header", Cells).show(lambda width, _: header_lines(view, width, now))
    screen.query_one("#loss", Chart).plot(*loss_chart(view))
    screen.query_one(MetricsGrid).show_view(view)
    _draw_rates(screen, reader)
    _draw_hardware(screen, reader)
    _draw_figures(screen, reader)
    for name in ("#events", "#side-events"):
        screen.query_one(name, Pager).show(lambda width, _: event_lines(view, width))
    screen.query_one("#phases", Pager).show(lambda width, _: phase_lines(view, width))
    screen.query_one("#samples", Pager).show(lambda width, _: _samples(reader, width))
    screen.query_one("#log", Pager).show(lambda width, _: log_lines(reader.seen.log, width))
    screen.query_one("#result", Pager).show(partial(outcome_lines, view, reader.seen.log))


def _draw_rates(screen: Screen[None], reader: RunReader) -> None:
    for series, (curves, axes) in rate_charts(reader.view).items():
        screen.query_one(f"#rates .{series}", Chart).plot(curves, axes)
        screen.query_one(f"#side-rates .{series}", Chart).plot(curves, replace(axes, bottom=False))


def _draw_hardware(screen: Screen[None], reader: RunReader) -> None:
    curves, axes = memory_chart(reader.view)
    for name, most in (("#hardware", 16), ("#side-hardware", _SIDE_DEVICES)):
        devices = screen.query_one(f"{name} .devices", Cells)
        _show_whole(devices, partial(_devices, reader, most))
        screen.query_one(f"{name} .memory", Chart).plot(curves, axes)


def _devices(reader: RunReader, most: int, width: int, _height: int = 0) -> list[Line]:
    return fullest_first(device_lines(reader.view, width), reader.view, most)


def _draw_figures(screen: Screen[None], reader: RunReader) -> None:
    def lines(width: int, _height: int) -> list[Line]:
        return [figure_line(reader.view, width), *_devices(reader, _FIGURE_DEVICES, width)]

    _show_whole(screen.query_one("#figures", Cells), lines)


def _show_whole(cells: Cells, draw: Draw) -> None:
    """Lines in a widget exactly as high; a layout is only asked for when their number changes."""
    needed = len(draw(80, 1))
    height = cells.styles.height
    if height is None or height.value != needed:
        cells.styles.height = needed
    cells.show(draw)


def _samples(reader: RunReader, width: int) -> Sequence[Line]:
    seen = reader.seen
    if seen.samples is not None:
        return samples_lines(seen.samples, seen.place + 1, len(reader.view.samples), width)
    if seen.sample_problem:
        return wrapped(seen.sample_problem, width, "warn")
    return wrapped(_no_samples(reader), width, "dim")


def _no_samples(reader: RunReader) -> str:
    try:
        samples = reader.view.recipe.samples
    except FtError as error:
        return str(error)
    if not samples.prompts and not samples.count:
        return "This run's recipe asks for no samples. s asks the model something now."
    return "The base model's answers come before the first step, the tuned model's beside them during training."
