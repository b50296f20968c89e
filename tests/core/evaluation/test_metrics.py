from __future__ import annotations

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ft_core.evaluation.metrics import chance_of_change, exact, json_like, right_fact, share, valid_json


@pytest.mark.parametrize("text", ['{"a": 1}', "[]", ' {"a": [1, 2]}\n', '{"a": "\\u00e9"}'])
def test_a_whole_object_or_array_is_valid_json(text: str) -> None:
    assert valid_json(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Paris",
        '"Paris"',
        "7",
        "null",
        "{'a': 1}",
        '{"a": 1,}',
        '{"a": 1} and more',
        'Here: {"a": 1}',
        '```json\n{"a": 1}\n```',
        '{"a": NaN}',
        "[" * 50_000,
        '{"a": 1}{"b": 2}',
        "[" + "9" * 5000 + "]",
    ],
)
def test_anything_else_is_not(text: str) -> None:
    assert not valid_json(text)


@given(st.text())
def test_no_text_breaks_a_measure(text: str) -> None:
    assert valid_json(text) in {True, False}
    assert right_fact(text, text) in {True, False}
    assert json_like(text, text) == valid_json(text)


@pytest.mark.parametrize(
    ("text", "reference", "same"),
    [
        ('{"answer": "x", "topic": 1}', '{"topic": "t", "answer": "a"}', True),
        ('{"answer": "x"}', '{"answer": "a", "topic": "t"}', False),
        ('{"answer": "x", "topic": 1, "more": 2}', '{"answer": "a", "topic": "t"}', False),
        ("[1]", '{"answer": "a"}', False),
        ("[1, 2]", "[]", True),
        ('{"a": 1}', "[]", False),
        ("words", '{"answer": "a"}', False),
    ],
)
def test_json_is_like_its_reference_when_it_has_the_same_keys(text: str, reference: str, same: bool) -> None:
    assert json_like(text, reference) is same


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("The capital is Paris.", "Paris"),
        ("the capital is PARIS", "paris"),
        ('{"answer": "Paris", "topic": "capitals"}', "Paris"),
        ('{"answer": "S\\u00e3o Tom\\u00e9"}', "São Tomé"),
        ("It is New\nYork", "New York"),
        ("São Tomé", "Sa\u0303o Tome\u0301"),
        ("\uff30\uff41\uff52\uff49\uff53", "Paris"),
        ("Its number is 7.", "7"),
        ("Its number is 7, I think", "7"),
        ('{"answer": 7}', "7"),
        ('[["deep", {"x": "Paris"}]]', "Paris"),
        ("it costs $5 (or so)", "$5"),
        ("C++ is meant", "C++"),
    ],
)
def test_a_fact_is_said_as_whole_words_in_any_case_and_form(text: str, fact: str) -> None:
    assert right_fact(text, fact)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("Parisian", "Paris"),
        ("Its number is 17", "7"),
        ("Its number is 7.5", "7"),
        ("Its number is 1.7", "7"),
        ("the 7th", "7"),
        ('{"Paris": "no"}', "Paris"),
        ("anything", ""),
        ("anything", "  "),
        ("", "Paris"),
        ("Rome", "Paris"),
    ],
)
def test_a_part_of_a_word_or_a_key_is_not_the_fact(text: str, fact: str) -> None:
    assert not right_fact(text, fact)


def test_an_exact_answer_may_differ_in_the_space_around_it_only() -> None:
    assert exact(" Paris.\n", "Paris.")
    assert not exact("paris.", "Paris.")


def test_a_share_is_between_none_and_all_and_nothing_has_none() -> None:
    assert share([True, False, False, True]) == 0.5
    with pytest.raises(ValueError, match="nothing"):
        share([])


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
