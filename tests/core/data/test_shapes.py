from __future__ import annotations

import json
from typing import Any

import pytest

from finetune_core.data.files.open import Row
from finetune_core.data.rows import Conversation, passages
from finetune_core.data.shapes.convert import convert
from finetune_core.data.shapes.recognise import Choice, recognise, training_refusal
from finetune_core.errors import FtError, Problem

TURNS = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
SHAREGPT = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]


def rows(*values: dict[str, object]) -> list[Row]:
    return [Row(i, i, value, None, "rows.jsonl") for i, value in enumerate(values, start=1)]


@pytest.mark.parametrize(
    ("value", "name", "mapping"),
    [
        ({"messages": TURNS}, "messages", {"messages": "messages"}),
        ({"prompt": "hi", "prompt_id": "1", "messages": TURNS}, "messages", {"messages": "messages"}),
        ({"conversations": TURNS}, "messages", {"messages": "conversations"}),
        ({"id": 1, "talk": TURNS}, "messages", {"messages": "talk"}),
        ({"conversations": SHAREGPT}, "sharegpt", {"conversations": "conversations"}),
        ({"conversation": [{"human": "hi", "assistant": "yo"}]}, "sharegpt", {"conversations": "conversation"}),
        (
            {"system": "s", "conversations": SHAREGPT},
            "sharegpt",
            {"conversations": "conversations", "system": "system"},
        ),
        ({"instruction": "a", "output": "b"}, "alpaca", {"instruction": "instruction", "output": "output"}),
        (
            {"instruction": "a", "input": "i", "output": "b", "system": "s", "history": [["q", "a"]], "text": "all"},
            "alpaca",
            {
                "instruction": "instruction",
                "output": "output",
                "input": "input",
                "system": "system",
                "history": "history",
            },
        ),
        ({"instruction": "a", "response": "b"}, "alpaca", {"instruction": "instruction", "output": "response"}),
        (
            {"instruction": "a", "context": "c", "response": "b"},
            "alpaca",
            {"instruction": "instruction", "output": "response", "input": "context"},
        ),
        ({"question": "a", "answer": "b"}, "alpaca", {"instruction": "question", "output": "answer"}),
        ({"query": "a", "response": "b"}, "alpaca", {"instruction": "query", "output": "response"}),
        ({"input": "a", "output": "b"}, "alpaca", {"instruction": "input", "output": "output"}),
        ({"prompt": "a", "completion": "b"}, "prompt-completion", {"prompt": "prompt", "completion": "completion"}),
        (
            {"prompt": TURNS[:1], "completion": TURNS[1:]},
            "prompt-completion",
            {"prompt": "prompt", "completion": "completion"},
        ),
    ],
)
def test_a_shape_is_told_by_what_rows_hold(value: dict[str, object], name: str, mapping: dict[str, str]) -> None:
    shape = recognise(rows(value, value))
    assert (shape.name, shape.mapping) == (name, mapping)
    assert "all 2 rows" in shape.evidence


CHOICE = {"prompt": "p", "chosen": "a", "rejected": "b"}


