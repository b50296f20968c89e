from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_core.runs.view.run_view import RunView
from finetune_tui.widgets.cells import Line, fitted, line_width, spread, within
from finetune_tui.widgets.chart import Axes, Curve, render
from finetune_tui.widgets.event_list import event_lines
from finetune_tui.widgets.key_bar import KeyBar, ShownKey
from finetune_tui.widgets.run_header import header_lines
from tests.tui.made_runs import MadeRun, running

FIGURES = re.compile(r"\d[\d.,/]*")


def view_of(made: MadeRun) -> RunView:
    view = RunView(made.dir)
    view.poll()
    made.journal.close()
    return view


def text(line: Line) -> str:
    return "".join(part for part, _ in line)


def test_a_line_that_fits_is_only_padded() -> None:
    assert text(fitted((("step 36", ""), ("/60", "dim")), 12)) == "step 36/60  "


def test_a_cut_has_a_mark_and_a_name_keeps_what_fits_of_it() -> None:
    assert text(fitted((("the capital of Norway", ""),), 12)) == "the capital…"
    assert text(fitted((("20260531-101500-demo", ""),), 12)) == "20260531-10…"


def test_a_figure_is_left_out_rather_than_cut_also_over_two_spans() -> None:
    line: Line = (("epoch 1.80  step 36", "strong"), ("/60", "dim"), (" of all", ""))
    cuts = {text(within(line, width)) for width in range(1, 30)}
    assert "epoch 1.80  step …" in cuts
    for cut in cuts:
        assert set(FIGURES.findall(cut)) <= {"1.80", "36/60"}


@given(
    st.lists(st.sampled_from(["ab ", "12.5 GiB ", "\u4e2d\u6587 ", "3/4", "e\u0301"]), max_size=6), st.integers(0, 40)
)
def test_a_fitted_line_is_exactly_as_wide_as_asked_and_marked_where_it_was_cut(parts: list[str], width: int) -> None:
    line: Line = tuple((part, "") for part in parts)
    found = fitted(line, width)
    assert line_width(found) == width
    assert ("…" in text(found)) == (line_width(line) > width > 0)


def test_what_stands_at_the_right_edge_is_whole_and_the_left_part_gives_way() -> None:
    assert text(spread((("row 1234 of 5678", ""),), (("12 wait", ""),), 18)) == "row 1234…  12 wait"


def test_the_header_of_a_long_run_leaves_figures_out_and_cuts_none() -> None:
    made = MadeRun(total=1_234_567).prepare()
    made.train(1)
    made.step = 1_234_000
    made.train(3, seconds=90_000)
    view = view_of(made)
    whole = set(text(header_lines(view, 200, made.clock.now)[1]).split())
    for width in range(56, 140):
        line = header_lines(view, width, made.clock.now)[1]
        assert line_width(line) <= width
        shown = {word for word in text(line).split() if word[0].isdigit()}
        assert shown <= whole
        assert "1234003/1234567" in shown, text(line)


def test_the_header_tells_what_the_run_costs_so_far_and_in_all() -> None:
    made = MadeRun(total=20).prepare()
    made.write("plan", total_steps=20, price_per_hour=36.0)
    made.train(10, seconds=10)
    view = view_of(made)
    cost = view.cost(made.clock.now)
    assert cost is not None
    spent, whole = cost
    assert whole is not None
    assert spent == pytest.approx((view.worked_seconds(made.clock.now) or 0) / 100)
    assert whole > spent
    for width in (80, 120):
        assert f"cost {spent:.2f} of {whole:.2f}" in text(header_lines(view, width, made.clock.now)[1])
    assert "cost" not in text(header_lines(view, 56, made.clock.now)[1]), "what matters less gives way"
    view.price_per_hour = None
    assert "cost" not in text(header_lines(view, 120, made.clock.now)[1]), "without a price none is told"


def test_a_curve_that_does_not_fit_into_the_legend_is_left_out_whole() -> None:
    curves = [Curve(f"curve {name}", [1, 2], [0.5, 0.25]) for name in "abc"]
    legends = {text(render(curves, Axes(), width, 6)[0]).rstrip() for width in range(19, 70)}
    assert legends == {
        "━━ curve a 0.250 …",
        "━━ curve a 0.250   ━━ curve b 0.250",
        "━━ curve a 0.250   ━━ curve b 0.250 …",
        "━━ curve a 0.250   ━━ curve b 0.250   ━━ curve c 0.250",
    }


def test_a_long_event_is_wrapped_with_every_word_of_it() -> None:
    made = running()
    made.write("alarm", name="low_disk", text="Only 1234567 bytes are free where the run writes its checkpoints to.")
    lines = event_lines(view_of(made), 39)
    assert all(line_width(line) <= 39 for line in lines)
    told = " ".join(" ".join(text(line) for line in lines).split())
    assert "Only 1234567 bytes are free where the run writes its checkpoints to." in told


def test_an_event_of_a_later_version_is_shown_by_its_name_and_its_own_words() -> None:
    made = running()
    made.write("rollout", text="16 answers\x1b[2J were graded", grades=[0.5])
    made.write("weather", words={"not": "text"})
    made.write("eval", step=36, loss={"mean": 1.0}, seconds="many")
    lines = [text(line).strip() for line in event_lines(view_of(made), 80)][-3:]
    assert [line.split(" ", 1)[1] for line in lines[:2]] == ["rollout: 16 answers␛[2J were graded", "weather"]
    assert "\x1b" not in "".join(lines)


def test_what_was_asked_for_is_told_once_and_said_to_be_asked_for() -> None:
    made = running()
    made.checkpoint()
    made.write("control", id="1", request="checkpoint", ok=True, text="checkpoint of step 36 written")
    made.checkpoint()
    made.write("control", id="2", request="checkpoint", ok=False, text="the loss is not a number")
    made.write("control", id="3", request="pause", ok=True, text="paused after step 36")
    made.write("sample", step=36, path="samples/x.json", count=1, source="user")
    made.write("control", id="4", request="sample", ok=True, text="answered")
    lines = [text(line).strip() for line in event_lines(view_of(made), 80)][-5:]
    assert [line.split(" ", 1)[1] for line in lines] == [
        "▼ step 36: checkpoint, 1.24 MB, as asked",
        "▼ step 36: checkpoint, 1.24 MB",
        "✗ not done: the loss is not a number",
        "✓ paused after step 36",
        "≡ step 36: 1 answer, as asked",
    ]


def test_what_was_settled_from_the_rows_is_listed_by_name_with_the_steps_it_came_to() -> None:
    made = running()
    fields = {"data.max_length": 192, "training.learning_rate": 0.0002, "data.packing": "bfd", "training.epochs": None}
    made.write("settled", fields=fields, total_steps=48, sequences=9, rows=100)
    assert (
        text(event_lines(view_of(made), 120)[-1])
        .strip()
        .endswith("settled from the rows: max_length 192, learning_rate 2e-4, packing bfd: 48 steps")
    )


@pytest.mark.parametrize("width", range(1, 60))
async def test_the_bar_of_keys_never_cuts_a_word(width: int) -> None:
    bar = KeyBar()
    bar._shown = tuple(ShownKey(key, key, words, "") for key, words in (("a", "Alpha"), ("b", "Beta"), ("c", "Gamma")))
    shown = bar._joined(width).plain
    assert shown in {"", " a Alpha ", " a Alpha  b Beta ", " a Alpha  b Beta  c Gamma "}
    assert len(shown) <= width
