"""Parts of a turn's content as other services write them: calls, tools' answers, reasoning, text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

REASONING_PARTS: Final = ("reasoning", "thinking")
CALL_PARTS: Final = ("tool_call", "function_call")


def call_of(part: dict[str, object]) -> object | None:
    """The call that a part is, as it stands; None where it is none.

    Anthropic writes `{"type": "tool_use", "name", "input"}`, Gemini `{"functionCall": {"name", "args"}}`.
    """
    if part.get("type") in CALL_PARTS:
        return part.get("value", part.get("text"))
    if part.get("type") == "tool_use":
        return {"name": part.get("name"), "arguments": part.get("input")}
    for key in ("functionCall", "function_call"):
        inner = part.get(key)
        if isinstance(inner, dict):
            return {"name": inner.get("name"), "arguments": inner.get("args", inner.get("arguments"))}
    return None


def in_turns(turn: object, keys: tuple[str, str]) -> Iterator[object]:
    """The turn, or the turns it comes to where tools' answers are parts of it: each of them one of its own."""
    who, key = keys
    parts = turn.get(key) if isinstance(turn, dict) else None
    if not isinstance(turn, dict) or not isinstance(parts, list) or not any(map(_answer_of, parts)):
        yield turn
        return
    for part in parts:
        answer = _answer_of(part)
        if answer is not None:
            yield {who: "tool", key: answer[0], "name": answer[1]}
    rest = [part for part in parts if _answer_of(part) is None]
    if rest:
        yield {**turn, key: rest}


def _answer_of(part: object) -> tuple[object, object] | None:
    """What a tool answered, and the tool's name where it is given; None of another part."""
    if not isinstance(part, dict):
        return None
    if part.get("type") == "tool_result":
        return part.get("content") or "", None
    for key in ("functionResponse", "function_response"):
        inner = part.get(key)
        if isinstance(inner, dict):
            return inner.get("response") or "", inner.get("name")
    return None