@pytest.mark.parametrize(
    ("value", "name", "mapping"),
    [
        (CHOICE, "preference", {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}),
        ({"chosen": TURNS, "rejected": TURNS}, "preference", {"chosen": "chosen", "rejected": "rejected"}),
        (
            {"conversations": SHAREGPT[:1], "chosen": SHAREGPT[1], "rejected": SHAREGPT[1]},
            "preference",
            {"prompt": "conversations", "chosen": "chosen", "rejected": "rejected"},
        ),
        (
            {"instruction": "p", "input": "i", "output": "x", "chosen": "a", "rejected": "b"},
            "preference",
            {"prompt": "instruction", "input": "input", "chosen": "chosen", "rejected": "rejected"},
        ),
        (
            {"question": "p", "response_j": "a", "response_k": "b"},
            "preference",
            {"prompt": "question", "chosen": "response_j", "rejected": "response_k"},
        ),
        (
            {"prompt": "p", "chosen_messages": TURNS, "rejected_messages": TURNS},
            "preference",
            {"prompt": "prompt", "chosen": "chosen_messages", "rejected": "rejected_messages"},
        ),
        ({"instruction": "p", "output": ["good", "bad"]}, "preference", {"prompt": "instruction", "pair": "output"}),
        (
            {"prompt": "p", "completion": "c", "label": True},
            "unpaired-preference",
            {"prompt": "prompt", "completion": "completion", "label": "label"},
        ),
        ({"messages": TURNS, "label": False}, "unpaired-preference", {"messages": "messages", "label": "label"}),
        (
            {"instruction": "a", "output": "b", "kto_tag": True},
            "unpaired-preference",
            {"prompt": "instruction", "completion": "output", "label": "kto_tag"},
        ),
        ({"prompt": "p"}, "prompt-only", {"prompt": "prompt"}),
        ({"prompt": TURNS[:1], "answer_key": 4}, "prompt-only", {"prompt": "prompt"}),
        ({"messages": TURNS[:1]}, "prompt-only", {"prompt": "messages"}),
        ({"question": "2+2?", "answer_key": 4}, "prompt-only", {"prompt": "question"}),
        ({"text": "once upon a time"}, "text", {"text": "text"}),
        ({"content": "once", "path": "a.txt"}, "text", {"text": "content"}),
    ],
)
def test_shapes_of_other_trainings_are_told_and_never_taken_for_plain_answers(
    value: dict[str, object], name: str, mapping: dict[str, str]
) -> None:
    shape = recognise(rows(value, value))
    assert (shape.name, shape.mapping) == (name, mapping)
    trained = {"preference": "dpo", "unpaired-preference": "kto", "prompt-only": "grpo", "text": "cpt"}[name]
    assert shape.trainable_as == trained
    assert (training_refusal(shape) is None) == (trained == "cpt")


