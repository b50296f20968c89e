"""Which shape one row has by itself, inferred from the names of its columns and from what they hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from finetune_core.data.shapes.labels import grade
from finetune_core.data.shapes.paths import value_at
from finetune_core.data.shapes.refusals import MULTIMODAL, ONE_TURN, TOKENISED, TREE, Refusal

MESSAGES, ALPACA, SHAREGPT, PROMPT_COMPLETION = "messages", "alpaca", "sharegpt", "prompt-completion"
PREFERENCE, UNPAIRED, PROMPT_ONLY, TEXT = "preference", "unpaired-preference", "prompt-only", "text"

# Shapes of rows that hold answers to be trained.
ANSWER_SHAPES = (MESSAGES, SHAREGPT, ALPACA, PROMPT_COMPLETION)

Value = Mapping[str, object]

# Columns of question and answer that make one exchange, the commonest first.
_EXCHANGES = (
    ("instruction", "output"),
    ("instruction", "response"),
    ("instruction", "answer"),
    ("instruction", "completion"),
    ("question", "answer"),
    ("question", "response"),
    ("question", "solution"),
    ("query", "response"),
    ("query", "answer"),
    ("query", "answers"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("prompt", "output"),
    ("problem", "solution"),
    ("problem", "answer"),
    ("input", "output"),
    ("input", "target"),
    ("inputs", "targets"),
    ("user", "assistant"),
    ("context", "response"),
    ("article", "highlights"),
    ("article", "summary"),
    ("document", "summary"),
    ("dialogue", "summary"),
    ("text", "summary"),
    ("content", "summary"),
)
# What earlier turns beside a question and its answer are called.
HISTORIES = ("history", "conversation_history", "chat_history", "previous_messages", "message_history")
_SYSTEM = (
    ("system", "system"),
    ("system", "system_prompt"),
    ("system", "systemInstruction"),
    ("system", "system_instruction"),
)
_OPTIONAL = {
    ALPACA: (
        ("input", "input"),
        ("input", "context"),
        ("system", "system"),
        ("system", "system_prompt"),
        *(("history", name) for name in HISTORIES),
        ("tools", "tools"),
    ),
    MESSAGES: (*_SYSTEM, ("tools", "tools"), ("tools", "functions")),
    SHAREGPT: (*_SYSTEM, ("tools", "tools"), ("tools", "functions")),
    PROMPT_COMPLETION: _SYSTEM,
    PREFERENCE: (("input", "input"), ("system", "system")),
    UNPAIRED: (("input", "input"), ("system", "system")),
    PROMPT_ONLY: (("system", "system"),),
}
CONVERSATIONS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat")
_NO_CONVERSATIONS = (
    *("prompt", "tools", "functions", "chosen", "rejected", "input", "output", "examples", "few_shot", "tools_used"),
    *HISTORIES,
)
# Columns of answers to a prompt that is a list of turns.
_COMPLETIONS = ("completion", "response", "output", "answer", "ideal", "reply", "target", "expected", "expected_output")
PAIRS = (
    ("chosen", "rejected"),
    ("chosen_messages", "rejected_messages"),
    ("response_j", "response_k"),
    ("chosen_response", "rejected_response"),
    ("response_chosen", "response_rejected"),
    ("preferred", "dispreferred"),
    ("chosen_conversations", "rejected_conversations"),
    ("preferred_output", "non_preferred_output"),
    ("messages", "rejected_response"),
)
_PROMPTS = ("prompt", "question", "instruction", "query", "problem", "input", *CONVERSATIONS)
ASKING = ("prompt", "question", "instruction", "query", "problem", "input")
LABELS = ("label", "kto_tag", "desirable")
# What columns of answers are called.
ANSWERING = (
    "output", "response", "answer", "completion", "solution", "answers", "target", "targets", "assistant", "highlights",
    "summary", "reply",
)  # fmt: skip
TEXTS = ("text", "content", "raw_content", "document", "body", "article")
_MEDIA = ("image", "images", "video", "videos", "audio", "audios", "pixel_values")
_MEDIA_MARKS = ("<image>", "<video>", "<audio>", "<|vision_start|>", "<|image_pad|>", "</img>")
_TOKENS = ("input_ids", "token_ids")
_TURN_KEYS = (
    ("role", "content"),
    ("from", "value"),
    ("from", "content"),
    ("role", "value"),
    ("role", "text"),
    ("from", "text"),
    ("speaker", "text"),
    ("role", "parts"),
)
PAIR_KEYS = (("human", "assistant"), ("user", "assistant"), ("input", "output"))
_ASKING_ROLES = ("user", "human", "system", "developer", "prompter", "tool", "function")
_ANSWERING = ("assistant", "gpt", "model", "bot", "chatgpt", "bing", "bard", "function_call", "tool_call")


@dataclass(frozen=True)
class Reading:
    """A shape's name, and which column plays which part, as one row shows it."""

    name: str
    mapping: tuple[tuple[str, str], ...]


