"""Charts: what is drawn for which points."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from finetune_tui.widgets.axis import linear_scale, log_scale, number_text, tick_text
from finetune_tui.widgets.cells import Line, line_width
from finetune_tui.widgets.chart import Axes, Curve, render
from finetune_tui.widgets.thinning import smooth, thin

BRAILLE = {chr(code) for code in range(0x2801, 0x2900)}


def text(lines: list[Line]) -> list[str]:
    return ["".join(part for part, _ in line) for line in lines]


def dotted(rows: list[str]) -> set[int]:
    """Columns of the screen that hold dots."""
    return {x for row in rows for x, character in enumerate(row) if character in BRAILLE}


def falling(count: int) -> tuple[list[int], list[float]]:
    steps = list(range(1, count + 1))
    return steps, [3 * math.exp(-4 * step / count) + 0.5 for step in steps]


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=60),
    x_end=st.integers(0, 10_000),
    width=st.integers(1, 90),
    height=st.integers(1, 20),
    plain=st.booleans(),
)
@example(values=[-500000001.0], x_end=0, width=12, height=1, plain=False)
def test_every_picture_has_exactly_its_size(
    values: list[float], x_end: int, width: int, height: int, plain: bool
) -> None:
    steps = [step * 7 for step in range(len(values))]
    curves = [Curve("raw", steps, values, "faint"), Curve("smooth", steps, values, span=5.0)]
    lines = render(curves, Axes(x_end), width, height, plain=plain)
    assert all(line_width(line) == width for line in lines)
    assert len(lines) == height


def test_a_curve_grows_into_its_axis_and_leaves_the_rest_of_the_picture_as_it_was() -> None:
    steps, values = falling(400)
    before = text(render([Curve("loss", steps[:200], values[:200])], Axes(400, low=0.0, high=4.0), 80, 12))
    after = text(render([Curve("loss", steps[:201], values[:201])], Axes(400, low=0.0, high=4.0), 80, 12))
    changed = {x for old, new in zip(before[1:], after[1:], strict=True) for x in range(80) if old[x] != new[x]}
    assert len(changed) <= 2
    assert all(38 <= x <= 46 for x in changed)


def test_the_axis_ends_at_the_total_steps_and_names_them() -> None:
    rows = text(render([Curve("loss", [1, 2], [2.0, 1.0])], Axes(60), 60, 8))
    assert rows[-1].endswith("60 steps")
    assert "0" in rows[-1]
    assert max(dotted(rows[1:-1])) < 12


def test_a_spike_of_one_step_among_thousands_is_seen() -> None:
    steps = list(range(1, 20_001))
    values = [1.0] * 20_000
    values[12_345] = 9.0
    rows = text(render([Curve("loss", steps, values)], Axes(20_000, log=False), 80, 12))
    assert dotted(rows[1:3])


def test_a_nan_is_a_gap_with_a_mark_and_the_legend_says_so() -> None:
    steps = list(range(1, 41))
    values = [1.0] * 40
    whole = text(render([Curve("loss", steps, values)], Axes(40), 60, 8))
    for step in range(15, 25):
        values[step] = math.nan
    rows = text(render([Curve("loss", steps, values)], Axes(40), 60, 8))
    assert len(dotted(whole[1:]) - dotted(rows[1:])) >= 10
    assert "✗" in "".join(rows)
    values[-1] = math.nan
    assert "NaN" in text(render([Curve("loss", steps, values)], Axes(40), 60, 8))[0]


def test_held_out_points_are_marks_and_no_line() -> None:
    rows = text(render([Curve("held-out", [0, 30, 60], [3.0, 2.0, 1.0], mark="◆")], Axes(60), 60, 10))
    assert "".join(rows[1:]).count("◆") == 3
    assert not dotted(rows[1:])


def test_lines_that_share_a_cell_are_both_seen_and_their_end_marks_stand_beside_each_other() -> None:
    steps = list(range(20))
    curves = [
        Curve("GPU 0", steps, [17.0] * 20, "series-1", end="0"),
        Curve("GPU 1", steps, [19.0] * 20, "series-2", end="1"),
    ]
    axes = Axes(40, low=0, high=24.0, legend=False, bottom=False)
    alone = [set(row) & BRAILLE for row in text(render(curves[1:], axes, 60, 3))]
    both = [set(row) & BRAILLE for row in text(render(curves, axes, 60, 3))]
    assert alone != both
    assert any("01" in row or ("0" in row and "1" in row) for row in text(render(curves, axes, 60, 3)))


def test_few_points_far_apart_are_joined_without_a_hole() -> None:
    rows = text(render([Curve("loss", [0, 100], [1.0, 5.0])], Axes(100, legend=False), 60, 10))
    columns = dotted(rows)
    assert columns == set(range(min(columns), max(columns) + 1))
    assert len(columns) > 50


def test_ascii_pictures_hold_nothing_but_ascii_and_tell_curves_apart() -> None:
    steps, values = falling(60)
    curves = [Curve("train", steps, values, "faint"), Curve("smoothed", steps, values, span=9.0, plain="*")]
    shown = "".join(text(render(curves, Axes(60), 70, 12, plain=True)))
    assert shown.isascii()
    assert "*" in shown


def test_a_curve_that_leaps_far_above_its_start_gets_a_logarithmic_axis() -> None:
    values = [1.0] * 50 + [1000.0]
    rows = text(render([Curve("norm", list(range(51)), values)], Axes(51), 60, 12))
    labels = [row.split("┤")[0].strip() for row in rows if "┤" in row]
    assert {"1", "1000"} <= set(labels)
    falling_rows = text(render([Curve("loss", list(range(51)), values[::-1])], Axes(51), 60, 12))
    assert "400┤" in "".join(falling_rows)


def test_without_points_the_chart_says_so() -> None:
    assert "no steps yet" in "".join(text(render([Curve("loss", [], [])], Axes(60), 40, 8)))


def test_the_moving_average_of_a_constant_is_that_constant_from_its_first_point() -> None:
    columns = smooth(thin(range(100), [2.5] * 100, 100, 200), 10.0)
    assert [column.mean for column in columns] == pytest.approx([2.5] * len(columns))


def test_the_moving_average_does_not_depend_on_how_points_share_columns() -> None:
    values = [math.sin(step / 300) for step in range(3000)]
    fine = smooth(thin(range(3000), values, 3000, 3001), 200.0)[-1].mean
    coarse = smooth(thin(range(3000), values, 3000, 300), 200.0)[-1].mean
    assert coarse == pytest.approx(fine, abs=0.02)


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(st.integers(0, 100_000), min_size=1, max_size=400, unique=True).map(sorted),
    extra=st.integers(0, 5000),
    pixels=st.integers(1, 300),
)
def test_every_point_falls_into_exactly_one_column_and_columns_only_rise(
    steps: list[int], extra: int, pixels: int
) -> None:
    columns = thin(steps, [float(step) for step in steps], steps[-1] + extra, pixels)
    places = [column.x for column in columns]
    assert sum(column.count for column in columns) == len(steps)
    assert places == sorted(set(places))
    assert 0 <= places[0] <= places[-1] < pixels


@given(low=st.floats(-1e6, 1e6), size=st.floats(0, 1e6), parts=st.integers(1, 12))
@example(low=0.0, size=5e-324, parts=2)
@example(low=1e-210, size=1e-211, parts=1)
def test_a_round_axis_holds_its_data(low: float, size: float, parts: int) -> None:
    scale = linear_scale(low, low + size, parts)
    room = scale.high - scale.low
    assert scale.low <= low + 1e-6 * room
    assert scale.high >= low + size - 1e-6 * room
    assert len(scale.ticks) >= 2


def test_powers_of_ten_lie_evenly_on_a_logarithmic_axis() -> None:
    scale = log_scale(0.002, 700, 10)
    shares = [scale.share(tick) for tick in scale.ticks]
    gaps = [later - sooner for sooner, later in itertools.pairwise(shares)]
    assert gaps == pytest.approx([gaps[0]] * len(gaps))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.532, "0.532"), (12.44, "12.4"), (0.000345, "3.45e-4"), (2e-4, "2e-4"), (0, "0"), (math.nan, "NaN"),
     (1234.5, "1234"), (250_000, "2.5e5")],
)  # fmt: skip
def test_figures_have_three_digits(value: float, shown: str) -> None:
    assert number_text(value) == shown


def test_ticks_have_no_needless_zeros() -> None:
    assert [tick_text(value) for value in (0.5, 2.0, 0.001, 1e-4, 0.0)] == ["0.5", "2", "0.001", "1e-4", "0"]


def test_the_noise_of_a_nearly_flat_curve_is_not_drawn_as_rise_and_fall() -> None:
    steps = list(range(1, 201))
    noise = [2.5 + 0.01 * math.sin(step * 1.7) for step in steps]
    rows = text(render([Curve("loss", steps, noise)], Axes(200), 80, 14))[1:-1]
    drawn = [row for row in rows if dotted([row])]
    assert len(drawn) <= 3, "the curve takes a small part of the height"
    falling = [2.5 - 0.3 * step / 200 for step in steps]
    rows = text(render([Curve("loss", steps, falling)], Axes(200), 80, 14))[1:-1]
    assert len([row for row in rows if dotted([row])]) >= 10, "a real fall takes the whole of it"
