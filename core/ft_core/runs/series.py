"""Curves of a run, short enough for memory and faithful enough for a chart."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from math import isnan

_MOST = 20_000
_RECENT = 4_000
_BUCKET = 8


@dataclass
class Series:
    """One curve: values (`nan` is a gap) over steps, which only rise.

    Beyond 20 000 points the older ones are thinned: of each eight, the lowest and the highest stay, so that no spike
    is lost; the newest 4 000 are always whole.
    """

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, step: int, value: float) -> None:
        """Add a point; points at this step or later (an earlier attempt of a resumed run) are replaced by it."""
        if self.steps and step <= self.steps[-1]:
            self.cut(step)
        self.steps.append(step)
        self.values.append(value)
        if len(self.steps) > _MOST:
            self._thin()

    def cut(self, step: int) -> None:
        """Forget the points at this step and later."""
        end = bisect_left(self.steps, step)
        del self.steps[end:], self.values[end:]

    def _thin(self) -> None:
        old = len(self.steps) - _RECENT
        old -= old % _BUCKET
        steps: list[int] = []
        values: list[float] = []
        for start in range(0, old, _BUCKET):
            bucket = self.values[start : start + _BUCKET]
            for place in _extremes(bucket):
                steps.append(self.steps[start + place])
                values.append(bucket[place])
        self.steps[:old] = steps
        self.values[:old] = values


def _extremes(bucket: list[float]) -> tuple[int, ...]:
    """Positions of the lowest and the highest value, in order; of a gap instead, where there is one."""
    if any(map(isnan, bucket)):
        return (next(place for place, value in enumerate(bucket) if isnan(value)),)
    low, high = bucket.index(min(bucket)), bucket.index(max(bucket))
    return (low, high) if low < high else (high, low) if high < low else (low,)
