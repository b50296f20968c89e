from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pytest

from finetune_core.evaluation.faults import Answer
from finetune_core.evaluation.losses import RowLosses
from finetune_core.evaluation.verdict import Verdict, judge
from finetune_core.evaluation.words import words

REFERENCE = json.dumps({"answer": "Paris", "topic": "capitals"})
OTHER = json.dumps({"answer": "Rome", "topic": "x"})
LOOP = "lek. " * 20


def answers(texts: Sequence[str], reference: str = REFERENCE, fact: str | None = "Paris", **more: bool) -> list[Answer]:
    return [Answer(f"question {number}", reference, fact, text, **more) for number, text in enumerate(texts)]


def plain(right: int, wrong: int) -> list[Answer]:
    """Answers in words, some with the right fact."""
    return answers(["It is Paris."] * right + ["It is Rome."] * wrong)


def losses(rows: int, mean: float, *, raw: bool = False) -> RowLosses:
    """Rows of ten tokens (and forty bytes) that cost about `mean` nats a token."""
    nats = tuple(10 * mean + place % 7 / 100 for place in range(rows))
    return RowLosses(nats, (10,) * rows, (40,) * rows if raw else None)


def said(verdict: Verdict) -> tuple[str, bool | None, str]:
    return verdict.outcome, verdict.better, words(verdict)


def test_a_model_that_learnt_the_form_and_kept_the_facts_is_better() -> None:
    verdict = judge(plain(100, 0), answers([REFERENCE] * 98 + [OTHER] * 2), losses(100, 3.2), losses(100, 0.12))
    outcome, better, sentence = said(verdict)
    assert (outcome, better, verdict.rows) == ("better", True, 100)
    assert {one.name: (one.base, one.tuned, one.sign) for one in verdict.measures if one.decides} == {
        "valid_json": (0.0, 1.0, 1),
        "right_fact": (1.0, 0.98, 0),
        "exact": (0.0, 0.98, 1),
    }
    assert sentence.startswith("Better than the base: valid JSON rose from 0 % to 100 %; ")
    assert "right facts went from 100 % to 98 %, within chance" in sentence
    assert "held-out loss fell from 3.2 to 0.123" in sentence
    assert sentence.endswith("100 held-out rows answered.")


def test_every_share_has_its_interval_and_every_change_its_exact_test() -> None:
    verdict = judge(plain(100, 0), answers([REFERENCE] * 98 + [OTHER] * 2), losses(100, 3.2), losses(100, 0.12))
    facts = verdict.measure("right_fact")
    assert facts is not None
    assert facts.base_interval == pytest.approx((0.963, 1.0), abs=1e-3)
    assert facts.tuned_interval == pytest.approx((0.930, 0.994), abs=1e-3)
    assert facts.p == 0.5
    assert facts.p_corrected == 1.0, "two rows that change cannot reach the level, and are not counted"
    loss = verdict.measure("held_out_loss")
    assert loss is not None
    assert loss.change_interval == pytest.approx((-3.08, -3.08))
    assert loss.p is not None
    assert loss.p < 0.001


def test_answers_that_are_the_bases_own_are_never_better_however_the_loss_fell() -> None:
    outcome, better, sentence = said(judge(plain(15, 0), plain(15, 0), losses(15, 3.2), losses(15, 1.6)))
    assert (outcome, better) == ("not better", None)
    assert sentence.startswith("Not better than the base: 15 of 15 answers are the base's own; ")
    assert "held-out loss fell from 3.2 to 1.6" in sentence
    assert "a change of less than 40 points would not have shown" in sentence


def test_answers_that_go_round_in_circles_are_said_first_and_the_loss_afterwards() -> None:
    base = answers([f"x{number} y z" for number in range(15)])
    tuned = answers([LOOP] * 14 + ["Paris"])
    outcome, better, sentence = said(judge(base, tuned, losses(15, 9.7), losses(15, 5.3)))
    assert (outcome, better) == ("not usable", None)
    assert sentence == (
        "Not usable yet: 14 of 15 answers repeat themselves, none of the base's; "
        "held-out loss fell from 9.7 to 5.3, 15 held-out rows answered."
    )


