from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_core.data.files.open import Row
from finetune_core.data.rows import Conversation, Message, Preference, PromptOnly, Text, ToolCall, UnpairedPreference
from finetune_core.data.shapes.convert import convert
from finetune_core.data.shapes.recognise import Shape, recognise
from finetune_core.errors import FtError, Problem

MESSAGES = Shape("messages", "", {"messages": "messages"})
ALPACA = Shape(
    "alpaca",
    "",
    {"instruction": "instruction", "output": "output", "input": "input", "system": "system", "history": "history"},
)
SHAREGPT = Shape("sharegpt", "", {"conversations": "conversations"})
PROMPT = Shape("prompt-completion", "", {"prompt": "prompt", "completion": "completion"})
HI, YO = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}


def row(value: dict[str, object]) -> Row:
    return Row(3, 5, value, None, "rows.jsonl")


def good(value: dict[str, object], shape: Shape) -> list[tuple[str, str]]:
    converted = convert(row(value), shape)
    assert isinstance(converted, Conversation), converted
    return [(message.role, message.content) for message in converted.messages]


def bad(value: dict[str, object], shape: Shape) -> Problem:
    converted = convert(row(value), shape)
    assert isinstance(converted, Problem), converted
    assert converted.where.startswith("rows.jsonl:5")
    assert converted.why
    assert converted.remedy
    return converted


def test_messages_keep_their_order_and_other_columns_are_kept_apart() -> None:
    converted = convert(row({"messages": [HI, YO], "fact": "x"}), MESSAGES)
    assert converted == Conversation(3, (Message("user", "hi"), Message("assistant", "yo")), {"fact": "x"})


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert good({"messages": [{"role": "user", "content": parts}, YO]}, MESSAGES)[0] == ("user", "ab")


def test_sharegpt_roles_become_the_canonical_ones() -> None:
    turns = [{"from": who, "value": who} for who in ("system", "human", "gpt", "human", "gpt")]
    assert [role for role, _ in good({"conversations": turns}, SHAREGPT)] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
    ]


def test_the_old_pair_form_becomes_turns() -> None:
    turns = [{"human": "a", "assistant": "b"}, {"human": "c", "assistant": "d"}]
    assert [text for _, text in good({"conversations": turns}, SHAREGPT)] == ["a", "b", "c", "d"]


def test_alpaca_joins_instruction_and_input_and_takes_system_and_history() -> None:
    value = {"instruction": "a", "input": "x", "output": "b", "system": "s", "history": [["q", "r"]]}
    assert good(value, ALPACA) == [
        ("system", "s"),
        ("user", "q"),
        ("assistant", "r"),
        ("user", "a\n\nx"),
        ("assistant", "b"),
    ]
    assert good({"instruction": "a", "input": None, "output": "b"}, ALPACA) == [("user", "a"), ("assistant", "b")]


def test_prompt_and_completion_stay_plain_text_and_as_messages_only_the_completion_is_learnt() -> None:
    plain = convert(row({"prompt": "a", "completion": "b"}), PROMPT)
    assert isinstance(plain, Conversation)
    assert plain.completion_only
    chat = convert(row({"prompt": [HI, YO, HI], "completion": [YO]}), PROMPT)
    assert isinstance(chat, Conversation)
    assert not chat.completion_only
    assert [message.trained for message in chat.messages] == [False, False, False, True]


def test_a_turn_of_weight_0_is_context() -> None:
    converted = convert(row({"messages": [HI, {**YO, "weight": 0}, HI, {**YO, "weight": 1}]}), MESSAGES)
    assert isinstance(converted, Conversation)
    assert [message.trained for message in converted.messages] == [True, False, True, True]
    assert "weight" in bad({"messages": [HI, {**YO, "weight": 0.5}]}, MESSAGES).what


