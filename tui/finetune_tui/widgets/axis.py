"""Numbers on axes: round ranges, ticks that stay where they are, short labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_ROUND: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_SAME: Final = 1e-9
_LARGEST: Final = 1e300  # beyond it, axis arithmetic overflows
# Below this a span has too few bits for ticks.
_SMALLEST: Final = 1e-200

Format = Callable[[float], str]


def number_text(value: float) -> str:
    """A figure of three significant digits, at most seven characters: `0.532`, `12.4`, `1.24e-4`, `NaN`."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e5):
        return _powered(value)
    if size >= 1000:
        return f"{value:.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(size)))}f}" if size else "0"


def tick_text(value: float) -> str:
    """A tick's label without needless zeros: `0.5`, `2`, `1e-4`."""
    if value and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return _powered(value)
    return f"{value:.6g}"


def _powered(value: float) -> str:
    mantissa, power = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"


def round_step(span: float, parts: int) -> float:
    """The smallest round number (1, 2, 2.5 or 5 times a power of ten) of which at most `parts` fit into `span`."""
    if span <= 0 or not math.isfinite(span):
        return 1.0
    rough = span / max(parts, 1)
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next((size * power for size in _ROUND if size * power >= rough * (1 - _SAME)), 10 * power)


@dataclass(frozen=True)
class Scale:
    """A value axis from `low` to `high`; `log` axes take powers of ten apart evenly."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def share(self, value: float) -> float:
        """Where a value lies between low (0) and high (1); values outside are moved to the edge."""
        low, high = self._inner(self.low), self._inner(self.high)
        return max(0.0, min(1.0, (self._inner(value) - low) / (high - low))) if high > low else 0.0

    def _inner(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.log else value


def linear_scale(low: float, high: float, parts: int) -> Scale:
    """An axis with round ends around [low, high], so that it changes rarely while data grow."""
    low, high = max(low, -_LARGEST), min(high, _LARGEST)
    if high - low <= max(_SAME * max(abs(low), abs(high)), _SMALLEST):
        pad = abs(high) * 0.5 if abs(high) > _SMALLEST else 1.0
        low, high = (0.0, high + pad) if low >= 0 else (low - pad, high + pad)
    step = round_step(high - low, parts)
    fine = round_step(step / 4, 1)
    bottom, top = math.floor(low / fine + _SAME) * fine, math.ceil(high / fine - _SAME) * fine
    first, last = math.ceil(bottom / step - _SAME), math.floor(top / step + _SAME)
    ticks = tuple(index * step for index in range(first, last + 1))
    return Scale(bottom, top, ticks if len(ticks) > 1 else (bottom, top))


def log_scale(low: float, high: float, parts: int) -> Scale:
    """A logarithmic axis over whole powers of ten around [low, high]; both must be above 0."""
    first, last = math.floor(math.log10(low) + _SAME), math.ceil(math.log10(high) - _SAME)
    last = max(last, first + 1)
    stride = max(1, math.ceil((last - first) / max(parts, 1)))
    ticks = tuple(10.0**power for power in range(first, last + 1, stride))
    return Scale(10.0**first, 10.0**last, ticks, log=True)
