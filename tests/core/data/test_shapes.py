from __future__ import annotations

import pytest

from ft_core.data.open import Row
from ft_core.data.shapes import recognise
from ft_core.errors import FtError, Problem

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


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, "preference pairs"),
        ({"chosen": TURNS, "rejected": TURNS}, "preference pairs"),
        ({"conversations": SHAREGPT, "chosen": "a", "rejected": "b"}, "preference pairs"),
        ({"instruction": "p", "output": "x", "chosen": "a", "rejected": "b"}, "preference pairs"),
        ({"question": "p", "response_j": "a", "response_k": "b"}, "preference pairs"),
        ({"prompt": "p", "completion": "c", "label": True}, "KTO"),
        ({"messages": TURNS, "label": False}, "KTO"),
        ({"input_ids": [1, 2, 3], "labels": [1, 2, 3]}, "input_ids"),
        ({"messages": TURNS, "images": ["a.png"]}, "images"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, TURNS[1]]},
            "images",
        ),
        ({"text": "once upon a time"}, "raw text"),
        ({"prompt": "p"}, "prompts without answers"),
        ({"prompt": TURNS[:1], "answer_key": 4}, "prompts without answers"),
    ],
)
def test_what_would_be_trained_wrong_is_refused_by_name_with_a_way_out(value: dict[str, object], words: str) -> None:
    with pytest.raises(FtError, match=words) as caught:
        recognise(rows(value, value))
    found = caught.value.problems[0]
    assert "not offered yet" in found.why or "tokens fit one tokenizer" in found.why
    assert found.remedy


def test_an_unknown_shape_is_told_with_the_columns_seen_and_the_shapes_known() -> None:
    with pytest.raises(FtError) as caught:
        recognise(rows({"frage": "a", "antwort": "b"}))
    found = caught.value.problems[0]
    assert "`frage` (1)" in found.why
    assert '"messages"' in found.remedy


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
