"""Rows of every shape turned into one canonical form, and parted into training and held-out rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Final

from finetune_core.data.files.open import Row
from finetune_core.data.rows import (
    CanonicalRow,
    Conversation,
    Message,
    Preference,
    PromptOnly,
    Text,
    UnpairedPreference,
)
from finetune_core.data.shapes.columns import (
    ALPACA,
    MESSAGES,
    PREFERENCE,
    PROMPT_COMPLETION,
    PROMPT_ONLY,
    SHAREGPT,
    TEXT,
    UNPAIRED,
    bad_label,
    is_preference,
    refusal,
    turn_keys,
    within,
)
from finetune_core.data.shapes.labels import grade
from finetune_core.data.shapes.paths import root, value_at
from finetune_core.data.shapes.recognise import Shape
from finetune_core.data.shapes.turns import (
    FILL,
    BadRowError,
    answer_or_calls,
    answer_text,
    checked,
    empty_answer,
    text_of,
    tools_of,
    transcript,
    turn_or_turns,
    turns_of,
)
from finetune_core.errors import Problem
from finetune_core.text import one_line

Value = Mapping[str, object]
Columns = Mapping[str, str]
Fixes = Mapping[str, str]
NO_FIXES: Final[Fixes] = {}


def convert(row: Row, shape: Shape, fixes: Fixes = NO_FIXES) -> CanonicalRow | Problem:
    """The row in canonical form, or the problem, with the place of the row and the field. Never raises.

    `fixes` goes from kind of finding to what is done about it, as in a recipe's `data.fixes`.
    """
    if row.value is None:
        return row.problem or Problem("the row is empty", row.where, "it holds nothing", "remove it")
    found = refusal(row.value)
    if found is not None:
        what = f"this row is one of {found.name}"
        return Problem(what, row.where, found.why, found.remedy, kind=found.kind)
    try:
        _check_worth(row.value, shape)
        return _CONVERTERS[shape.name](row, shape.mapping, fixes)
    except BadRowError as bad:
        return Problem(bad.what, f"{row.where} {bad.field}", bad.why, bad.remedy, kind=bad.kind, field=bad.field)


# One row of each shape


def _check_worth(value: Value, shape: Shape) -> None:
    """Refuse what a row of answers must not teach: the worse answer of a pair, an answer labelled bad."""
    if shape.name in (PREFERENCE, UNPAIRED, PROMPT_ONLY, TEXT):
        return
    if not shape.by_hand and is_preference(value):
        why = "the other rows are not, and taken as one of them it could teach the rejected answer"
        raise BadRowError("bad-answer", "", "this row is a preference pair", why, "take it out, or write it like them")
    column = shape.mapping.get("label", "label")
    if "label" in shape.mapping and grade(label := value_at(value, column)) is None:
        what = "the row has no label" if label is None else f"the label {one_line(repr(label), 40)} is not known"
        why = "it says neither that the answer is good nor that it is bad"
        raise BadRowError("wrong-type", column, what, why, "write true or false, or leave label out of data.mapping")
    if bad_label(value, shape.mapping):
        raise BadRowError("bad-answer", column, "the answer is labelled bad", "what is labelled false is not trained")


def _conversation(row: Row, columns: Columns, fixes: Fixes) -> Conversation:
    value = _value(row)
    column = columns.get("messages") or columns["conversations"]
    tools = columns.get("tools", "tools")
    messages = checked(_system(value, columns) + turns_of(_get(value, column), column), fixes)
    extra = _extra(value, {**columns, "tools": tools})
    return Conversation(row.number, messages, extra, tools=tools_of(value.get(tools), tools))


def _alpaca(row: Row, columns: Columns, fixes: Fixes) -> Conversation:
    value = _value(row)
    prompt = _asked(value, columns, "instruction")
    tools = tools_of(value.get(columns["tools"]), columns["tools"]) if "tools" in columns else ()
    said, column = _written(_get(value, columns["output"])), columns["output"]
    answer = answer_or_calls(said, column) if tools else Message("assistant", answer_text(said, column))
    if reasoning := _optional(value, columns, "reasoning"):
        answer = replace(answer, reasoning=reasoning)
    turns = (*_system(value, columns), *_history(value, columns), *prompt, answer)
    return Conversation(row.number, checked(turns, fixes), _extra(value, columns), tools=tools)


def _prompt_completion(row: Row, columns: Columns, fixes: Fixes) -> Conversation:
    value, asking, answering = _value(row), columns["prompt"], columns["completion"]
    prompt, completion = _get(value, asking), _get(value, answering)
    extra = _extra(value, columns)
    system = _system(value, columns)
    if isinstance(prompt, str) and isinstance(completion, str) and not system:
        plain = Message("user", text_of(prompt, asking)), Message("assistant", answer_text(completion, answering))
        return Conversation(row.number, plain, extra, completion_only=True)
    if isinstance(completion, str) and not isinstance(prompt, str):
        completion = [{"role": "assistant", "content": completion}]
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    asked = tuple(replace(turn, trained=False) for turn in system + turns_of(within(prompt), asking))
    answers = turn_or_turns(completion, answering)
    # A completion that repeats the whole conversation, as the chosen side of pairs often does, is taken as that.
    begun = answers[: len(asked)] if len(answers) > len(asked) else ()
    repeated = [(turn.role, turn.content) for turn in begun] == [(turn.role, turn.content) for turn in asked]
    turns = asked + (answers[len(asked) :] if repeated else answers)
    return Conversation(row.number, checked(turns, fixes), extra)


def _preference(row: Row, columns: Columns, fixes: Fixes) -> Preference:
    value = _value(row)
    if "pair" in columns:
        sides = _two(value, columns["pair"])
    else:
        sides = (_side(value, columns["chosen"]), _side(value, columns["rejected"]))
    if sides[0][0].role != "assistant" and [turn.role for turn in sides[1]] == ["assistant"]:
        # A whole conversation, and another answer to its last question.
        sides = (sides[0], (*sides[0][:-1], *sides[1]))
    shared = 0
    if sides[0][0].role != "assistant":
        shared = _shared(*sides)
        if not shared or shared == min(map(len, sides)):
            what, why = "the two answers have no prompt in common", "pairs are answers to one and the same prompt"
            raise BadRowError("role-order", columns["chosen"], what, why)
        prompt = sides[0][:shared]
    else:
        prompt = (*_system(value, columns), *_asked(value, columns, "prompt"))
    chosen, rejected = (checked(prompt + side[shared:], fixes)[len(prompt) :] for side in sides)
    return Preference(row.number, prompt, chosen, rejected, _extra(value, columns))


def _unpaired(row: Row, columns: Columns, fixes: Fixes) -> UnpairedPreference:
    value = _value(row)
    label = _get(value, columns["label"])
    if not isinstance(label, bool) and label not in (0, 1):
        what, why = "the label is neither true nor false", "it says whether the answer is good"
        raise BadRowError("wrong-type", columns["label"], what, why, "write true or false")
    if "messages" in columns:
        turns = _system(value, columns) + turns_of(_get(value, columns["messages"]), columns["messages"])
        turns = checked(turns, fixes)
        prompt, answer = turns[:-1], turns[-1:]
    else:
        prompt = (*_system(value, columns), *_asked(value, columns, "prompt"))
        answer = turn_or_turns(_get(value, columns["completion"]), columns["completion"])
        checked(prompt + answer, fixes)
    return UnpairedPreference(row.number, prompt, answer, bool(label), _extra(value, columns))


def _prompt_only(row: Row, columns: Columns, fixes: Fixes) -> PromptOnly:
    value = _value(row)
    prompt = checked((*_system(value, columns), *_asked(value, columns, "prompt")), fixes, answered=False)
    return PromptOnly(row.number, prompt, _extra(value, columns))


def _text(row: Row, columns: Columns, _fixes: Fixes) -> Text:
    value = _value(row)
    text = text_of(_get(value, columns["text"]), columns["text"])
    if not text.strip():
        raise BadRowError("empty-turn", columns["text"], "the text is empty", "there is nothing to learn")
    return Text(row.number, text, _extra(value, columns))


_CONVERTERS: Final[dict[str, Callable[[Row, Columns, Fixes], CanonicalRow]]] = {
    MESSAGES: _conversation,
    SHAREGPT: _conversation,
    ALPACA: _alpaca,
    PROMPT_COMPLETION: _prompt_completion,
    PREFERENCE: _preference,
    UNPAIRED: _unpaired,
    PROMPT_ONLY: _prompt_only,
    TEXT: _text,
}


# Parts of a row


def _value(row: Row) -> Value:
    assert row.value is not None
    return row.value


def _extra(value: Value, columns: Columns) -> dict[str, object]:
    used = {column if column in value else root(column) for column in columns.values()}
    return {name: item for name, item in value.items() if name not in used}


def _get(value: Value, column: str) -> object:
    found = value_at(value, column)
    if found is None:
        what = f"the field `{one_line(column, 40)}` is missing"
        raise BadRowError("wrong-type", column, what, "the other rows have it")
    return found


def _optional(value: Value, columns: Columns, part: str) -> str:
    column = columns.get(part)
    found = None if column is None else value_at(value, column)
    if isinstance(found, list) and all(isinstance(text, str) for text in found):
        # Passages are texts of their own.
        return "\n\n".join(found)
    return "" if column is None or found is None else text_of(found, column)


def _system(value: Value, columns: Columns) -> tuple[Message, ...]:
    text = _optional(value, columns, "system")
    return (Message("system", text),) if text.strip() else ()


def _asked(value: Value, columns: Columns, part: str) -> tuple[Message, ...]:
    """The prompt: turns as they stand, or one text with what is in the column `input` behind it."""
    column = columns.get(part)
    if column is None:
        raise BadRowError("wrong-type", part, "the row has no prompt", "an answer needs something it answers")
    asked = within(_get(value, column))
    if not isinstance(asked, str):
        return turns_of(asked, column)
    turns = transcript(asked)
    if turns:
        return turns
    texts = (text_of(asked, column), _optional(value, columns, "input"))
    question = "\n\n".join(text for text in texts if text.strip())
    if not question:
        raise BadRowError("empty-turn", column, "the question is empty", "an answer needs something it answers")
    return (Message("user", question),)


def _written(answer: object) -> object:
    """An answer that is no text, written as JSON writes it: a number, true or false, an object."""
    if isinstance(answer, float) and not isfinite(answer):
        return None
    return json.dumps(answer, ensure_ascii=False) if isinstance(answer, int | float | dict) else answer


def _history(value: Value, columns: Columns) -> tuple[Message, ...]:
    """Earlier exchanges of an alpaca row: a list of pairs [question, answer]."""
    column = columns.get("history")
    if column is None:
        return ()
    pairs = value_at(value, column) or []
    if turn_keys(pairs) is not None:
        return tuple(replace(turn, trained=False) for turn in turns_of(pairs, column))
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        why = "it has to be [[question, answer], ...]"
        raise BadRowError("wrong-type", column, "the history is no list of pairs", why)
    return tuple(
        Message(role, text_of(pair[j], f"{column}[{i}][{j}]"))
        for i, pair in enumerate(pairs)
        for j, role in enumerate(("user", "assistant"))
    )


def _side(value: Value, column: str) -> tuple[Message, ...]:
    turns = turn_or_turns(_get(value, column), column)
    if not turns:
        raise empty_answer(column)
    return turns


def _two(value: Value, column: str) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    both = _get(value, column)
    if not isinstance(both, list) or len(both) != 2:
        why = "it has to be [better answer, worse answer]"
        raise BadRowError("wrong-type", column, "this is no pair of answers", why, FILL)
    good, bad = (turn_or_turns(answer, f"{column}[{i}]") for i, answer in enumerate(both))
    return good, bad


def _shared(one: Sequence[Message], other: Sequence[Message]) -> int:
    """How many turns two conversations have in common at their start."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count
