from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_core.runs.view.curves import Series


def test_a_point_replaces_those_at_its_step_and_later() -> None:
    series = Series()
    for step in (1, 2, 3, 4):
        series.add(step, float(step))
    series.add(3, 30.0)
    assert (series.steps, series.values) == ([1, 2, 3], [1.0, 2.0, 30.0])


@given(st.lists(st.tuples(st.integers(0, 30), st.floats())))
def test_steps_only_rise_whatever_comes(points: list[tuple[int, float]]) -> None:
    series = Series()
    for step, value in points:
        series.add(step, value)
    assert series.steps == sorted(set(series.steps))
    assert len(series.steps) == len(series.values)
    if points:
        assert series.steps[-1] == points[-1][0]


def test_a_short_curve_keeps_every_point() -> None:
    series = Series()
    for step in range(20_000):
        series.add(step, float(step))
    assert series.steps == list(range(20_000))


def test_a_long_curve_is_bounded_and_keeps_every_spike_and_gap_and_the_newest_points() -> None:
    series = Series()
    spikes = {1234: 99.0, 50_001: -99.0, 123_456: 50.0}
    for step in range(200_000):
        series.add(step, math.nan if step == 77_777 else spikes.get(step, 1.0 + step % 3 / 10))
    assert len(series.steps) <= 20_000
    assert series.steps[-4000:] == list(range(196_000, 200_000))
    kept = dict(zip(series.steps, series.values, strict=True))
    assert {step: kept.get(step) for step in spikes} == spikes
    assert math.isnan(kept[77_777])
    assert series.steps == sorted(set(series.steps))
    early, late = (sum(first <= step < first + 20_000 for step in series.steps) for first in (0, 160_000))
    assert early == pytest.approx(late, rel=0.05), "early and late history must be equally fine"
    assert early > 500


def test_a_thinned_curve_can_go_back_and_grow_again() -> None:
    series = Series()
    for step in range(60_000):
        series.add(step, 1.0)
    series.cut(1_000)
    for step in range(1_000, 60_000):
        series.add(step, 2.0)
    assert len(series.steps) <= 20_000
    assert series.steps == sorted(set(series.steps))
    assert {value for step, value in zip(series.steps, series.values, strict=True) if step >= 1_000} == {2.0}
