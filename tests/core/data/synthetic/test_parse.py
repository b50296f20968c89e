from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_core.data.rows import Conversation, Message
from finetune_core.data.synthetic.parse import objects, strings
from finetune_core.data.synthetic.pending import as_conversation
from finetune_core.data.synthetic.seen import Shingles
from tests.core.data.synthetic.fake_endpoint import row

A, B = row("one", "1"), row("two", "2")
TURNS = [A["messages"], B["messages"]]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([A, B]),
        json.dumps({"rows": [A, B]}),
        json.dumps(TURNS),
        f"{json.dumps(A)}\n{json.dumps(B)}\n",
        f"Here you are:\n```json\n{json.dumps([A, B], indent=2)}\n```\nTell me if [you] want {{more}}!",
        f"```\n{json.dumps(A)}\n```\nand\n```\n{json.dumps(B)}\n```",
        f"<think>rows like [{{}}] {json.dumps([A])}</think>{json.dumps([A, B])}",
        json.dumps([A, B, row("three", "3")])[:-20],
        json.dumps([A, B])[:-1],
        f"{json.dumps(A)}, {{broken}}, {json.dumps(B)}",
    ],
)
def test_rows_are_found_however_the_model_has_wrapped_them(text: str) -> None:
    assert [value for value in objects(text) if value] == [A, B]


def test_a_single_conversation_is_a_row_not_a_list_of_turns() -> None:
    assert objects(json.dumps(A)) == [A]
    assert objects(json.dumps(A["messages"])) == [A]


def test_topics_are_the_texts_of_the_list() -> None:
    assert strings('Topics:\n["a b", "c", 3]') == ["a b", "c"]
    assert strings('{"topics": ["a", "b"]}') == ["a", "b"]
    assert strings("none at all") == []


@settings(max_examples=40)
@given(st.text(max_size=300))
def test_no_text_makes_the_parser_fail(text: str) -> None:
    assert all(isinstance(value, dict) for value in objects(text))


@pytest.mark.parametrize(
    "text", ["[" * 10**6, '{"a":' * 10**5, '["' * 10**5, "{" + "9" * 10**6, '[{"a": "' + "x{" * 10**6]
)
def test_a_hostile_answer_costs_bounded_time(text: str) -> None:
    begun = time.monotonic()
    objects(text)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "value",
    [
        A,
        {"instruction": "one", "output": "1"},
        {"prompt": "one", "completion": "1"},
        {"conversations": [{"from": "human", "value": "one"}, {"from": "gpt", "value": "1"}]},
    ],
)
def test_a_candidate_of_any_known_shape_is_a_conversation(value: dict[str, object]) -> None:
    found = as_conversation(value)
    assert isinstance(found, Conversation)
    assert [(turn.role, turn.content) for turn in found.messages] == [("user", "one"), ("assistant", "1")]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({}, "no conversation"),
        ({"messages": "x"}, "this is no conversation"),
        ({"question": 3}, "no conversation"),
        (row("one", " "), "the answer is empty"),
        (row(" ", "1"), "the question is empty"),
        ({"messages": A["messages"][:1]}, "the last turn has no answer"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "the role `wizard` is not known"),
        (row("half \ud800", "1"), "the text is not valid Unicode"),
        ({"chosen": "a", "rejected": "b", "prompt": "c"}, "no conversation"),
    ],
)
def test_what_is_no_conversation_is_refused_with_the_reason(value: dict[str, object], reason: str) -> None:
    assert as_conversation(value) == reason


def conversation(question: str, answer: str) -> Conversation:
    return Conversation(1, (Message("user", question), Message("assistant", answer)))


def known(*rows: Conversation) -> Shingles:
    seen = Shingles()
    for one in rows:
        seen.add(one)
    return seen


LONG = "How do I take the cover off the left side panel of the machine without any special tool"


def test_the_same_question_is_a_duplicate_whatever_the_answer_the_case_or_the_punctuation() -> None:
    seen = known(conversation("What is the capital of Peru?", "Lima"))
    assert seen.contains(conversation("what is  the capital of peru", "Quito is what I think it is")) == "duplicate"


def test_a_question_of_signs_alone_is_told_from_another() -> None:
    assert known(conversation("?!", "x")).contains(conversation("...", "something else entirely")) is None


def test_a_few_changed_words_make_a_near_duplicate_and_another_subject_does_not() -> None:
    seen = known(conversation(LONG, "Push both clips down, then pull the cover towards you until it comes off."))
    answer = "Push both clips down, then pull the cover towards you until it is off."
    assert seen.contains(conversation(LONG + " please", answer)) == "near duplicate"
    assert seen.contains(conversation("How do I clean the filter?", "Rinse it under water.")) is None


def test_of_many_rows_the_last_ones_are_compared_nearly_and_all_of_them_exactly() -> None:
    seen = Shingles(most=2)
    rows = [conversation(f"{letter} {LONG}", f"{letter} answer of some words") for letter in ("a", "b b", "c c c")]
    for letter, one in zip(("first", "second", "third"), rows, strict=True):
        seen.add(conversation(f"{letter} " * 9, f"{letter} " * 9))
        seen.add(one)
    assert seen.contains(conversation("first " * 9, "x")) == "duplicate"
    assert seen.contains(conversation("first " * 10, "first " * 10)) is None
    assert seen.contains(conversation("third " * 10, "third " * 10)) == "near duplicate"


def test_short_rows_that_differ_in_the_word_that_matters_are_both_kept() -> None:
    seen = known(conversation("What is the capital of Peru?", "The capital is Lima."))
    assert seen.contains(conversation("What is the capital of Chile?", "The capital is Santiago.")) is None


def test_near_duplicates_are_found_without_blanks_between_words() -> None:
    seen = known(conversation("日本の首都はどこにありますか教えてください", "東京は日本の首都であり関東地方にあります"))
    assert (
        seen.contains(conversation("日本の首都はどこにありますか教えて", "東京は日本の首都であり関東地方にあります"))
        == "near duplicate"
    )


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["ab", "cd", "ef", "gh"]), min_size=3, max_size=12), st.data())
def test_looking_at_the_rarest_words_only_finds_what_comparing_with_all_rows_finds(
    words: list[str], data: st.DataObject
) -> None:
    texts = st.lists(st.sampled_from(["ab", "cd", "ef", "gh"]), min_size=3, max_size=12)
    others = [" ".join(data.draw(texts)) for _ in range(4)]
    wanted = conversation("new", " ".join(words))

    def triples(text: str) -> set[tuple[str, ...]]:
        parts = text.split()
        return {tuple(parts[at : at + 3]) for at in range(len(parts) - 2)}

    def near(other: str) -> bool:
        mine, theirs = triples(" ".join(words)), triples(other)
        # The questions add one set of words each, which differs.
        return len(mine & theirs) / (len(mine | theirs) + 2) >= 0.7

    seen = known(*(conversation(f"old{place}", other) for place, other in enumerate(others)))
    assert (seen.contains(wanted) == "near duplicate") == any(map(near, others))
