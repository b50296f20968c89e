"""Rows of every shape turned into one canonical form, and parted into training and held-out rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TypeVar

from ft_core.data.open import Row, open_rows
from ft_core.data.rows import Conversation, Message, Role
from ft_core.data.shapes import ALPACA, PROMPT_COMPLETION, Shape, recognise, refusal, turn_keys
from ft_core.errors import Problem
from ft_core.text import one_line

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
}
_TOOL_ROLES = ("tool", "function", "function_call", "observation", "tool_call", "tool_response", "ipython")
_TOOL_KEYS = ("tool_calls", "function_call", "tool_call_id")


class _BadRowError(Exception):
    """A row that cannot be converted: the field, and what, why, remedy."""

    def __init__(self, place: str, what: str, why: str, remedy: str) -> None:
        super().__init__(what)
        self.place, self.what, self.why, self.remedy = place, what, why, remedy


def convert(row: Row, shape: Shape) -> Conversation | Problem:
    """The row in canonical form, or the problem, with the place of the row and the field. Never raises."""
    if row.value is None:
        return row.problem or Problem("the row is empty", row.where, "it holds nothing", "remove it")
    found = refusal(row.value)
    if found is not None:
        return Problem(f"this row is one of {found.name}", row.where, found.why, found.remedy)
    try:
        messages = _messages(row.value, shape)
    except _BadRowError as bad:
        return Problem(bad.what, f"{row.where} {bad.place}", bad.why, bad.remedy)
    used = set(shape.mapping.values())
    extra = {name: value for name, value in row.value.items() if name not in used}
    plain = shape.name == PROMPT_COMPLETION and isinstance(row.value[shape.mapping["prompt"]], str)
    return Conversation(row.number, messages, extra, completion_only=plain)


def load(source: str, *, limit: int | None = None, held_out: bool = False) -> tuple[list[Conversation], list[Problem]]:
    """All rows of a file (at most `limit`) in canonical form, and the problems of those that have none.

    FtError when the file cannot be opened or its shape is not known. `held_out` matters for `demo` only.
    """
    rows = open_rows(source, held_out=held_out)
    shape = recognise(rows.head())
    return convert_all(islice(rows.rows(), limit), shape)


def convert_all(rows: Iterable[Row], shape: Shape) -> tuple[list[Conversation], list[Problem]]:
    """Rows in canonical form, and the problems of those that have none."""
    conversations: list[Conversation] = []
    problems: list[Problem] = []
    for row in rows:
        converted = convert(row, shape)
        if isinstance(converted, Problem):
            problems.append(converted)
        else:
            conversations.append(converted)
    return conversations, problems


T = TypeVar("T", bound=Conversation)


def split(conversations: Sequence[T], share: float, seed: int) -> tuple[list[T], list[T]]:
    """Part rows into (training, held out): `share` of them, at least one of two or more, chosen by the seed.

    Both keep the order of the file. A row's place depends on seed and row number alone, so that a file that has
    grown keeps nearly the same rows held out; the same on every machine and version of Python.
    """
    count = min(max(1, round(len(conversations) * share)), len(conversations) - 1) if share > 0 else 0
    ranked = sorted(range(len(conversations)), key=lambda i: _rank(seed, conversations[i].number))
    chosen = set(ranked[: max(count, 0)])
    train = [item for i, item in enumerate(conversations) if i not in chosen]
    return train, [conversations[i] for i in sorted(chosen)]


def _rank(seed: int, number: int) -> bytes:
    return hashlib.sha256(f"{seed}:{number}".encode()).digest()


def _messages(value: dict[str, object], shape: Shape) -> tuple[Message, ...]:
    if value.get("tools"):
        raise _BadRowError(
            "tools", "the row defines tools", "training on tool calls is not offered yet", "remove the row"
        )
    if shape.name == PROMPT_COMPLETION:
        messages = _prompt_completion(value, shape.mapping)
    elif shape.name == ALPACA:
        messages = _alpaca(value, shape.mapping)
    else:
        column = shape.mapping.get("messages") or shape.mapping["conversations"]
        messages = _system(value, shape.mapping) + _turns(_get(value, column), column)
    return _checked(messages)


def _get(value: dict[str, object], column: str) -> object:
    if value.get(column) is None:
        raise _BadRowError(column, f"the field `{one_line(column, 40)}` is missing", "the other rows have it", _FILL)
    return value[column]


_FILL = "fill it in, or remove the row"
_NO_TOOLS = "training on tool calls is not offered yet"


def _text(value: object, place: str) -> str:
    """A text as it stands; FtError's makings when it is none, or cannot be written in UTF-8."""
    if isinstance(value, list):
        return "".join(_part(part, f"{place}[{i}]") for i, part in enumerate(value))
    if not isinstance(value, str):
        kind = "missing" if value is None else f"of the kind {type(value).__name__}"
        raise _BadRowError(place, f"the text is {kind}", "only text can be learnt", _FILL)
    try:
        value.encode()
    except UnicodeEncodeError:
        why = "it holds half of a two-part character (a lone \\ud8.. escape)"
        raise _BadRowError(place, "the text is not valid Unicode", why, "mend the text, or remove the row") from None
    return value


def _part(part: object, place: str) -> str:
    if isinstance(part, str):
        return _text(part, place)
    return _text(part.get("text") if isinstance(part, dict) else part, place)


def _optional(value: dict[str, object], mapping: dict[str, str], part: str) -> str:
    column = mapping.get(part)
    return "" if column is None or value.get(column) is None else _text(value[column], column)


