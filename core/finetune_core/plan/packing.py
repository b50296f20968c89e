"""How many sequences rows fill when they are packed, counted as the trainer will pack them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from finetune_core.plan.situation import RowTokens

# Rows are packed among so many neighbours at a time: the batch in which `datasets` maps them.
PACKED_TOGETHER: Final = 1000


@lru_cache(maxsize=16)
def packed_sequences(rows: RowTokens, most: int) -> int:
    """Sequences of at most `most` tokens that the rows fill, cut there: as `trl.pack_dataset` makes them."""
    lengths = rows.kept(most)
    blocks = range(0, len(lengths), PACKED_TOGETHER)
    return sum(best_fit_decreasing(lengths[start : start + PACKED_TOGETHER], most) for start in blocks)


def best_fit_decreasing(lengths: Sequence[int], room: int) -> int:
    """How many bins of `room` the lengths take: the longest first, each into the fullest bin it fits in (Johnson 1973).

    No length is larger than `room`. Only the number of bins is asked for, and which of equally full ones takes a
    length changes nothing about it.
    """
    bins = 0
    left: list[int] = []  # distinct free spaces, in order
    with_space: Counter[int] = Counter()
    for length in sorted(lengths, reverse=True):
        place = bisect_left(left, length)
        if place == len(left):
            bins += 1
            space = room
        else:
            space = left[place]
            with_space[space] -= 1
            if not with_space[space]:
                del left[place]
        space -= length
        if space:
            if not with_space[space]:
                insort(left, space)
            with_space[space] += 1
    return bins
