"""Curves of a run, short enough for memory and faithful enough for a chart."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isnan

_MOST = 20_000
_RECENT = 4_000
_BUCKETS = 5_000


@dataclass
class Series:
    """One curve: values (`nan` is a gap) over steps, which only rise.

    Beyond 20 000 points the older ones are thinned evenly to at most 5 000 stretches of steps; of each, the lowest
    and the highest value and one gap stay, so that no spike is lost. The newest 4 000 points are always whole.
    """

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    _width: int = field(default=1, init=False, repr=False, compare=False)
    _thinned: int = field(default=0, init=False, repr=False, compare=False)

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
        self._thinned = min(self._thinned, end)

    def thinned(self, most: int) -> Series:
        """A copy of at most `most` points (8 at least): the newest quarter whole, the older ones thinned."""
        copy = Series(list(self.steps), list(self.values))
        if len(copy.steps) > most:
            copy._thin(most // 4 - 1, most // 4)
        return copy

    def _thin(self, buckets: int = _BUCKETS, recent: int = _RECENT) -> None:
        while (self.steps[-1] - self.steps[0]) // self._width >= buckets:
            # What was thinned to narrower stretches is thinned again.
            self._width, self._thinned = self._width * 2, 0
        end = len(self.steps) - recent
        places = [place for bucket in self._buckets(self._thinned, end) for place in _extremes(self.values, bucket)]
        steps, values = [self.steps[place] for place in places], [self.values[place] for place in places]
        self.steps[self._thinned : end] = steps
        self.values[self._thinned : end] = values
        self._thinned += len(places)

    def _buckets(self, start: int, end: int) -> Iterator[range]:
        """Positions of the points in each stretch of `_width` steps."""
        while start < end:
            stretch_end = (self.steps[start] // self._width + 1) * self._width
            after = bisect_left(self.steps, stretch_end, start, end)
            yield range(start, after)
            start = after


def _extremes(values: list[float], bucket: range) -> list[int]:
    """Positions of the lowest and the highest value, in order; and of one gap, where there is one."""
    start, here = bucket.start, values[bucket.start : bucket.stop]
    known = here
    chosen: set[int] = set()
    if any(map(isnan, here)):
        chosen.add(next(place for place, value in enumerate(here) if isnan(value)))
        known = [value for value in here if not isnan(value)]
    if known:
        chosen |= {here.index(min(known)), here.index(max(known))}
    return [start + place for place in sorted(chosen)]