def read(value: Value) -> Reading | Refusal | None:
    """What one row is; None when it is of no known shape. Names of columns count whatever their case."""
    found = _read(value)
    if found is not None or all(name == name.lower() for name in value):
        return found
    names = {name.lower(): name for name in reversed(list(value))}
    lowered = _read({name: value[own] for name, own in names.items()})
    if not isinstance(lowered, Reading):
        return lowered
    return Reading(lowered.name, tuple((part, names[column]) for part, column in lowered.mapping))


def _read(value: Value) -> Reading | Refusal | None:
    return refusal(value) or _preference(value) or _unpaired(value) or answered(value) or _asking(value) or _text(value)


def refusal(value: Value) -> Refusal | None:
    """Why a row cannot be trained on whatever its shape; None when nothing speaks against it."""
    if any(is_tokens(value.get(name)) for name in _TOKENS):
        return TOKENISED
    if "parent_id" in value and isinstance(value.get("text"), str) and value.get("role") in ("prompter", "assistant"):
        return TREE
    speaks = str(value.get("role")).strip().lower() in (*_ANSWERING, *_ASKING_ROLES)
    if speaks and isinstance(value.get("content"), str) and not _more_than_a_turn(value):
        return ONE_TURN
    media = any(value.get(name) for name in _MEDIA) or any(map(_holds_media, value.values()))
    return MULTIMODAL if media else None


def _more_than_a_turn(value: Value) -> bool:
    """Whether a row with a role has an answer or a conversation besides."""
    return any(name in value for name in (*CONVERSATIONS, *ANSWERING, *(good for good, _ in PAIRS)))


def is_preference(value: Value) -> bool:
    """Whether a row holds a better and a worse answer."""
    return _preference(value) is not None


def bad_label(value: Value, mapping: Mapping[str, str]) -> bool:
    """Whether a label beside the row's answer, or the column of the part `label`, calls the answer a bad one."""
    if "label" in mapping and grade(value_at(value, mapping["label"])) is False:
        return True
    return any(value.get(name) is False for name in LABELS if name not in mapping.values())


def turn_keys(value: object) -> tuple[str, str] | None:
    """The names for who and what in a list of turns, such as (role, content); None when it is no list of turns.

    One of `PAIR_KEYS` stands for the old form in which each turn is a pair {"human": ..., "assistant": ...}.
    """
    value = listed(value)
    if not isinstance(value, list) or not value or not isinstance(first := value[0], dict):
        return None
    for keys in (*_TURN_KEYS, *PAIR_KEYS):
        if keys[0] in first and keys[1] in first:
            return keys
    return ("role", "content") if "role" in first else None


def listed(value: object) -> object:
    """Turns that are written otherwise as a list: JSON in a text, or an object of two lists of the same length."""
    if isinstance(value, str) and value.lstrip()[:1] == "[" and any(f'"{who}"' in value[:400] for who, _ in _TURN_KEYS):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    if isinstance(value, dict):
        for keys in _TURN_KEYS:
            columns = [value.get(name) for name in keys]
            if all(isinstance(one, list) and one for one in columns) and len({len(one) for one in columns}) == 1:  # type: ignore[arg-type]
                return [dict(zip(value, row, strict=False)) for row in zip(*value.values(), strict=False)]
    return value


def optional_parts(reading: Reading, values: list[Value]) -> dict[str, str]:
    """Parts a row of this shape may have besides, each with the column that any row fills."""
    taken = {column for _, column in reading.mapping}
    parts = {part for part, _ in reading.mapping}
    found: dict[str, str] = {}
    for part, column in _OPTIONAL.get(reading.name, ()):
        free = part not in found and part not in parts and column not in taken
        if free and any(value.get(column) for value in values):
            found[part] = column
    return found


def is_tokens(value: object) -> bool:
    """Whether a value is a list of token ids."""
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value[:8])


def _preference(value: Value) -> Reading | None:
    for good, bad in PAIRS:
        if _is_answer(value.get(good)) and _is_answer(value.get(bad)):
            return Reading(PREFERENCE, (*_prompt(value), ("chosen", good), ("rejected", bad)))
    exchange = _exchange(value)
    if exchange is not None and _are_two_texts(value[exchange[1]]):
        return Reading(PREFERENCE, (("prompt", exchange[0]), ("pair", exchange[1])))
    return None


def _prompt(value: Value) -> tuple[tuple[str, str], ...]:
    """The column the prompt of a preference pair stands in; none where the answers hold it."""
    found = [name for name in _PROMPTS if _is_text_or_turns(value.get(name))]
    return (("prompt", found[0]),) if found else ()


def _unpaired(value: Value) -> Reading | None:
    label = next((name for name in LABELS if isinstance(value.get(name), bool)), None)
    reading = answered(value) if label is not None else None
    if label is None or reading is None:
        return None
    if reading.name == ALPACA:
        columns = dict(reading.mapping)
        return Reading(
            UNPAIRED, (("prompt", columns["instruction"]), ("completion", columns["output"]), ("label", label))
        )
    parts = tuple(("messages" if part == "conversations" else part, column) for part, column in reading.mapping)
    return Reading(UNPAIRED, (*parts, ("label", label)))


