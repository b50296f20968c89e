"""The canonical rows: one type for each kind of training, whatever shape a file's rows had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Role = Literal["system", "user", "assistant", "tool"]
TrainableAs = Literal["sft", "dpo", "kto", "grpo", "cpt"]


@dataclass(frozen=True)
class ToolCall:
    """A function the assistant calls; `arguments` by their names."""

    name: str
    arguments: dict[str, object]


@dataclass(frozen=True)
class Message:
    """One turn. `role` is system, user, assistant or tool; `trained=False` keeps an assistant's turn out of the loss.

    An assistant's turn may carry its `reasoning` and `tool_calls` beside its content (or instead of it); a tool's turn
    carries the tool's `name` where the row gives it.
    """

    role: str
    content: str
    trained: bool = True
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class Conversation:
    """A conversation to learn the assistant's turns of (SFT).

    `number` is the row's number in its file, `extra` its other columns, `tools` the functions the assistant may call
    (JSON schemas). With `completion_only` there are two messages, prompt (user) and completion (assistant), that are
    joined as plain text without a chat template.
    """

    number: int
    messages: tuple[Message, ...]
    extra: dict[str, object] = field(default_factory=dict)
    completion_only: bool = False
    tools: tuple[dict[str, object], ...] = ()


@dataclass(frozen=True)
class Preference:
    """A prompt with a better and a worse answer (DPO)."""

    number: int
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    extra: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class UnpairedPreference:
    """A prompt with one answer that is good (`label`) or not (KTO)."""

    number: int
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    label: bool
    extra: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class PromptOnly:
    """A prompt without an answer: answers are sampled and rewarded in training (GRPO). `extra` may hold a reference."""

    number: int
    prompt: tuple[Message, ...]
    extra: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Text:
    """Raw text, trained as a whole (continued pre-training)."""

    number: int
    text: str
    extra: dict[str, object] = field(default_factory=dict)


TrainingRow = Conversation | Text
CanonicalRow = Conversation | Preference | UnpairedPreference | PromptOnly | Text


def turn_value(message: Message) -> dict[str, Any]:
    """A turn in the messages form that files and chat templates share; what it does not have is not named in it."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning:
        turn["reasoning_content"] = message.reasoning
    if message.name:
        turn["name"] = message.name
    if message.tool_calls:
        turn["tool_calls"] = [
            {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return turn


class Passage(NamedTuple):
    """One text of a row: where it stands (`messages[1]`, `chosen[0]`, `text`), whose it is, and what it says.

    `role` is the turn's, or `text` for raw text; `trained` says whether the text is meant to be trained (an answer).
    """

    field: str
    role: str
    text: str
    trained: bool


def passages(row: CanonicalRow) -> Iterator[Passage]:
    """Every text of a row, in reading order; reasoning stands before its turn's content."""
    match row:
        case Conversation():
            yield from _passages("messages", row.messages)
        case Preference():
            yield from _passages("prompt", row.prompt)
            yield from _passages("chosen", row.chosen)
            yield from _passages("rejected", row.rejected)
        case UnpairedPreference():
            yield from _passages("prompt", row.prompt)
            yield from _passages("completion", row.completion)
        case PromptOnly():
            yield from _passages("prompt", row.prompt)
        case Text():
            yield Passage("text", "text", row.text, trained=True)


def _passages(column: str, messages: Sequence[Message]) -> Iterator[Passage]:
    for place, turn in enumerate(messages):
        trained = turn.role == "assistant" and turn.trained
        if turn.reasoning:
            yield Passage(f"{column}[{place}].reasoning", turn.role, turn.reasoning, trained)
        yield Passage(f"{column}[{place}]", turn.role, turn.content, trained)