@pytest.mark.parametrize(
    ("value", "shape", "what", "place"),
    [
        ({"messages": [HI, {**YO, "content": " \n"}]}, MESSAGES, "answer is empty", "messages[1].content"),
        ({"messages": [HI, {**YO, "content": None}]}, MESSAGES, "text is missing", "messages[1].content"),
        ({"messages": [HI]}, MESSAGES, "no answer", "turn 1"),
        ({"messages": [HI, YO, HI]}, MESSAGES, "no answer", "turn 3"),
        ({"messages": [HI, HI, YO]}, MESSAGES, "two user turns", "turn 2"),
        ({"messages": [YO, HI, YO]}, MESSAGES, "begins with the assistant", "turn 1"),
        ({"messages": [HI, {"role": "system", "content": "s"}, YO]}, MESSAGES, "system turn stands behind", "turn 2"),
        ({"messages": [{"role": "narrator", "content": "s"}, HI, YO]}, MESSAGES, "`narrator`", "messages[0].role"),
        ({"messages": [HI, {"role": "tool", "content": "s"}, YO]}, MESSAGES, "nobody called", "turn 2"),
        ({"messages": [HI, {**YO, "tool_calls": [{}]}]}, MESSAGES, "names no function", "messages[1].tool_calls[0]"),
        ({"messages": [HI, YO], "tools": "[{}]"}, MESSAGES, "tool has no name", "tools[0]"),
        ({"messages": [HI, YO], "tools": "[{"}, MESSAGES, "not JSON", "tools"),
        (
            {"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "{"}]},
            SHAREGPT,
            "not JSON",
            "conversations[1].value",
        ),
        ({"prompt": "a", "completion": "b", "label": False}, PROMPT, "labelled bad", "label"),
        (
            {"prompt": "a", "completion": "b", "chosen": "c", "rejected": "d"},
            PROMPT,
            "preference pair",
            "rows.jsonl:5 ",
        ),
        ({"messages": []}, MESSAGES, "no conversation", "messages"),
        ({"messages": [HI, "yo"]}, MESSAGES, "no object", "messages[1]"),
        ({"messages": [HI, {**YO, "content": 7}]}, MESSAGES, "kind int", "messages[1].content"),
        ({"messages": [HI, {**YO, "content": "\ud83e"}]}, MESSAGES, "not valid Unicode", "messages[1].content"),
        ({"other": 1}, MESSAGES, "`messages` is missing", "messages"),
        ({"instruction": "a"}, ALPACA, "`output` is missing", "output"),
        ({"instruction": "a", "output": ""}, ALPACA, "answer is empty", "output"),
        ({"instruction": " ", "output": "b"}, ALPACA, "question is empty", "instruction"),
        ({"instruction": "a", "output": ["b", 3]}, ALPACA, "kind int", "output[1]"),
        ({"instruction": "a", "output": "b", "history": ["x"]}, ALPACA, "list of pairs", "history"),
        ({"prompt": "a", "completion": ""}, PROMPT, "answer is empty", "completion"),
        ({"messages": [HI, YO], "image": "x.png"}, MESSAGES, "images", "rows.jsonl:5"),
    ],
)
def test_a_row_that_cannot_be_learnt_is_told_by_row_and_field(
    value: dict[str, object], shape: Shape, what: str, place: str
) -> None:
    found = bad(value, shape)
    assert what in found.what
    assert found.where.endswith(place)


CALL = {"type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


def test_tool_calls_in_openai_form_keep_their_arguments_tools_and_reasoning() -> None:
    turns = [
        HI,
        {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "look it up"},
        {"role": "tool", "content": "rain", "name": "weather"},
        {"role": "assistant", "content": "It rains."},
    ]
    converted = convert(row({"messages": turns, "tools": json.dumps([WEATHER])}), MESSAGES)
    assert isinstance(converted, Conversation)
    assert converted.tools == ({"type": "function", "function": WEATHER},)
    assert converted.messages[1] == Message(
        "assistant", "", reasoning="look it up", tool_calls=(ToolCall("weather", {"city": "Oslo"}),)
    )
    assert converted.messages[2] == Message("tool", "rain", name="weather")
    assert not converted.extra


def test_tool_calls_in_sharegpt_form_become_the_same() -> None:
    turns = [
        {"from": "human", "value": "hi"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Oslo"}}'},
        {"from": "observation", "value": "rain"},
        {"from": "gpt", "value": "It rains."},
    ]
    converted = convert(row({"conversations": turns, "tools": [WEATHER]}), SHAREGPT)
    assert isinstance(converted, Conversation)
    assert [turn.role for turn in converted.messages] == ["user", "assistant", "tool", "assistant"]
    assert converted.messages[1].tool_calls == (ToolCall("weather", {"city": "Oslo"}),)


def of_shape(value: dict[str, object]) -> object:
    return convert(row(value), recognise([row(value)]))


HH = "\n\nHuman: hi\n\nAssistant: yo\n\nHuman: more?\n\nAssistant: "


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": "hi", "chosen": "good", "rejected": "bad"},
        {"prompt": [HI], "chosen": [{**YO, "content": "good"}], "rejected": [{**YO, "content": "bad"}]},
        {"chosen": [HI, {**YO, "content": "good"}], "rejected": [HI, {**YO, "content": "bad"}]},
        {
            "prompt": "hi",
            "chosen_messages": [HI, {**YO, "content": "good"}],
            "rejected_messages": [HI, {**YO, "content": "bad"}],
        },
        {"question": "hi", "response_j": "good", "response_k": "bad"},
        {"instruction": "hi", "output": ["good", "bad"]},
        {
            "conversations": [{"from": "human", "value": "hi"}],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
    ],
)
def test_pairs_of_every_form_become_prompt_chosen_and_rejected(value: dict[str, object]) -> None:
    converted = of_shape(value)
    assert isinstance(converted, Preference)
    assert [turn.content for turn in converted.prompt] == ["hi"]
    assert [turn.content for turn in (*converted.chosen, *converted.rejected)] == ["good", "bad"]


def test_transcripts_of_human_and_assistant_are_parted_into_turns() -> None:
    converted = of_shape({"chosen": HH + "good", "rejected": HH + "bad"})
    assert isinstance(converted, Preference)
    assert [turn.content for turn in converted.prompt] == ["hi", "yo", "more?"]
    assert (converted.chosen[0].content, converted.rejected[0].content) == ("good", "bad")


def test_pairs_without_a_common_prompt_are_told() -> None:
    other = [{**HI, "content": "other"}, YO]
    found = of_shape({"chosen": [HI, YO], "rejected": other})
    assert isinstance(found, Problem)
    assert (found.kind, "no prompt in common" in found.what) == ("role-order", True)


def test_labelled_answers_prompts_and_texts_have_rows_of_their_own() -> None:
    kto = of_shape({"messages": [HI, YO], "label": False})
    assert isinstance(kto, UnpairedPreference)
    assert (len(kto.prompt), kto.completion[0].content, kto.label) == (1, "yo", False)
    ask = of_shape({"prompt": "2+2?", "answer_key": 4})
    assert isinstance(ask, PromptOnly)
    assert ask.extra == {"answer_key": 4}
    text = of_shape({"text": "once", "id": 1})
    assert text == Text(3, "once", {"id": 1})


def test_fixes_join_neighbouring_turns_and_take_unanswered_ones_off() -> None:
    turns = [HI, {**HI, "content": "again"}, YO, HI]
    fixes = {"role-order": "merge", "no-assistant-end": "trim"}
    converted = convert(row({"messages": turns}), MESSAGES, fixes)
    assert isinstance(converted, Conversation)
    assert [turn.content for turn in converted.messages] == ["hi\n\nagain", "yo"]


def test_problems_of_rows_carry_their_kind_and_field() -> None:
    found = bad({"messages": [HI, HI, YO]}, MESSAGES)
    assert (found.kind, found.field) == ("role-order", "turn 2")


def test_a_bad_row_keeps_its_problem() -> None:
    found = Problem("x", "rows.jsonl:1", "y", "z")
    assert convert(Row(1, 1, None, found), MESSAGES) is found


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "content",
                    "from",
                    "value",
                    "human",
                    "assistant",
                    "type",
                    "text",
                    "weight",
                    "tool_calls",
                    "name",
                ]
            ),
            inner | st.sampled_from(["user", "assistant", "human", "gpt", "system"]),
            max_size=3,
        )
    ),
    max_leaves=10,
)
COLUMNS = ["messages", "conversations", "instruction", "output", "input", "history", "system", "prompt", "completion"]
VALUES = st.dictionaries(
    st.sampled_from([*COLUMNS, "label", "chosen", "rejected", "text", "tools", "images"]), JSON_VALUES, max_size=5
)


@given(st.lists(VALUES, min_size=1, max_size=4), st.sampled_from([MESSAGES, ALPACA, SHAREGPT, PROMPT]))
@settings(max_examples=150, deadline=None)
def test_no_row_makes_recognition_or_conversion_crash(found: list[dict[str, object]], shape: Shape) -> None:
    rows = [row(value) for value in found]
    with suppress(FtError):
        shape = recognise(rows)
    for each in rows:
        converted = convert(each, shape)
        if isinstance(converted, Conversation):
            assert converted.messages[-1].role == "assistant"
            assert converted.messages[-1].content.strip() or converted.messages[-1].tool_calls