def _system(value: dict[str, object], mapping: dict[str, str]) -> tuple[Message, ...]:
    text = _optional(value, mapping, "system")
    return (Message("system", text),) if text.strip() else ()


def _alpaca(value: dict[str, object], mapping: dict[str, str]) -> tuple[Message, ...]:
    question = _text(_get(value, mapping["instruction"]), mapping["instruction"])
    more = _optional(value, mapping, "input")
    answer = _text(_get(value, mapping["output"]), mapping["output"])
    asked = "\n\n".join(text for text in (question, more) if text.strip())
    if not asked:
        raise _BadRowError(
            mapping["instruction"], "the question is empty", "an answer needs something it answers", _FILL
        )
    if not answer.strip():
        raise _empty_answer(mapping["output"])
    return (*_system(value, mapping), *_history(value, mapping), Message("user", asked), Message("assistant", answer))


def _history(value: dict[str, object], mapping: dict[str, str]) -> tuple[Message, ...]:
    """Earlier exchanges of an alpaca row: a list of pairs [question, answer]."""
    column = mapping.get("history", "")
    pairs = value.get(column) or []
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise _BadRowError(column, "the history is no list of pairs", "it has to be [[question, answer], ...]", _FILL)
    return tuple(
        Message(role, _text(pair[j], f"{column}[{i}][{j}]"))
        for i, pair in enumerate(pairs)
        for j, role in enumerate(("user", "assistant"))
    )


def _prompt_completion(value: dict[str, object], mapping: dict[str, str]) -> tuple[Message, ...]:
    prompt, completion = _get(value, mapping["prompt"]), _get(value, mapping["completion"])
    if isinstance(prompt, str) and isinstance(completion, str):
        if not completion.strip():
            raise _empty_answer(mapping["completion"])
        return Message("user", _text(prompt, "prompt")), Message("assistant", _text(completion, "completion"))
    if isinstance(prompt, str) or isinstance(completion, str):
        why = "one is a text and the other a list of messages"
        raise _BadRowError("prompt", "prompt and completion do not fit together", why, "write both in the same way")
    asked = tuple(Message(turn.role, turn.content, trained=False) for turn in _turns(prompt, "prompt"))
    return asked + _turns(completion, "completion")


def _turns(value: object, column: str) -> tuple[Message, ...]:
    keys = turn_keys(value)
    if keys is None or not isinstance(value, list):
        why = 'it has to be a list of turns such as {"role": "user", "content": "..."}'
        raise _BadRowError(column, "this is no conversation", why, _FILL)
    if keys == ("human", "assistant"):
        value = [{"role": role, "content": pair.get(role)} for pair in value for role in keys if isinstance(pair, dict)]
        keys = ("role", "content")
    return tuple(_turn(turn, keys, f"{column}[{i}]") for i, turn in enumerate(value))


def _turn(turn: object, keys: tuple[str, str], place: str) -> Message:
    if not isinstance(turn, dict):
        raise _BadRowError(place, "this turn is no object", f"a turn has `{keys[0]}` and `{keys[1]}`", _FILL)
    name = turn.get(keys[0])
    if name in _TOOL_ROLES or any(turn.get(key) for key in _TOOL_KEYS):
        raise _BadRowError(
            place, "the row holds tool calls", "training on tool calls is not offered yet", "remove the row"
        )
    if not isinstance(name, str) or name.lower() not in _ROLES:
        what = f"the role `{one_line(str(name), 30)}` is not known"
        raise _BadRowError(
            f"{place}.{keys[0]}", what, "roles are system, user (human) and assistant (gpt)", "rename the role"
        )
    role = _ROLES[name.lower()]
    content = _text(turn.get(keys[1]), f"{place}.{keys[1]}")
    if role == "assistant" and not content.strip():
        raise _empty_answer(f"{place}.{keys[1]}")
    return Message(role, content, trained=_is_trained(turn, place))


def _is_trained(turn: dict[str, object], place: str) -> bool:
    weight = turn.get("weight", turn.get("loss_weight"))
    if weight is None or weight in (0, 1):
        return weight is None or bool(weight)
    raise _BadRowError(
        place, "the turn has a weight between or beyond 0 and 1", "a turn is learnt or not", "use 0 or 1"
    )


def _empty_answer(place: str) -> _BadRowError:
    return _BadRowError(place, "the answer is empty", "there is nothing to learn but to say nothing", _FILL)


def _checked(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages, after their order was checked: a system turn first, then user and assistant in turns."""
    for i, turn in enumerate(messages):
        if turn.role == "system" and i > 0:
            raise _order(i, "a system turn stands behind other turns", "move it to the start, or merge it")
    dialogue = [(i, turn) for i, turn in enumerate(messages) if turn.role != "system"]
    if not dialogue:
        raise _order(0, "the conversation has no turns", _FILL)
    for expected, (i, turn) in zip(_alternating(), dialogue, strict=False):
        if turn.role != expected:
            first = (
                "the conversation begins with the assistant" if i == dialogue[0][0] else f"two {turn.role} turns meet"
            )
            raise _order(i, first, "add the missing turn, or merge the two" if i else "add the user's turn before it")
    if dialogue[-1][1].role != "assistant":
        raise _order(dialogue[-1][0], "the last turn has no answer", "add the assistant's answer, or remove the turn")
    return messages


def _alternating() -> Iterable[str]:
    while True:
        yield from ("user", "assistant")


def _order(index: int, what: str, remedy: str) -> _BadRowError:
    return _BadRowError(f"turn {index + 1}", what, "user and assistant have to take turns, the assistant last", remedy)
