from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_core.evaluation.metrics import exact, json_like, label, labels_of, parse_json, right_fact


@pytest.mark.parametrize("text", ['{"a": 1}', "[]", ' {"a": [1, 2]}\n', '{"a": "\\u00e9"}'])
def test_a_whole_object_or_array_is_valid_json(text: str) -> None:
    assert parse_json(text) is not None


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
    assert parse_json(text) is None


@given(st.text())
def test_no_text_breaks_a_measure(text: str) -> None:
    assert right_fact(text, text) in {True, False}
    assert json_like(text, text) == (parse_json(text) is not None)


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


def test_few_short_references_are_labels_whatever_their_case_and_punctuation() -> None:
    assert labels_of(["Positive", "negative.", "positive", "NEGATIVE", "positive", "negative"]) == (
        "negative", "positive",
    )  # fmt: skip
    assert label(' "Positive."\n') == label("positive")
    assert label("ﬁne") == label("fine")


@pytest.mark.parametrize(
    "references",
    [
        ["yes"] * 9,
        ["yes", "no"],
        [f"label {number}" for number in range(21)] * 3,
        ["a sentence that is too long to be called a label", "no"] * 3,
        ["", "no"] * 3,
        [],
    ],
)
def test_one_answer_many_answers_and_long_answers_are_no_labels(references: list[str]) -> None:
    assert labels_of(references) == ()