def answered(value: Value) -> Reading | None:
    """A row of questions and answers by itself, whatever labels stand beside them."""
    if _is_text_or_turns(value.get("prompt")) and _is_text_or_turns(value.get("completion")):
        return Reading(PROMPT_COMPLETION, (("prompt", "prompt"), ("completion", "completion")))
    if (completed := _completed(value)) is not None:
        return completed
    column = _conversation(value)
    if column is not None and column not in CONVERSATIONS and _exchange(value) is not None:
        # Any list of turns may stand beside a question and its answer.
        column = None
    if column is not None and _is_answered(value[column]):
        keys = turn_keys(value[column]) or ("", "")
        if keys[0] == "role":
            return Reading(MESSAGES, (("messages", column),))
        return Reading(SHAREGPT, (("conversations", column),))
    exchange = _exchange(value)
    return Reading(ALPACA, (("instruction", exchange[0]), ("output", exchange[1]))) if exchange else None


def _completed(value: Value) -> Reading | None:
    """A prompt of turns that end with a question, and its answer in a column beside."""
    for asking in _PROMPTS:
        turns = listed(within(value.get(asking)))
        keys = turn_keys(turns)
        if keys is None or keys in PAIR_KEYS or not isinstance(turns, list) or _answers(turns[-1], keys[0]):
            continue
        answer = next((name for name in _COMPLETIONS if name != asking and _is_text_or_turns(value.get(name))), None)
        if answer is not None:
            return Reading(PROMPT_COMPLETION, (("prompt", asking), ("completion", answer)))
    return None


def _answers(turn: object, who: str) -> bool:
    return isinstance(turn, dict) and str(turn.get(who)).strip().lower() in _ANSWERING


def _conversation(value: Value) -> str | None:
    found = _with_turns(value)
    return next((name for name in found if _is_answered(value[name])), found[0] if found else None)


def conversations(value: Value) -> list[str]:
    """The columns that hold turns with answers, those named so first."""
    return [name for name in _with_turns(value) if _is_answered(value[name])]


def _with_turns(value: Value) -> list[str]:
    named = [name for name in CONVERSATIONS if name in value and turn_keys(value[name]) is not None]
    # Lists of inputs and outputs are examples or instances as often as conversations: there the name decides.
    others = [
        name
        for name in value
        if name not in (*_NO_CONVERSATIONS, *named) and turn_keys(value[name]) not in (None, ("input", "output"))
    ]
    return [*named, *others]


def _exchange(value: Value) -> tuple[str, str] | None:
    for question, answer in _EXCHANGES:
        if isinstance(value.get(question), str) and answer in value and _may_be_answer(value[answer]):
            return question, answer
    return None


def _may_be_answer(value: object) -> bool:
    return value is None or isinstance(value, str | list | int | float | dict)


def _asking(value: Value) -> Reading | None:
    if isinstance(value.get("instances"), list):
        # The answers lie deeper: an instruction with its examples is no prompt alone.
        return None
    column = next((name for name in ASKING if _is_text_or_turns(value.get(name))), None) or _conversation(value)
    return Reading(PROMPT_ONLY, (("prompt", column),)) if column else None


def _text(value: Value) -> Reading | None:
    column = next((name for name in TEXTS if isinstance(value.get(name), str)), None)
    return Reading(TEXT, (("text", column),)) if column else None


def _is_answered(turns: object) -> bool:
    """Whether any turn is an assistant's, or the turns are pairs."""
    keys, turns = turn_keys(turns), listed(turns)
    if keys is None or not isinstance(turns, list) or keys in PAIR_KEYS:
        return keys is not None
    return any(_answers(turn, keys[0]) for turn in turns)


def _is_text_or_turns(value: object) -> bool:
    return isinstance(value, str) or turn_keys(within(value)) is not None


def within(value: object) -> object:
    """The turns of an object {"messages": [...]}, as OpenAI's preference files hold their prompts; else the value."""
    return value["messages"] if isinstance(value, dict) and "messages" in value else value


def _is_answer(value: object) -> bool:
    """Whether a value can be one side of a pair: a text, a turn, or turns."""
    return _is_text_or_turns(value) or turn_keys([value]) is not None


def _are_two_texts(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(item, str) for item in value)


def _holds_media(value: object) -> bool:
    """Whether a text, or a turn of a conversation, has an image, a video or sound in it."""
    if isinstance(value, str):
        return any(mark in value for mark in _MEDIA_MARKS)
    if not isinstance(value, list):
        return False
    return any(_turn_holds_media(turn) for turn in value if isinstance(turn, dict))


def _turn_holds_media(turn: Value) -> bool:
    content = turn.get("content", turn.get("value"))
    if isinstance(content, list):
        kinds = [str(part.get("type")) for part in content if isinstance(part, dict)]
        return any(word in kind for kind in kinds for word in ("image", "video", "audio"))
    return isinstance(content, str) and any(mark in content for mark in _MEDIA_MARKS)