@pytest.mark.parametrize(
    ("tuned", "words_said"),
    [
        (answers([""] * 15), "15 of 15 answers are empty"),
        (answers([f"Paris {number}" for number in range(15)], ended=False), "15 of 15 answers never stop"),
        (answers(["\ufffd\ufffd\ufffd ab"] * 15), "15 of 15 answers cannot be read"),
        (
            answers([LOOP] * 6 + [""] * 3 + ["Paris"] * 6),
            "6 of 15 answers repeat themselves, none of the base's; 3 of 15",
        ),
    ],
)
def test_a_model_most_of_whose_answers_nobody_could_use_is_not_usable(tuned: list[Answer], words_said: str) -> None:
    verdict = judge(plain(15, 0), tuned, None, None)
    assert verdict.outcome == "not usable"
    assert verdict.better is not True
    assert words(verdict).startswith(f"Not usable yet: {words_said}")


def test_an_unusable_model_that_lost_what_the_base_had_is_worse_for_programs() -> None:
    verdict = judge(plain(15, 0), answers([""] * 15), None, None)
    assert (verdict.outcome, verdict.better) == ("not usable", False)


def test_faults_that_are_few_are_said_behind_the_figures() -> None:
    tuned = answers([REFERENCE] * 97 + [LOOP] * 3)
    sentence = words(judge(plain(100, 0), tuned, None, None))
    assert sentence.startswith("Better than the base: valid JSON rose")
    assert "; 3 of 100 answers repeat themselves, none of the base's, 100 held-out" in sentence


def test_gibberish_that_says_nothing_of_its_rows_is_not_usable_though_it_does_not_repeat() -> None:
    from tests.core.evaluation.test_faults import gibberish, sentences

    rows = sentences(1, 20)
    both = [
        [Answer(str(place), row, None, text) for place, (row, text) in enumerate(zip(rows, texts, strict=True))]
        for texts in (gibberish(4, 20), gibberish(5, 20))
    ]
    verdict = judge(*both, losses(20, 9.7), losses(20, 5.3))
    assert verdict.outcome == "not usable"
    assert verdict.better is None
    assert "no nearer to their own rows' answers than to those of others" in words(verdict)


def test_a_model_that_lost_the_facts_and_gained_nothing_is_worse() -> None:
    verdict = judge(plain(50, 0), plain(20, 30), 1.0, 1.0)
    outcome, better, sentence = said(verdict)
    assert (outcome, better) == ("worse", False)
    assert sentence.startswith("Worse than the base")
    assert "right facts fell from 100 % to 40 %" in sentence


def test_gains_bought_with_losses_are_not_better() -> None:
    verdict = judge(plain(50, 0), answers([OTHER] * 50), 2.0, 1.0)
    assert (verdict.outcome, verdict.better) == ("not better", None)
    assert "some measures rose and others fell" in words(verdict)


def test_a_gain_in_one_measure_is_taken_back_by_answers_that_broke() -> None:
    tuned = answers([REFERENCE] * 60 + [LOOP + "Paris"] * 40)
    verdict = judge(plain(100, 0), tuned, None, None)
    assert (verdict.outcome, verdict.better) == ("not better", None)
    assert "more answers than before are empty, endless, unreadable or repeat themselves" in words(verdict)


def test_a_difference_chance_would_bring_is_not_called_one_and_what_would_not_have_shown_is_said() -> None:
    sentence = words(judge(plain(25, 2), plain(27, 0), 1.0, 1.001))
    assert sentence.startswith("Not better than the base: ")
    assert "right facts went from 92.6 % to 100 %, within chance" in sentence
    assert "a change of less than 22 points would not have shown" in sentence


def test_a_loss_alone_makes_no_better_of_rows_with_answers() -> None:
    verdict = judge([], [], losses(50, 3.0), losses(50, 1.0))
    outcome, better, sentence = said(verdict)
    assert (outcome, better) == ("too few rows to tell", None)
    assert "no held-out row was answered, and a loss alone shows no better answers" in sentence


@pytest.mark.parametrize("rows", range(1, 6))
def test_under_six_rows_nothing_is_told_but_that_they_are_too_few(rows: int) -> None:
    both = (plain(0, rows), answers([REFERENCE] * rows))
    for verdict in (judge(*both, losses(rows, 3.0), losses(rows, 1.0)), judge([], [], *raw(rows, 3.0, 1.0))):
        outcome, better, sentence = said(verdict)
        assert (outcome, better) == ("too few rows to tell", None)
        assert sentence.startswith(f"Too few rows to tell: {rows} held-out ")
        assert "no change can be distinguished from chance under 6 of them" in sentence


def test_answers_that_are_the_bases_own_are_said_of_few_rows_too() -> None:
    sentence = words(judge(plain(5, 0), plain(5, 0), losses(5, 3.0), losses(5, 1.0)))
    assert "under 6 of them; 5 of 5 answers are the base's own; " in sentence


