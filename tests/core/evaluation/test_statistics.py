from __future__ import annotations

import random
from itertools import product
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_core.evaluation.statistics import (
    LEVEL,
    Test,
    chance_of_change,
    holm,
    least_chance,
    macro_f1_test,
    paired_change,
    smallest_gain,
    wilson,
)


@pytest.mark.parametrize(
    ("gained", "lost", "chance"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (6, 0, 0.03125), (8, 1, 2 * 10 / 512), (4, 4, 1.0)],
)
def test_the_chance_of_a_change_is_that_of_a_fair_coin(gained: int, lost: int, chance: float) -> None:
    assert chance_of_change(gained, lost) == pytest.approx(chance)
    assert chance_of_change(lost, gained) == pytest.approx(chance)


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_chance_is_a_chance(gained: int, lost: int) -> None:
    assert 0 <= chance_of_change(gained, lost) <= 1
    assert comb(gained + lost, lost) >= 1


@pytest.mark.parametrize(
    ("passed", "rows", "low", "high"),
    [(95, 100, 0.888, 0.978), (0, 20, 0.0, 0.161), (20, 20, 0.839, 1.0), (1, 2, 0.095, 0.905)],
)
def test_the_interval_of_a_share_is_wilsons(passed: int, rows: int, low: float, high: float) -> None:
    assert wilson(passed, rows) == pytest.approx((low, high), abs=5e-4)


def by_hand(differences: list[float]) -> float:
    """The share of all ways to flip signs whose sum is as far from 0 on either side, twice the smaller side."""
    seen = sum(differences)
    sums = [
        sum(sign * one for sign, one in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=len(differences))
    ]
    sides = (sum(one >= seen - 1e-9 for one in sums), sum(one <= seen + 1e-9 for one in sums))
    return min(1.0, 2 * min(sides) / len(sums))


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=9))
def test_the_test_of_a_paired_change_counts_every_way_to_flip_the_signs(differences: list[int]) -> None:
    found = paired_change([float(one) for one in differences])
    assert found.test.p == pytest.approx(by_hand([float(one) for one in differences]))
    assert found.test.least <= found.test.p


@pytest.mark.parametrize("rows", [6, 9, 14, 15, 60])
def test_the_interval_of_a_change_leaves_out_what_the_test_refuses(rows: int) -> None:
    chance = random.Random(rows)
    weights = [chance.uniform(1, 9) for _ in range(rows)]
    differences = [weight * chance.gauss(0.4, 1) for weight in weights]
    found = paired_change(differences, weights)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.change <= found.high
    for shift, clear in ((found.low - 1e-6, True), (found.low + 1e-6, False), (found.high + 1e-6, True)):
        moved = [one - shift * weight for one, weight in zip(differences, weights, strict=True)]
        assert (paired_change(moved, weights).test.p <= 0.05) is clear, shift


def test_under_six_rows_a_change_has_no_interval_and_no_clear_test() -> None:
    found = paired_change([-1.0, -2.0, -1.5, -1.1, -3.0])
    assert (found.low, found.high) == (None, None)
    assert found.test.p == 0.0625
    assert paired_change([-1.0] * 6).test.p == 0.03125


def test_equal_rows_are_no_change() -> None:
    found = paired_change([0.0] * 20)
    assert (found.change, found.low, found.high, found.test.p) == (0.0, 0.0, 0.0, 1.0)


def test_the_same_rows_always_give_the_same_figures() -> None:
    differences = [random.Random(1).gauss(0.1, 1) for _ in range(40)]
    assert paired_change(differences) == paired_change(differences)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    chance, hits, tries = random.Random(5), 0, 300
    for _ in range(tries):
        found = paired_change([chance.gauss(0.5, 1) for _ in range(10)])
        hits += found.low is not None and found.high is not None and found.low <= 0.5 <= found.high
    # Three standard errors of a share of 95 % over so many tries are 3.8 points.
    assert 0.912 <= hits / tries <= 0.988


def test_macro_f1_is_tested_by_swapping_the_answers_within_rows() -> None:
    truths = [0, 1] * 20
    assert macro_f1_test(truths, [0] * 40, truths, 2).p < 0.001
    assert macro_f1_test(truths, truths, truths, 2) == Test(1.0, 1.0)
    assert macro_f1_test(truths, truths, [1, *truths[1:]], 2).p == 1.0, "one row that differs shows nothing"
    assert macro_f1_test([0, 1, 0, 1, 0, 1], [-1] * 6, [0, 1, 0, 1, 0, 1], 2).p == 2 / 64


def test_several_tests_are_corrected_and_those_that_could_not_come_out_are_not_counted() -> None:
    tests = {"a": Test(0.01, 0.001), "b": Test(0.03, 0.001), "c": Test(1.0, 1.0), "d": Test(0.5, 0.0625)}
    assert holm(tests) == pytest.approx({"a": 0.02, "b": 0.03, "c": 1.0, "d": 1.0})
    assert holm({"a": Test(0.04, 0.01), "b": Test(0.03, 0.01)}) == pytest.approx({"a": 0.06, "b": 0.06})


def test_the_smallest_gain_that_shows_needs_six_rows_that_all_change_one_way() -> None:
    assert [smallest_gain(rows, 0) for rows in (5, 6, 27)] == [None, 6, 6]
    assert smallest_gain(100, 3) == next(gain - 3 for gain in range(3, 100) if chance_of_change(gain, 3) <= LEVEL)
    assert least_chance(6) == 2 / 64
    assert least_chance(5000) > 0
