"""Rows of kinds that people have: what they mean is read, asked or refused, and nothing is lost without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finetune_core.data.checks.check import check
from finetune_core.data.files.open import Row, open_rows
from finetune_core.data.rows import CanonicalRow, Conversation
from finetune_core.data.shapes.ambiguities import as_settings
from finetune_core.data.shapes.convert import convert
from finetune_core.data.shapes.paths import root, value_at
from finetune_core.data.shapes.recognise import Choice, Shape, recognise
from finetune_core.data.split import split
from finetune_core.data.usable import recognised, usable
from finetune_core.errors import FtError, Problem
from finetune_core.recipe.check import parse_assignments

TURNS = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A fox."}]
ASKED = [{"role": "user", "content": "What is it?"}]


def rows(*values: dict[str, Any]) -> list[Row]:
    return [Row(number, number, value, None, "rows.jsonl") for number, value in enumerate(values, 1)]


def shape_of(*values: dict[str, Any]) -> Shape:
    return recognise(rows(*values))


def first(*values: dict[str, Any], choice: Choice | None = None) -> CanonicalRow | Problem:
    given = rows(*values)
    return convert(given[0], recognise(given, choice or Choice()))


def said(row: CanonicalRow | Problem) -> list[tuple[str, str, bool]]:
    assert isinstance(row, Conversation), row
    return [(turn.role, turn.content, turn.trained) for turn in row.messages]


def decided(number: int, *values: dict[str, Any]) -> CanonicalRow | Problem:
    """The first row as the answer of this place to the question reads it."""
    question = shape_of(*values).question
    assert question is not None
    answer = question.answers[number]
    return first(*values, choice=Choice(answer.shape, answer.mapping))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([{"question": "q", "answer": ["a", "b", "c"]}], "several answers"),
        ([{"question": "q", "output": 1, "answer": {"yes": "a"}}], "holds objects"),
        ([{"text": "a", "label": 1}], "is `label` the answer"),
        ([{"text": "a", "code": "b"}], "is `code` the answer"),
        ([{"article": "a", "headline": "b"}], "is `headline` the answer"),
        ([{"question": "q", "choices": ["a", "b"], "answer": 1}], "names one of `choices`"),
        ([{"prompt": "p", "completion": "c", "label": text} for text in ("True", "False")], "False in `label`"),
        ([{"prompt": "p", "response": "r", "thumbs_up": up} for up in (True, False)], "False in `thumbs_up`"),
        ([{"messages": TURNS, "status": word} for word in ("accepted", "rejected")], "rejected in `status`"),
        ([{"messages": TURNS, "feedback": word} for word in ("thumbs_up", "thumbs_down")], "thumbs_down in"),
        ([{"prompt": "p", "response": "r", "score": mark} for mark in (1, -1)], "-1 in `score`"),
        ([{"prompt": "p", "response": "r", "rating": mark} for mark in (1, 3, 5)], "1 in `rating`"),
        ([{"text": "<s>[INST] q [/INST] a </s>"}], "written out"),
    ],
)
def test_what_can_mean_two_things_is_asked_and_nothing_is_trained_before(
    values: list[dict[str, Any]], words: str, tmp_path: Path
) -> None:
    question = shape_of(*values).question
    assert question is not None
    assert words in question.text
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(value) + "\n" for value in values))
    with pytest.raises(FtError) as refused:
        usable(str(source))
    (found,) = refused.value.problems
    assert (found.kind, found.what) == ("to-decide", f"to decide: {question.text}")
    assert found.why.startswith("rows.jsonl: ")
    for answer in question.answers:
        assert as_settings(answer) in found.remedy
        chosen = usable(str(source), Choice(answer.shape, answer.mapping))
        assert chosen.conversion.refusal is None


@pytest.mark.parametrize(
    "values",
    [
        [{"prompt": "p", "response": "r", "helpfulness": mark, "correctness": 4 - mark} for mark in range(5)],
        [{"text": "a", "meta": "b"}],
        [{"content": "a", "title": "b"}],
        [{"prompt": "p", "completion": "c", "status": "done"}],
        [{"messages": TURNS, "likes": count} for count in range(40)],
        [{"prompt": "p", "response": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
        [{"role": "editor", "content": "A long article."}],
    ],
)
def test_what_means_one_thing_is_not_asked(values: list[dict[str, Any]]) -> None:
    assert shape_of(*values).question is None


def test_the_settings_of_an_answer_are_what_the_command_line_reads() -> None:
    question = shape_of({"question": "q", "answer": ["a", "b", "c"]}).question
    assert question is not None
    words = as_settings(question.answers[0]).replace("'", "").split(" --set ")
    found = parse_assignments((words[0].removeprefix("--set "), words[1]))
    assert found == {"data.shape": "alpaca", "data.mapping": {"instruction": "question", "output": "answer[0]"}}


def test_the_chosen_answer_alone_is_trained() -> None:
    assert said(decided(0, {"question": "q", "answer": ["yellow", "bright yellow", "gold"]}))[-1][1] == "yellow"
    labelled = decided(1, {"text": "Good film.", "label": 1})
    assert [turn[:2] for turn in said(labelled)] == [("user", "Good film."), ("assistant", "1")]
    assert said(decided(-1, {"instruction": "i", "output": {"sum": 3}}))[-1][1] == '{"sum": 3}'


def test_a_number_is_an_answer_and_what_is_none_is_not() -> None:
    given = rows({"question": "q", "answer": 2}, {"question": "q", "answer": float("nan")})
    shape = recognise(given)
    assert said(convert(given[0], shape))[-1][1] == "2"
    assert isinstance(convert(given[1], shape), Problem)


def test_bad_answers_are_left_out_and_an_unknown_label_is_an_error() -> None:
    values = [{"prompt": "p", "completion": "c", "feedback": word} for word in ("thumbs_up", "thumbs_down", "maybe")]
    mapping = {"prompt": "prompt", "completion": "completion", "label": "feedback"}
    given = rows(*values)
    shape = recognise(given, Choice("prompt-completion", mapping))
    good, bad, unknown = (convert(row, shape) for row in given)
    assert isinstance(good, Conversation)
    assert isinstance(bad, Problem)
    assert bad.kind == "bad-answer"
    assert isinstance(unknown, Problem)
    assert "the label 'maybe' is not known" in unknown.what


@pytest.mark.parametrize("name", ["conversation_history", "chat_history", "history"])
def test_turns_beside_a_question_and_its_answer_are_its_context(name: str) -> None:
    row = first({name: TURNS, "question": "And now?", "answer": "A cat."})
    assert said(row) == [
        ("user", "What is it?", False), ("assistant", "A fox.", False), ("user", "And now?", True),
        ("assistant", "A cat.", True),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["examples", "tools_used", "notes"])
def test_other_turns_beside_a_question_and_its_answer_are_not_the_row(name: str) -> None:
    value = {"instruction": "i", "output": "o", name: TURNS}
    assert shape_of(value).mapping == {"instruction": "instruction", "output": "output"}
    assert [one.column for one in shape_of(value).unused] == [name]


@pytest.mark.parametrize(
    "value",
    [
        {"input": ASKED, "output": "A fox."},
        {"prompt": ASKED, "response": "A fox."},
        {"input": ASKED, "ideal": "A fox."},
        {"messages": ASKED, "completion": "A fox."},
        {"prompt": {"messages": ASKED}, "completion": "A fox."},
        {
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "What is it?"}]}],
            "output": [{"role": "assistant", "content": [{"type": "output_text", "text": "A fox."}]}],
        },
    ],
)
def test_a_prompt_of_turns_and_its_answer_beside_are_one_row(value: dict[str, Any]) -> None:
    assert said(first(value)) == [("user", "What is it?", False), ("assistant", "A fox.", True)]


def test_other_services_forms_are_read() -> None:
    gemini = {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "What is it?"}]}, {"role": "model", "parts": [{"text": "A fox."}]},
        ],
    }  # fmt: skip
    assert [turn[:2] for turn in said(first(gemini))] == [
        ("system", "Be brief."), ("user", "What is it?"), ("assistant", "A fox.")
    ]  # fmt: skip
    anthropic = {
        "tools": [{"name": "tide", "input_schema": {"type": "object"}}],
        "messages": [
            {"role": "user", "content": "When is high tide?"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "name": "tide", "input": {"at": "Ostend"}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "At noon."}]},
            {"role": "assistant", "content": [{"type": "text", "text": "At noon."}]},
        ],
    }
    row = first(anthropic)
    assert isinstance(row, Conversation)
    assert [turn.role for turn in row.messages] == ["user", "assistant", "tool", "assistant"]
    assert [(call.name, call.arguments) for call in row.messages[1].tool_calls] == [("tide", {"at": "Ostend"})]
    assert row.messages[2].content == "At noon."
    assert row.tools[0]["function"] == {"name": "tide", "parameters": {"type": "object"}}


@pytest.mark.parametrize(
    "held",
    [
        json.dumps(TURNS),
        {"role": ["user", "assistant"], "content": ["What is it?", "A fox."]},
        [{"role": " User ", "content": "What is it?"}, {"role": "Assistant", "content": "A fox."}],
    ],
)
def test_turns_are_read_as_a_text_of_json_and_as_an_object_of_lists(held: object) -> None:
    assert [turn[:2] for turn in said(first({"messages": held}))] == [("user", "What is it?"), ("assistant", "A fox.")]


def test_marks_that_say_what_is_trained_are_read() -> None:
    turns = [ASKED[0], {"role": "assistant", "content": "No.", "masked": True}, ASKED[0], {**TURNS[1], "weight": "1"}]
    assert [turn[2] for turn in said(first({"messages": turns}))] == [True, False, True, True]


def test_what_is_not_used_is_named_with_the_part_it_could_play() -> None:
    value = {"Question": "q", "Complex_CoT": "First ...", "Response": "r", "contexts": ["a", "b"], "id": 3}
    assert [str(one) for one in shape_of(value, value).unused] == [
        "`Complex_CoT` (text, 100% of rows; it could be the reasoning)",
        "`contexts` (list, 100% of rows; it could be the input)",
    ]
    detail = {"messages": [TURNS[0], {**TURNS[1], "train_detail": [1]}]}
    assert [one.column for one in shape_of(detail).unused] == ["messages[].train_detail"]
    mapping = {"instruction": "Question", "output": "Response", "reasoning": "Complex_CoT", "input": "contexts"}
    row = first(value, choice=Choice("alpaca", mapping))
    assert isinstance(row, Conversation)
    assert row.messages[-1].reasoning == "First ..."
    assert row.messages[0].content == "q\n\na\n\nb"
    assert shape_of({**value, "Complex_CoT": None, "contexts": []}).unused == ()


def test_prompts_that_have_answers_elsewhere_say_where() -> None:
    for value, path in (
        ({"question": "q", "answers": {"text": ["a"], "answer_start": [3]}}, "answers.text[0]"),
        ({"instruction": "i", "completions": [{"response": "a", "score": 3}]}, "completions[0].response"),
        ({"question": "q", "sql": "select 1"}, "sql"),
    ):
        refused = recognised_refusal(value)
        assert refused is not None
        assert json.dumps(path) in refused.remedy
        prompt = next(iter(value))
        row = first(value, choice=Choice("alpaca", {"instruction": prompt, "output": path}))
        assert said(row)[-1][1] in {"a", "select 1"}


def recognised_refusal(value: dict[str, Any]) -> Problem | None:
    from finetune_core.data.usable import Conversion

    return Conversion(shape_of(value), {}).refusal


def test_a_path_leads_into_objects_lists_and_texts_of_json() -> None:
    value = {"response": {"choices": [{"message": {"content": "a"}}]}, "a.b": 1, "text": '{"x": [2]}'}
    assert value_at(value, "response.choices[0].message.content") == "a"
    assert value_at(value, "a.b") == 1
    assert value_at(value, "text.x[0]") == 2
    assert value_at(value, "response.choices[7].message") is None
    assert value_at(value, "") is None
    assert root("response.choices[0]") == "response"


def test_single_turns_are_refused_with_how_to_put_them_together(tmp_path: Path) -> None:
    source = tmp_path / "turns.jsonl"
    source.write_text("".join(json.dumps({"conversation_id": 1, **turn}) + "\n" for turn in TURNS))
    refused = check(str(source), processes=1).refused
    assert refused is not None
    assert "single turns" in refused.what
    assert "group_by(.conversation_id)" in refused.remedy


@pytest.mark.parametrize("ids", [True, False])
def test_one_conversation_is_never_on_both_sides(ids: bool) -> None:
    values = []
    for number in range(60):
        turns: list[dict[str, str]] = []
        for step in range(3):
            turns = [*turns, {"role": "user", "content": f"Hello {step} of {number}?"},
                     {"role": "assistant", "content": f"So {step} of {number}."}]  # fmt: skip
            # With an id the rows need not begin alike.
            values.append({"messages": turns[-2:] if ids else turns, **({"conversation_id": number} if ids else {})})
    given = rows(*values)
    shape = recognise(given)
    found = [row for one in given if isinstance(row := convert(one, shape), Conversation)]
    train, held_out = split(found, 0.1, 7)
    assert len(held_out) == 18
    assert not {(row.number - 1) // 3 for row in train} & {(row.number - 1) // 3 for row in held_out}


@pytest.mark.parametrize("end", ["jsonl", "json"])
def test_lists_of_turns_are_conversations(tmp_path: Path, end: str) -> None:
    source = tmp_path / f"rows.{end}"
    source.write_text(json.dumps([TURNS] * 3) if end == "json" else (json.dumps(TURNS) + "\n") * 3)
    found = list(recognised(open_rows(str(source))).canonical())
    assert [said(row)[-1][1] for _, row in found] == ["A fox."] * 3


def test_nulls_that_a_column_type_added_are_not_trained(tmp_path: Path) -> None:
    calls = [{"function": {"name": name, "arguments": {name: "x"}}} for name in ("day", "zone")]
    turns = [[ASKED[0], {"role": "assistant", "content": "", "tool_calls": [call]}] for call in calls]
    pq.write_table(pa.Table.from_pylist([{"messages": one} for one in turns]), tmp_path / "rows.parquet")
    found = [row for _, row in recognised(open_rows(str(tmp_path / "rows.parquet"))).canonical()]
    assert [row.messages[1].tool_calls[0].arguments for row in found if isinstance(row, Conversation)] == [
        {"day": "x"}, {"zone": "x"}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("rows.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git lfs pull"),
        ("rows.jsonl", b"<!DOCTYPE html><html></html>", "an HTML page"),
        ("rows.csv", b"question;answer\nCaf\xe9?;Yes \x96 no\n", "cp1252"),
    ],
)
def test_files_that_hold_no_rows_say_why(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    source = tmp_path / name
    source.write_bytes(data)
    refused = check(str(source), processes=1).refused
    assert refused is not None
    assert words in f"{refused.what} {refused.why} {refused.remedy}"


def test_the_line_that_excel_puts_first_is_passed_over(tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_bytes(b"sep=;\r\nquestion;answer\r\nWhat?;This.\r\n")
    found = list(recognised(open_rows(str(source))).canonical())
    assert [said(row)[-1][1] for _, row in found] == ["This."]


def test_no_row_is_longer_than_the_bound_although_it_offers_tools(tmp_path: Path) -> None:
    from finetune_core.plan.rows import count_rows
    from finetune_core.recipe.schema import Data, Recipe

    tools = [{"name": f"tool_{place}", "description": "Says what the weather is.", "parameters": {"type": "object"}}
             for place in range(12)]  # fmt: skip
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps({"messages": TURNS, "tools": tools}) + "\n" for _ in range(8)))
    bound = count_rows(Recipe(data=Data(source=str(source), held_out_share=0.0)))[0].bound
    assert bound is not None
    # Qwen's template writes each function as JSON on a line, behind some 500 characters of instructions.
    assert bound > 500 + len("\n".join(map(json.dumps, tools))) + sum(len(turn["content"]) for turn in TURNS)
