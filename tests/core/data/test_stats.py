from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_core.data.stats import histogram, percentiles


@given(st.lists(st.integers(0, 10_000), max_size=50), st.integers(1, 30))
def test_every_row_is_in_exactly_one_bin_and_bins_do_not_overlap(counts: list[int], bins: int) -> None:
    found = histogram(counts, bins)
    assert sum(rows for _, _, rows in found) == len(counts)
    assert len(found) <= bins
    for low, high, rows in found:
        assert rows == sum(low <= count <= high for count in counts)
    assert all(before[1] + 1 == after[0] for before, after in pairwise(found))


def test_bins_have_one_width_and_reach_from_the_shortest_to_the_longest() -> None:
    assert histogram([1, 2, 3, 4, 10], 5) == [(1, 2, 2), (3, 4, 2), (5, 6, 0), (7, 8, 0), (9, 10, 1)]
    assert histogram([], 5) == []


def test_percentiles_are_by_nearest_rank() -> None:
    assert percentiles([15, 20, 35, 40, 50], [0, 0.05, 0.3, 0.4, 0.5, 1]) == (15, 15, 20, 20, 35, 50)
    assert percentiles([], [0.5]) == ()
    with pytest.raises(ValueError, match="between 0 and 1"):
        percentiles([1], [1.5])