@pytest.mark.parametrize(
    ("value", "mapping"),
    [
        ({"Context": "q", "Response": "a"}, {"instruction": "Context", "output": "Response"}),
        ({"Question": "q", "Answer": "a"}, {"instruction": "Question", "output": "Answer"}),
        ({"problem": "q", "solution": "a"}, {"instruction": "problem", "output": "solution"}),
        ({"article": "q", "highlights": "a"}, {"instruction": "article", "output": "highlights"}),
    ],
)
def test_names_of_columns_count_whatever_their_case(value: dict[str, object], mapping: dict[str, str]) -> None:
    assert recognise(rows(value)).mapping == mapping


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"input_ids": [1, 2, 3], "labels": [1, 2, 3]}, "tokenised"),
        ({"messages": TURNS, "images": ["a.png"]}, "multimodal"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, TURNS[1]]},
            "multimodal",
        ),
        ({"conversations": [{"from": "human", "value": "<image>\nWhat?"}, SHAREGPT[1]]}, "multimodal"),
        ({"query": "<img>a.png</img> what?", "response": "a dog"}, "multimodal"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name_with_a_way_out(value: dict[str, object], kind: str) -> None:
    with pytest.raises(FtError) as caught:
        recognise(rows(value, value))
    assert caught.value.problems[0].kind == kind
    assert caught.value.problems[0].remedy


def test_the_way_out_of_a_training_that_is_not_offered_is_a_recipe_that_works() -> None:
    refused = training_refusal(recognise(rows(CHOICE)))
    assert refused is not None
    assert "{prompt: prompt, completion: chosen}" in refused.remedy
    choice = Choice("prompt-completion", {"prompt": "prompt", "completion": "chosen"})
    row = convert(rows(CHOICE)[0], recognise(rows(CHOICE), choice))
    assert isinstance(row, Conversation)
    assert [turn.content for turn in row.messages] == ["p", "a"]


def test_a_shape_and_columns_chosen_by_hand_are_taken_as_they_are() -> None:
    found = rows({"frage": "a", "antwort": "b"})
    shape = recognise(found, Choice(mapping={"instruction": "frage", "output": "antwort"}))
    assert (shape.name, shape.by_hand) == ("alpaca", True)
    assert recognise(rows({"messages": TURNS, "text": "x"}), Choice("text")).mapping == {"text": "text"}


def test_a_choice_that_does_not_fit_is_told_whole_with_the_nearest_names() -> None:
    with pytest.raises(FtError) as caught:
        recognise(rows({"frage": "a", "antwort": "b"}), Choice("alpaca", {"instrution": "frage", "output": "antwrt"}))
    first, second = caught.value.problems
    assert "did you mean `instruction`?" in first.remedy
    assert "did you mean `antwort`?" in second.remedy
    with pytest.raises(FtError, match="which column is the output"):
        recognise(rows({"frage": "a", "antwort": "b"}), Choice("alpaca", {"instruction": "frage"}))
    with pytest.raises(FtError, match="make no shape"):
        recognise(rows({"frage": "a"}), Choice(mapping={"x": "frage"}))


@pytest.mark.parametrize(
    ("values", "words", "kept"),
    [
        ([{"prompt": "p", "completion": "c", "label": i % 2} for i in range(4)], "mark a bad answer", (4, 2)),
        ([{"messages": TURNS, "conversations": SHAREGPT}], "which of `messages` and `conversations`", (1, 1)),
        ([{"talk_a": TURNS, "talk_b": SHAREGPT}], "which of `talk_a` and `talk_b`", (1, 1)),
        ([{"text": "### Question: a\n### Answer: b"}], "written out", (1,)),
    ],
)
def test_where_two_readings_are_possible_each_answer_sets_one(
    values: list[dict[str, Any]], words: str, kept: tuple[int, ...]
) -> None:
    told = recognise(rows(*values))
    assert told.question is not None
    assert words in told.question.text
    shapes = [recognise(rows(*values), Choice(one.shape, one.mapping)) for one in told.question.answers]
    assert tuple(sum(not isinstance(convert(row, shape), Problem) for row in rows(*values)) for shape in shapes) == kept
    assert not any(shape.question for shape in shapes)
    proposed = shapes[0]
    assert (proposed.name, proposed.mapping) == (told.name, told.mapping)


def test_rows_that_can_be_read_in_one_way_ask_nothing() -> None:
    assert recognise(rows({"messages": TURNS})).question is None
    half = recognise(rows({"messages": TURNS[:1], "conversations": SHAREGPT}))
    assert (half.name, half.question) == ("sharegpt", None)
    assert recognise(rows({"messages": TURNS, "label": 1}, {"messages": TURNS, "label": 3})).question is None


def test_an_unknown_shape_is_told_with_the_columns_seen_and_the_shapes_known() -> None:
    with pytest.raises(FtError) as caught:
        recognise(rows({"frage": "a", "antwort": "b"}))
    found = caught.value.problems[0]
    assert "`frage` (1)" in found.why
    assert '"messages"' in found.remedy
    assert "{instruction: frage, output: antwort}" in found.remedy


def test_uneven_rows_take_the_shape_of_most_and_the_others_are_counted() -> None:
    shape = recognise(
        rows(*[{"instruction": "a", "output": "b"}] * 8, {"messages": TURNS}, {"output": "b", "input": "x"})
    )
    assert shape.name == "alpaca"
    assert shape.mapping["input"] == "input"
    assert "8 of 10" in shape.evidence


def test_bad_rows_do_not_stand_in_the_way() -> None:
    bad = Row(1, 1, None, Problem("x", "rows.jsonl:1", "y", "z"), "rows.jsonl")
    assert recognise([bad, *rows({"messages": TURNS})]).name == "messages"
    with pytest.raises(FtError, match="no row of the file can be read") as caught:
        recognise([bad, bad])
    assert caught.value.problems[0].where == "rows.jsonl:1"
    with pytest.raises(FtError, match="no row of the file can be read"):
        recognise([])


def test_hostile_column_names_are_shown_harmlessly() -> None:
    with pytest.raises(FtError) as caught:
        recognise(rows({"\x1b]52;c;x\x07": 1}))
    assert "\x1b" not in str(caught.value)


QUESTION, BETTER, WORSE = TURNS[0], TURNS[1], {"role": "assistant", "content": "no"}
PARTS_TURNS = [
    {"role": "user", "content": [{"type": "text", "value": "hi"}], "loss_weight": 0.0},
    {
        "role": "assistant",
        "content": [
            {"type": "reasoning", "value": "hm"},
            {"type": "text", "value": "yo"},
            {"type": "tool_call", "value": '{"name": "look", "arguments": {"at": 1}}'},
        ],
    },
]


@pytest.mark.parametrize(
    ("value", "shape", "said"),
    [
        ({"messages": PARTS_TURNS}, "messages", "hi|hm|yo"),
        ({"conversation": [{"system": "s", "input": "a", "output": "b"}]}, "sharegpt", "s|a|b"),
        ({"content": "a long text", "summary": "short"}, "alpaca", "a long text|short"),
        ({"system_prompt": "s", "question": "q", "response": "r"}, "alpaca", "s|q|r"),
        ({"input": "only a prompt"}, "prompt-only", "only a prompt"),
        ({"chosen_conversations": TURNS, "rejected_conversations": [QUESTION, WORSE]}, "preference", "hi|yo|no"),
        ({"messages": TURNS, "rejected_response": "no"}, "preference", "hi|yo|no"),
        (
            {"input": {"messages": [QUESTION]}, "preferred_output": [BETTER], "non_preferred_output": [WORSE]},
            "preference",
            "hi|yo|no",
        ),
        ({"prompt": "\n\nHuman: hi\n\nAssistant:", "chosen": "yo", "rejected": "no"}, "preference", "hi|yo|no"),
        ({"chosen": "USER: hi\n\n\nASSISTANT: yo", "rejected": "USER: hi\n\nASSISTANT: no"}, "preference", "hi|yo|no"),
    ],
)
def test_forms_that_other_tools_write_are_told_and_nothing_said_is_lost(
    value: dict[str, object], shape: str, said: str
) -> None:
    found = recognise(rows(value))
    assert found.name == shape
    row = convert(rows(value)[0], found)
    assert not isinstance(row, Problem)
    assert "|".join(part.text for part in passages(row)) == said


def test_calls_are_read_from_parts_of_a_turn_and_from_answers_beside_tools() -> None:
    tool = {"name": "look", "description": "d", "parameters": {"type": "object", "properties": {}}}
    beside = {"query": "hi", "tools": json.dumps([tool]), "answers": '[{"name": "look", "arguments": {"at": 1}}]'}
    for value in ({"messages": PARTS_TURNS}, beside):
        row = convert(rows(value)[0], recognise(rows(value)))
        assert isinstance(row, Conversation)
        assert [(call.name, call.arguments) for call in row.messages[-1].tool_calls] == [("look", {"at": 1})]
    assert len(row.tools) == 1


def test_messages_of_a_tree_and_instructions_with_instances_are_not_taken_for_rows() -> None:
    with pytest.raises(FtError, match="follow parent_id"):
        recognise(rows({"message_id": "b", "parent_id": "a", "text": "words", "role": "assistant"}))
    seed = {"id": "1", "instruction": "Do this and that", "instances": [{"input": "", "output": "Done, all of it."}]}
    with pytest.raises(FtError, match="shape of the rows is not known"):
        recognise(rows(seed))


def test_the_columns_with_the_most_text_are_proposed_for_rows_of_no_known_shape() -> None:
    with pytest.raises(FtError) as caught:
        recognise(rows({"nr": "17", "frage": "Was ist das?", "antwort": "Ein Fuchs, sage ich.", "lang": "de"}))
    assert "{instruction: frage, output: antwort}" in caught.value.problems[0].remedy
