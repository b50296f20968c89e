"""Turns as files write them (OpenAI messages, ShareGPT, pairs, plain transcripts) made into canonical messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Final

from finetune_core.data.rows import Message, Role, ToolCall
from finetune_core.data.shapes.columns import PAIR_KEYS, listed, turn_keys
from finetune_core.data.shapes.parts import CALL_PARTS, REASONING_PARTS, call_of, in_turns
from finetune_core.text import one_line

FILL: Final = "fill it in, or remove the row"
_ROLES: Final[dict[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "input": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "output": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "tool_response": "tool",
    "ipython": "tool",
}
_CALLING: Final = ("function_call", "tool_call")
_REASONING: Final = ("reasoning_content", "reasoning", "thinking")
_TRANSCRIPT: Final = re.compile(r"(?:^|\n\n+)(Human|HUMAN|User|USER|Assistant|ASSISTANT):\s?")


class BadRowError(Exception):
    """A row that cannot be converted: kind of finding, field, and what, why, remedy in words."""

    def __init__(self, kind: str, field: str, what: str, why: str, remedy: str = FILL) -> None:
        super().__init__(what)
        self.kind, self.field, self.what, self.why, self.remedy = kind, field, what, why, remedy


def text_of(value: object, field: str) -> str:
    """A text as it stands, or the texts of a list of parts joined. BadRowError when it is none."""
    if isinstance(value, dict) and isinstance(value.get("parts"), list):
        value = value["parts"]
    if isinstance(value, list):
        return "".join(_part(part, f"{field}[{i}]") for i, part in enumerate(value))
    if not isinstance(value, str):
        kind = "missing" if value is None else f"of the kind {type(value).__name__}"
        raise BadRowError("wrong-type", field, f"the text is {kind}", "only text can be trained")
    try:
        value.encode()
    except UnicodeEncodeError:
        why = "it holds half of a two-part character (a lone \\ud8.. escape)"
        remedy = "mend the text, or remove the row"
        raise BadRowError("wrong-type", field, "the text is not valid Unicode", why, remedy) from None
    return value


def _part(part: object, field: str) -> str:
    if not isinstance(part, dict):
        return text_of(part, field)
    if part.get("type") in (*REASONING_PARTS, *CALL_PARTS) or call_of(part) is not None:
        return ""
    return text_of(part.get("text", part.get("value")), field)


def turns_of(value: object, column: str) -> tuple[Message, ...]:
    """A list of turns in any of the known forms. BadRowError when it is none."""
    value = listed(value)
    keys = turn_keys(value)
    if keys is None or not isinstance(value, list):
        why = 'it has to be a list of turns such as {"role": "user", "content": "..."}'
        raise BadRowError("wrong-type", column, "this is no conversation", why)
    if keys in PAIR_KEYS:
        pairs = [pair for pair in value if isinstance(pair, dict)]
        system = [{"role": "system", "content": pair["system"]} for pair in pairs[:1] if pair.get("system")]
        value = system + [{"role": role, "content": pair.get(role)} for pair in pairs for role in keys]
        keys = ("role", "content")
    parts = [(i, part) for i, turn in enumerate(value) for part in in_turns(turn, keys)]
    return tuple(_turn(part, keys, f"{column}[{i}]") for i, part in parts)


def turn_or_turns(value: object, column: str) -> tuple[Message, ...]:
    """What may stand for a side of a pair: a text (an answer), one turn, turns, or a transcript."""
    if isinstance(value, str):
        return transcript(value) or (Message("assistant", answer_text(value, column)),)
    return turns_of([value] if isinstance(value, dict) else value, column)


def transcript(text: str) -> tuple[Message, ...]:
    """The turns of a text of the form `Human: ... Assistant: ...`, each after a blank line; none when it is no such.

    A text that ends with `Assistant:` is a prompt: the answer is not in it.
    """
    parts = _TRANSCRIPT.split(text)
    if len(parts) < 5 or parts[0].strip() or _ROLES[parts[1].lower()] != "user":
        return ()
    said = zip(parts[1::2], parts[2::2], strict=True)
    turns = tuple(Message(_ROLES[name.lower()], words.strip()) for name, words in said)
    return turns if turns[-1].content or turns[-1].role == "user" else turns[:-1]


def answer_text(value: object, field: str) -> str:
    """The text of an answer, which has to say something."""
    text = text_of(value, field)
    if not text.strip():
        raise empty_answer(field)
    return text


def empty_answer(field: str) -> BadRowError:
    """An answer without words."""
    return BadRowError("missing-answer", field, "the answer is empty", "there is nothing to learn but to say nothing")


def _turn(turn: object, keys: tuple[str, str], field: str) -> Message:
    if not isinstance(turn, dict):
        raise BadRowError("wrong-type", field, "this turn is no object", f"a turn has `{keys[0]}` and `{keys[1]}`")
    name = turn.get(keys[0])
    role = _ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        what = f"the role `{one_line(str(name), 30)}` is not known"
        why = "roles are system, user (human), assistant (gpt) and tool"
        raise BadRowError("unknown-role", f"{field}.{keys[0]}", what, why, "rename the role")
    content = turn.get(keys[1])
    if role == "assistant":
        return _assistant(turn, str(name).lower(), content, f"{field}.{keys[1]}", field)
    tool = turn.get("name") if role == "tool" else None
    return Message(role, _tool_text(content, field, keys[1], role), name=tool if isinstance(tool, str) else "")


def _tool_text(content: object, field: str, key: str, role: str) -> str:
    if role == "tool" and content is None:
        return ""
    if role == "tool" and isinstance(content, dict):
        return json.dumps(content, ensure_ascii=False)
    return text_of(content, f"{field}.{key}")


def _assistant(turn: Mapping[str, object], name: str, content: object, place: str, field: str) -> Message:
    calls = _called(content, place) if name in _CALLING else _calls(turn, field) + _call_parts(content, place)
    wordless = name in _CALLING or (content is None and calls)
    text = "" if wordless else text_of(content, place)
    reasoning = _reasoning(turn, content, field)
    if not text.strip() and not calls:
        raise empty_answer(place)
    return Message("assistant", text, trained=_is_trained(turn, field), reasoning=reasoning, tool_calls=calls)


def _reasoning(turn: Mapping[str, object], content: object, field: str) -> str:
    for name in _REASONING:
        if turn.get(name):
            return text_of(turn[name], f"{field}.{name}")
    if not isinstance(content, list):
        return ""
    parts = [part for part in content if isinstance(part, dict) and part.get("type") in REASONING_PARTS]
    return "".join(text_of(part.get("text", part.get("value", part.get(str(part["type"])))), field) for part in parts)


def _is_trained(turn: Mapping[str, object], field: str) -> bool:
    if turn.get("masked") is not None:
        return not _is_on(turn["masked"], field)
    weight = next((turn[name] for name in ("weight", "loss_weight", "train", "loss") if turn.get(name) is not None), 1)
    return _is_on(weight, field)


def _is_on(weight: object, field: str) -> bool:
    known = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}.get(str(weight).lower())
    if known is not None:
        return known
    what, why = "the turn has a weight between or beyond 0 and 1", "a turn is trained or not"
    raise BadRowError("wrong-type", field, what, why, "use 0 or 1")


# Tools


def tools_of(value: object, column: str) -> tuple[dict[str, object], ...]:
    """The functions a row offers: a list of JSON schemas, or that list as a text. BadRowError when it is neither."""
    listed = _from_json(value, column) if isinstance(value, str) else value
    if not listed:
        return ()
    if not isinstance(listed, list) or not all(isinstance(tool, dict) for tool in listed):
        raise _bad_tool(column, "the tools are no list of objects", "each tool is a JSON schema with a name")
    return tuple(_tool(tool, f"{column}[{i}]") for i, tool in enumerate(listed))


def _tool(tool: dict[str, object], field: str) -> dict[str, object]:
    inner = tool.get("function", tool)
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        raise _bad_tool(field, "the tool has no name", 'it has to be {"name": ..., "parameters": {...}}')
    if "input_schema" in tool:
        tool = {("parameters" if name == "input_schema" else name): held for name, held in tool.items()}
    return tool if "function" in tool else {"type": "function", "function": tool}


def _calls(turn: Mapping[str, object], field: str) -> tuple[ToolCall, ...]:
    listed = turn.get("tool_calls")
    if isinstance(listed, str):
        listed = _from_json(listed, f"{field}.tool_calls")
    if listed is None and turn.get("function_call"):
        listed = [turn["function_call"]]
    if not listed:
        return ()
    if not isinstance(listed, list):
        raise _bad_tool(f"{field}.tool_calls", "the calls are no list", 'each has to be {"name": ..., "arguments": {}}')
    return tuple(_call(call, f"{field}.tool_calls[{i}]") for i, call in enumerate(listed))


def _call_parts(content: object, field: str) -> tuple[ToolCall, ...]:
    """The calls among the parts of a turn."""
    parts = content if isinstance(content, list) else []
    found = [call_of(part) for part in parts if isinstance(part, dict)]
    return tuple(call for one in found if one is not None for call in _called(one, field))


def answer_or_calls(value: object, field: str) -> Message:
    """An answer where tools are offered: the calls, where the text is a JSON list of them, else its words."""
    text = answer_text(value, field)
    try:
        calls = json.loads(text)
    except (ValueError, RecursionError):
        calls = None
    if isinstance(calls, list) and calls and all(isinstance(call, dict) and "name" in call for call in calls):
        return Message("assistant", "", tool_calls=_called(text, field))
    return Message("assistant", text)


def _called(content: object, field: str) -> tuple[ToolCall, ...]:
    """The calls of a turn whose whole content is a call, or a list of calls, as a text or as it stands."""
    value = _from_json(content, field) if isinstance(content, str) else content
    calls = value if isinstance(value, list) else [value]
    if not calls:
        raise empty_answer(field)
    return tuple(_call(call, field) for call in calls)


def _call(call: object, field: str) -> ToolCall:
    inner = call.get("function", call) if isinstance(call, dict) else None
    name = inner.get("name") if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or not isinstance(name, str) or not name:
        raise _bad_tool(field, "the call names no function", 'a call is {"name": ..., "arguments": {...}}')
    arguments = inner.get("arguments", inner.get("parameters"))
    if isinstance(arguments, str):
        arguments = _from_json(arguments, f"{field}.arguments") if arguments.strip() else {}
    if not isinstance(arguments, dict | None):
        raise _bad_tool(f"{field}.arguments", "the arguments are no object", "they are names with values")
    return ToolCall(name, dict(arguments or {}))


def _from_json(text: object, field: str) -> object:
    try:
        return json.loads(str(text))
    except (ValueError, RecursionError) as error:
        raise _bad_tool(field, "this is not JSON", one_line(str(error), 120)) from None


def _bad_tool(field: str, what: str, why: str) -> BadRowError:
    return BadRowError("invalid-tool-json", field, what, why, "mend it, or remove the row")


# The order of turns

_ANY_ORDER = "the order of turns is system, then user and assistant in turns, tools' answers after a call"


def checked(messages: tuple[Message, ...], fixes: Mapping[str, str], *, answered: bool = True) -> tuple[Message, ...]:
    """The messages in a right order, mended as `fixes` allow; with `answered`, the assistant speaks last.

    `role-order: merge` joins neighbouring turns of one role, `no-assistant-end: trim` takes unanswered turns from the
    end. BadRowError names the turn (from 1) that stands wrong.
    """
    if fixes.get("role-order") == "merge":
        messages = tuple(merged_turns(messages))
    if answered and fixes.get("no-assistant-end") == "trim":
        last = max((i for i, turn in enumerate(messages) if turn.role == "assistant"), default=-1)
        messages = messages[: last + 1] or messages
    dialogue = [(i, turn) for i, turn in enumerate(messages) if turn.role != "system"]
    if not dialogue:
        raise _order(0, "the conversation has no turns", FILL)
    for i, turn in enumerate(messages):
        _check_place(messages, i, turn)
    if answered and dialogue[-1][1].role != "assistant":
        why, remedy = "what is trained is the assistant's answer", "add the assistant's answer, or remove the turn"
        field = f"turn {dialogue[-1][0] + 1}"
        raise BadRowError("no-assistant-end", field, "the last turn has no answer", why, remedy)
    return messages


def _check_place(messages: tuple[Message, ...], i: int, turn: Message) -> None:
    """Whether a turn may follow the one before it."""
    before = messages[i - 1].role if i else "system"
    if turn.role == "system" and i > 0:
        raise _order(i, "a system turn stands behind other turns", "move it to the start, or merge it")
    if before == "system" and turn.role not in ("user", "system"):
        raise _order(i, f"the conversation begins with the {turn.role}", "add the user's turn before it")
    if turn.role == before and turn.role in ("user", "assistant"):
        raise _order(i, f"two {turn.role} turns meet", "add the missing turn, or merge the two")
    if turn.role == "tool" and before not in ("assistant", "tool"):
        raise _order(i, "a tool answers that nobody called", "put the assistant's call before it")
    if turn.role == "user" and before == "tool":
        raise _order(i, "a tool's answer is not taken up", "add the assistant's turn behind it")


def merged_turns(messages: Iterable[Message]) -> Iterable[Message]:
    """The turns with neighbours of one role joined, a blank line between them; answers of tools stay apart."""
    held: Message | None = None
    for turn in messages:
        if held is not None and held.role == turn.role and turn.role != "tool":
            content = "\n\n".join(text for text in (held.content, turn.content) if text)
            reasoning = "\n\n".join(text for text in (held.reasoning, turn.reasoning) if text)
            trained, calls = held.trained and turn.trained, held.tool_calls + turn.tool_calls
            held = Message(turn.role, content, trained, reasoning, calls)
            continue
        if held is not None:
            yield held
        held = turn
    if held is not None:
        yield held


def _order(index: int, what: str, remedy: str) -> BadRowError:
    return BadRowError("role-order", f"turn {index + 1}", what, _ANY_ORDER, remedy)
