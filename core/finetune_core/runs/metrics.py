"""Metrics: the curves of a run over its steps, each with a title, a unit, a group and the way that is better.

Steps and evaluations carry them by name. A metric that is not in the table is shown by its name all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Metrics = Mapping[str, float | None]
Direction = Literal["lower", "higher", ""]
EVAL_LOSS: Final = "eval_loss"
ROUTER_LOSS: Final = "router_loss"
FIRST_METRICS: Final = ("loss", "learning_rate", "grad_norm", "tokens_per_s")
# Of a journal nobody vouches for.
_MOST_METRICS: Final = 200
_LONGEST_NAME: Final = 80
_DIGITS: Final = 12


@dataclass(frozen=True)
class Metric:
    """A curve over the steps of a run: `direction` says which way is better, "" where neither is."""

    name: str
    title: str
    unit: str = ""
    group: str = ""
    direction: Direction = ""


METRICS: Final[dict[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric("loss", "training loss", "nats/token", "loss", "lower"),
        Metric(EVAL_LOSS, "held-out loss", "nats/token", "loss", "lower"),
        Metric(ROUTER_LOSS, "router loss", "", "loss", "lower"),
        Metric("mean_token_accuracy", "token accuracy", "share", "loss", "higher"),
        Metric("entropy", "entropy of the next token", "nats", "loss"),
        Metric("learning_rate", "learning rate", "", "optimizer"),
        Metric("grad_norm", "gradient norm", "", "optimizer"),
        Metric("tokens_per_s", "tokens/s", "tokens/s", "speed", "higher"),
        Metric("step_seconds", "time of a step", "s", "speed", "lower"),
        Metric("memory_bytes", "memory", "bytes", "memory"),
        Metric("gpu_memory_bytes", "GPU memory", "bytes", "memory"),
        Metric("gpu_utilisation", "GPU utilisation", "%", "GPU"),
        Metric("gpu_temperature", "GPU temperature", "°C", "GPU"),
        Metric("gpu_power", "GPU power", "W", "GPU"),
    )
}
# The order in which groups are shown; those of a method or a later version come after them, by name.
GROUPS: Final = ("loss", "optimizer", "speed", "memory", "GPU")


def metric(name: str) -> Metric:
    """What a metric is; one that is not in the table is described by its name.

    A name may carry what it is measured on behind a colon (`gpu_power:1`, `eval_loss:german`), and its group before a
    slash (`rewards/margins`).
    """
    kind, _, of = name.partition(":")
    known = METRICS.get(kind)
    if known is not None:
        title = known.title if not of else f"{known.title} {of}"
        return Metric(name, title, known.unit, known.group, known.direction)
    group, slash, _ = kind.rpartition("/")
    words = f"{kind} {of}".replace("/", " ").replace("_", " ").strip()
    return Metric(name, words or name, group=group.replace("_", " ") if slash else "")


def metrics_in_order(names: Iterable[str]) -> list[Metric]:
    """Metrics by group, in each as the table has them, then by name."""
    places = {name: place for place, name in enumerate(METRICS)}
    groups = {name: place for place, name in enumerate(GROUPS)}

    def place(one: Metric) -> tuple[int, list[str], int, list[str]]:
        kind = one.name.partition(":")[0]
        group, known = groups.get(one.group, len(groups)), places.get(kind, len(places))
        return group, _by_number(one.group), known, _by_number(one.name)

    return sorted((metric(name) for name in names), key=place)


def _by_number(text: str) -> list[str]:
    """What sorts layer 2 before layer 10."""
    return [part.zfill(_DIGITS) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def metrics_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of a `step` or `eval` event by name, as they stand there; at most 200, of short names.

    Events of the first versions hold them beside their other fields.
    """
    found = event.get("metrics")
    if isinstance(found, dict):
        short = ((name, value) for name, value in found.items() if len(name) <= _LONGEST_NAME)
        return dict(pair for pair, _ in zip(short, range(_MOST_METRICS), strict=False))
    if event.get("kind") == "eval":
        return {EVAL_LOSS: event.get("loss")}
    return {name: event[name] for name in (*FIRST_METRICS, ROUTER_LOSS) if name in event}


def as_metrics(logs: Mapping[str, Any], leave_out: frozenset[str] = frozenset()) -> dict[str, float]:
    """The figures among what a trainer logs, also those that are no numbers (NaN), without the ones to leave out."""
    return {
        name: float(value)
        for name, value in logs.items()
        if name not in leave_out and isinstance(value, int | float) and not isinstance(value, bool)
    }
