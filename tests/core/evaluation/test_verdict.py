from __future__ import annotations

import json
import math

import pytest

from ft_core.evaluation.verdict import Answer, Verdict, judge, score

REFERENCE = json.dumps({"answer": "Paris", "topic": "capitals"})


def answers(texts: list[str], reference: str = REFERENCE, fact: str | None = "Paris") -> list[Answer]:
    return [Answer(f"question {number}", reference, fact, text) for number, text in enumerate(texts)]


def plain(right: int, wrong: int) -> list[Answer]:
    """Answers in words, some with the right fact."""
    return answers(["It is Paris."] * right + ["It is Rome."] * wrong)


def test_each_measure_is_a_share_of_the_answers() -> None:
    texts = [REFERENCE, '{"answer": "Rome", "topic": "x"}', '{"answer": "Paris"}', "Paris"]
    assert score(answers(texts)) == {"valid_json": 0.5, "right_fact": 0.75, "exact": 0.25}


def test_json_is_only_measured_when_every_reference_is_json() -> None:
    mixed = [*answers([REFERENCE]), *answers(["Paris"], reference="Paris")]
    assert set(score(mixed)) == {"right_fact", "exact"}


def test_facts_are_only_measured_over_the_rows_that_carry_one() -> None:
    some = [*answers(["Paris"]), *answers(["Rome"], fact=None), *answers(["Rome"], fact="")]
    assert score(some)["right_fact"] == 1.0
    assert "right_fact" not in score(answers(["Paris"], fact=None))


def test_no_answers_have_no_score() -> None:
    assert score([]) == {}


def test_a_model_that_learnt_the_form_and_kept_the_facts_is_better() -> None:
    verdict = judge(plain(100, 0), answers([REFERENCE] * 98 + ['{"answer": "Rome", "topic": "x"}'] * 2), 3.21, 0.12)
    assert verdict.better is True
    assert verdict.base == {"valid_json": 0.0, "right_fact": 1.0, "exact": 0.0, "held_out_loss": 3.21}
    assert verdict.tuned == {"valid_json": 1.0, "right_fact": 0.98, "exact": 0.98, "held_out_loss": 0.12}
    assert verdict.rows == 100
    assert verdict.words.startswith("Better than the base: valid JSON rose from 0 % to 100 %; ")
    assert "right facts hardly changed, from 100 % to 98 %" in verdict.words
    assert "held-out loss fell from 3.21 to 0.12" in verdict.words
    assert verdict.words.endswith("100 held-out rows answered.")


def test_a_model_that_lost_the_facts_and_gained_nothing_is_worse() -> None:
    verdict = judge(plain(50, 0), plain(20, 30), 1.0, 1.0)
    assert verdict.better is False
    assert verdict.words.startswith("Worse than the base")
    assert "right facts fell from 100 % to 40 %" in verdict.words
    assert verdict.changes == {"valid_json": 0, "right_fact": -1, "exact": 0, "held_out_loss": 0}


def test_gains_bought_with_losses_are_mixed() -> None:
    verdict = judge(plain(50, 0), answers(['{"answer": "Rome", "topic": "x"}'] * 50), 2.0, 1.0)
    assert verdict.better is None
    assert verdict.words.startswith("Mixed")


def test_a_difference_chance_would_bring_is_not_called_one() -> None:
    verdict = judge(plain(50, 2), plain(52, 0), 1.0, 1.001)
    assert verdict.better is None
    assert verdict.words.startswith("No clear change")


@pytest.mark.parametrize(
    ("before", "after", "better"),
    [(2.0, 1.0, True), (1.0, 2.0, False), (1.0, 0.995, None), (2.0, math.nan, False), (math.nan, 1.0, None)],
)
def test_without_answers_the_held_out_loss_decides(before: float, after: float, better: bool | None) -> None:
    verdict = judge([], [], before, after)
    assert verdict.better is better
    assert verdict.rows == 0
    assert "held-out loss" in verdict.words


@pytest.mark.parametrize(("before", "after"), [(None, 1.0), (1.0, None)])
def test_a_loss_measured_once_is_told_but_not_compared(before: float | None, after: float | None) -> None:
    verdict = judge([], [], before, after)
    assert verdict.better is None
    assert [*verdict.base.values(), *verdict.tuned.values()] == [1.0]


def test_nothing_to_compare_is_said_so() -> None:
    assert judge([], [], None, None) == Verdict(
        {}, {}, 0, None, "Not compared: there were no held-out rows to answer and no held-out loss.", {}
    )


def test_a_share_that_is_nearly_all_is_not_rounded_to_all() -> None:
    words = judge(plain(200, 0), plain(199, 1), None, None).words
    assert "from 100 % to 99.5 %" in words


def test_answers_to_different_rows_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same rows"):
        judge(plain(2, 0), plain(3, 0), None, None)
    with pytest.raises(ValueError, match="same rows"):
        judge(answers(["a"]), answers(["a"], fact="Rome"), None, None)