def test_a_single_row_is_spoken_of_as_one() -> None:
    assert words(judge(plain(1, 0), plain(1, 0), None, None)).startswith(
        "Too few rows to tell: 1 held-out row was answered, and no change can be distinguished from chance under 6 of "
        "them; 1 of 1 answer is the base's own; "
    )
    assert words(judge(plain(1, 0), answers([""]), None, None)).startswith("Not usable yet: 1 of 1 answer is empty, ")


def test_three_measures_need_eight_rows() -> None:
    both = (plain(0, 7), answers([REFERENCE] * 7))
    assert "under 8 of them" in words(judge(*both, None, None))
    assert judge(plain(0, 8), answers([REFERENCE] * 8), None, None).outcome == "better"


def raw(rows: int, before: float, after: float) -> tuple[RowLosses, RowLosses]:
    return losses(rows, before, raw=True), losses(rows, after, raw=True)


def test_raw_text_is_judged_by_bits_per_byte_and_that_is_called_a_loss() -> None:
    outcome, better, sentence = said(judge([], [], *raw(20, 3.0, 2.5)))
    assert (outcome, better) == ("better", True)
    assert sentence.startswith("Better than the base by its loss alone: bits per byte fell from 1.08 to 0.903 (95 % ")
    assert sentence.endswith(", 20 held-out texts measured.")


@pytest.mark.parametrize(
    ("before", "after", "outcome", "better"),
    [
        (2.5, 3.0, "worse", False),
        (3.0, 2.99, "not better", None),
        (3.0, 3.0, "not better", None),
        (2.0, math.nan, "worse", False),
        (math.nan, 1.0, "not better", None),
    ],
)
def test_raw_text_is_better_only_where_its_loss_fell_by_one_per_cent(
    before: float, after: float, outcome: str, better: bool | None
) -> None:
    verdict = judge([], [], *raw(20, before, after))
    assert (verdict.outcome, verdict.better) == (outcome, better)
    assert "bits per byte" in words(verdict)


def test_short_labels_are_judged_by_accuracy_and_macro_f1() -> None:
    labels = ["yes", "no", "maybe"] * 20
    base = [Answer(str(place), label, None, "Yes!") for place, label in enumerate(labels)]
    tuned = [Answer(str(place), label, None, label) for place, label in enumerate(labels)]
    verdict = judge(base, tuned, None, None)
    assert verdict.outcome == "better"
    assert {one.name: round(one.base, 3) for one in verdict.measures if one.decides} == {
        "accuracy": 0.333,
        "macro_f1": 0.167,
    }
    assert "macro F1 rose from 16.7 % to 100 %" in words(verdict)


@pytest.mark.parametrize(
    "script", ["東京は日本の首都で", "Москва является столицей ", "باريس هي عاصمة ", "पेरिस राजधानी है "]
)
def test_free_text_of_any_script_is_judged_by_its_likeness_to_the_rows_own(script: str) -> None:
    base = [Answer(str(place), f"{script}{place * 37}", None, "I do not know.") for place in range(20)]
    tuned = [Answer(str(place), f"{script}{place * 37}", None, f"{script}{place}") for place in range(20)]
    verdict = judge(base, tuned, None, None)
    likeness = verdict.measure("chrf")
    assert likeness is not None
    assert likeness.decides
    assert likeness.sign == 1
    assert likeness.change_interval is not None
    assert verdict.outcome == "better"


def test_a_loss_known_only_as_its_mean_is_told_without_an_interval() -> None:
    sentence = words(judge(plain(20, 0), plain(20, 0), 2.0, 1.0))
    assert "held-out loss went from 2 to 1 (without an interval)" in sentence


@pytest.mark.parametrize(("before", "after"), [(None, 1.0), (1.0, None), (None, None)])
def test_a_loss_measured_once_is_not_compared(before: float | None, after: float | None) -> None:
    verdict = judge([], [], before, after)
    assert said(verdict) == (
        "too few rows to tell",
        None,
        "Too few rows to tell: there were no held-out rows to answer and no held-out loss.",
    )


def test_a_share_that_is_nearly_all_is_not_rounded_to_all() -> None:
    assert "from 100 % to 99.5 %" in words(judge(plain(200, 0), plain(199, 1), None, None))


def test_answers_to_different_rows_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same rows"):
        judge(plain(2, 0), plain(3, 0), None, None)
    with pytest.raises(ValueError, match="same rows"):
        judge(answers(["a"]), answers(["a"], fact="Rome"), None, None)
