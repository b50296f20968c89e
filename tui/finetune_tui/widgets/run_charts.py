"""Which curves of a run are drawn, and how: the settings of each chart of the dashboard."""

from __future__ import annotations

from finetune_core.runs.view.curves import Series
from finetune_core.runs.view.run_view import RunView
from finetune_core.text import count_text, memory_text
from finetune_tui.run_words import glyph
from finetune_tui.widgets.axis import number_text
from finetune_tui.widgets.chart import Axes, Curve

_LEAST_SPAN = 3.0
_SPANS = 40
_GPU_STYLES = ("series-1", "series-2", "series-3", "series-4")
_NOTHING = Series()


def loss_chart(view: RunView) -> tuple[list[Curve], Axes]:
    """Training loss of each step (faint), its moving average, and the held-out loss as points."""
    loss, held_out = view.series.get("loss", _NOTHING), view.series.get("eval_loss", _NOTHING)
    span = max(_LEAST_SPAN, (view.total or 0) / _SPANS)
    curves = [
        Curve("train", loss.steps, loss.values, "faint"),
        Curve("smoothed", loss.steps, loss.values, "series-1", span=span, plain="*"),
    ]
    if held_out.steps:
        curves.append(Curve("held-out", held_out.steps, held_out.values, "series-2", mark=glyph("◆", "o")))
    return curves, Axes(x_end=view.total or 0)


def rate_charts(view: RunView) -> dict[str, tuple[list[Curve], Axes]]:
    """Learning rate, gradient norm and tokens per second, by the name of the series."""
    total = view.total or 0
    rate = Axes(total, low=0, text=number_text, log=False)
    return {
        "learning_rate": _single(view, "learning_rate", "learning rate", rate),
        "grad_norm": _single(view, "grad_norm", "gradient norm", Axes(total, text=number_text)),
        "tokens_per_s": _single(
            view, "tokens_per_s", "tokens/s", Axes(total, low=0, text=count_text, tick=count_text, log=False)
        ),
    }


def _memory_tick(value: float) -> str:
    return memory_text(value) if value else "0"


def _single(view: RunView, name: str, label: str, axes: Axes) -> tuple[list[Curve], Axes]:
    series = view.series.get(name, _NOTHING)
    return [Curve(label, series.steps, series.values)], axes


def memory_chart(view: RunView) -> tuple[list[Curve], Axes]:
    """Memory in use over the steps against the device's total: each GPU, or the host on a CPU run.

    A GPU's newest point carries its index, so that lines are distinct without colour.
    """
    gpus = [gpu for gpu in view.gpus if f"gpu_memory_bytes:{gpu.get('index')}" in view.series]
    totals = [gpu.get("memory_total") for gpu in gpus] or [view.memory_total]
    high = max((float(total) for total in totals if isinstance(total, int | float)), default=None)
    curves: list[Curve] = []
    for place, gpu in enumerate(gpus):
        series = view.series[f"gpu_memory_bytes:{gpu['index']}"]
        style = _GPU_STYLES[place % len(_GPU_STYLES)]
        end = str(gpu["index"])[-1:]
        curves.append(Curve(f"GPU {gpu['index']}"[:8], series.steps, series.values, style, end=end))
    if not gpus:
        series = view.series.get("memory_bytes", _NOTHING)
        curves.append(Curve("memory", series.steps, series.values))
    axes = Axes(view.total or 0, low=0, high=high, text=memory_text, tick=_memory_tick, log=False, legend=False)
    return curves, axes
