"""From any number of points to one entry a pixel column: least, greatest, mean. Pure functions."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_LARGEST: Final = 1e300  # beyond it, sums and axes overflow; such a value is no better than infinity


@dataclass(frozen=True, slots=True)
class Column:
    """What the points of one pixel column have in common. `gap`: a value there was not a finite number."""

    x: int
    low: float
    high: float
    mean: float
    count: int
    gap: bool = False


def thin(steps: Sequence[int], values: Sequence[float], x_end: int, pixels: int) -> list[Column]:
    """The columns that hold points, from left to right, for an axis of 0 to `x_end` over `pixels` columns.

    `steps` must not fall. A column whose values are all non-finite has `count` 0. Slices go through min, max and sum
    of the interpreter, so that 200,000 points take a few milliseconds.
    """
    count = min(len(steps), len(values))
    scale = max(x_end, 1) / max(pixels - 1, 1)
    columns: list[Column] = []
    start = bisect_left(steps, 0, 0, count)
    while start < count:
        x = min(int(steps[start] / scale + 0.5), pixels - 1)
        if columns and x <= columns[-1].x:  # a step on the border of two columns, put to either side by rounding
            x = columns[-1].x + 1
        end = count if x >= pixels - 1 else bisect_left(steps, (x + 0.5) * scale, start, count)
        end = max(end, start + 1)
        columns.append(_column(x, values[start:end]))
        start = end
    return columns


def _column(x: int, values: Sequence[float]) -> Column:
    total = sum(values)
    if abs(total) < _LARGEST:
        return Column(x, min(values), max(values), total / len(values), len(values))
    finite = [value for value in values if abs(value) < _LARGEST / len(values)]
    if not finite:
        return Column(x, math.nan, math.nan, math.nan, 0, gap=True)
    return Column(x, min(finite), max(finite), math.fsum(finite) / len(finite), len(finite), gap=True)


def smooth(columns: Sequence[Column], span: float) -> list[Column]:
    """Exponential moving average over about `span` points, without the pull towards zero at its start.

    A column of k points weighs like k points of its mean (bias correction as in Adam, arXiv:1412.6980).
    """
    keep = 1 - 2 / (max(span, 1.0) + 1)
    average, weight = 0.0, 0.0
    found: list[Column] = []
    for column in columns:
        if column.count:
            part = keep**column.count
            average, weight = average * part + column.mean * (1 - part), weight * part + (1 - part)
        mean = average / weight if column.count and weight else math.nan
        found.append(Column(column.x, mean, mean, mean, column.count, column.gap))
    return found
