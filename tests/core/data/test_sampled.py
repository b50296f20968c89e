from __future__ import annotations

import pytest

from finetune_core.data.scan.permutation import SampledOrder


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 16, 17, 100, 1000])
def test_every_row_comes_once_and_the_order_is_not_that_of_the_file(rows: int) -> None:
    order = SampledOrder(rows, seed=3)
    found = [order.row(place) for place in range(rows)]
    assert sorted(found) == list(range(1, rows + 1))
    assert rows < 16 or found != sorted(found)
    assert order.row(rows) == order.row(0)
    assert order.row(-1) == order.row(rows - 1)


def test_the_order_depends_on_the_seed_alone() -> None:
    orders = [[SampledOrder(1000, seed).row(place) for place in range(50)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_neighbours_in_the_order_come_from_all_over_a_huge_file() -> None:
    order = SampledOrder(10**9, seed=0)
    tenths = {order.row(place) * 10 // 10**9 for place in range(100)}
    assert len(tenths) >= 9
