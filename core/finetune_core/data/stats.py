"""Figures over row lengths, as plain functions."""

from __future__ import annotations

import math
from collections.abc import Sequence


def histogram(counts: Sequence[int], bins: int) -> list[tuple[int, int, int]]:
    """Rows by length: at most `bins` (low, high, rows), low and high included, all of one width but the last.

    Empty bins are given too. No counts give no bins.
    """
    if not counts or bins < 1:
        return []
    low, high = min(counts), max(counts)
    width = -(-(high - low + 1) // bins)
    filled = [0] * (-(-(high - low + 1) // width))
    for count in counts:
        filled[(count - low) // width] += 1
    return [(low + i * width, min(low + (i + 1) * width - 1, high), rows) for i, rows in enumerate(filled)]


def percentiles(counts: Sequence[int], shares: Sequence[float]) -> tuple[int, ...]:
    """For each share (0 to 1) the smallest length that at least this share of the rows does not exceed.

    The nearest-rank definition; () when there are no counts. ValueError for a share outside 0 to 1.
    """
    if any(not 0 <= share <= 1 for share in shares):
        raise ValueError("shares lie between 0 and 1")
    ordered = sorted(counts)
    if not ordered:
        return ()
    return tuple(ordered[max(math.ceil(share * len(ordered)), 1) - 1] for share in shares)
