"""Which of the known shapes the rows of a file have, told from what is in them, never from the file's name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ft_core.data.open import HEAD_ROWS, Row
from ft_core.errors import FtError, Problem
from ft_core.text import one_line

MESSAGES, ALPACA, SHAREGPT, PROMPT_COMPLETION = "messages", "alpaca", "sharegpt", "prompt-completion"
KNOWN_SHAPES = (
    '{"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]}; '
    '{"instruction": ..., "input": ..., "output": ...}; '
    '{"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}]}; '
    '{"prompt": ..., "completion": ...}'
)

# Columns of question and answer that make one exchange, the commonest first.
_EXCHANGES = (
    ("instruction", "output"),
    ("instruction", "response"),
    ("instruction", "answer"),
    ("instruction", "completion"),
    ("question", "answer"),
    ("question", "response"),
    ("query", "response"),
    ("query", "answer"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("prompt", "output"),
    ("input", "output"),
)
_OPTIONAL_PARTS = (("input", "input"), ("input", "context"), ("system", "system"), ("history", "history"))
_CONVERSATIONS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat")
_MEDIA = ("image", "images", "video", "videos", "audio", "audios", "pixel_values")
_PREFERENCES = (("chosen", "rejected"), ("chosen_messages", "rejected_messages"), ("response_j", "response_k"))
_TURN_KEYS = (("role", "content"), ("from", "value"), ("from", "content"), ("role", "value"))

Value = Mapping[str, object]


@dataclass(frozen=True)
class Shape:
    """A shape of rows: its name, how it was told, and which column plays which part.

    `mapping` goes from part to column: `messages` or `conversations` (and `system`); `instruction`, `output`
    (and `input`, `system`, `history`); or `prompt` and `completion`.
    """

    name: str
    evidence: str
    mapping: dict[str, str]


@dataclass(frozen=True)
class Refusal:
    """A kind of data that is known, but cannot be trained on yet or would be trained on wrongly."""

    name: str
    why: str
    remedy: str


_NOT_YET = "this kind of training is not offered yet"
PREFERENCE = Refusal(
    "preference pairs (chosen and rejected answers)",
    f"{_NOT_YET}, and taken as plain rows it could learn the rejected answers",
    "to learn the chosen answers only, write each row as messages: the prompt, then the chosen answer",
)
KTO = Refusal(
    "answers with a good/bad label (KTO)",
    f"{_NOT_YET}, and taken as plain rows it would learn the bad answers too",
    "keep the rows whose label is true and take the label out; rename it if it means something else",
)
TOKENISED = Refusal(
    "rows of tokens (input_ids)",
    "tokens fit one tokenizer only, and the text behind them cannot be checked",
    "use the texts these tokens were made from",
)
MEDIA = Refusal(
    "rows with images, video or sound",
    f"{_NOT_YET}: only text is learnt",
    "keep the rows without media, or take the media columns and parts out",
)
RAW_TEXT = Refusal(
    "raw text without questions and answers",
    f"{_NOT_YET}: learning from raw text is continued pre-training",
    "turn it into messages, or into prompt and completion",
)
PROMPT_ONLY = Refusal(
    "prompts without answers",
    f"{_NOT_YET}: learning from prompts alone needs a reward",
    "add the answers in a column `completion`",
)


def recognise(rows: Sequence[Row]) -> Shape:
    """The shape most of these rows have; the first thousand are looked at.

    FtError when most have none that can be trained on, with what was seen and the shapes that are known.
    """
    values = [row.value for row in rows[:HEAD_ROWS] if row.value is not None]
    if not values:
        raise FtError(_no_good_rows(rows))
    kinds = [refusal(value) or _pairing(value) or _nameable(value) for value in values]
    names = Counter(kind.name if isinstance(kind, Refusal) else kind[0] for kind in kinds if kind is not None)
    if not names:
        raise FtError(_unknown(values, rows[0].source))
    name, count = names.most_common(1)[0]
    for kind in kinds:
        if isinstance(kind, Refusal) and kind.name == name:
            raise FtError(_refused(kind, count, len(values), rows[0].source))
    mappings = [kind[1] for kind in kinds if isinstance(kind, tuple) and kind[0] == name]
    needed = dict(Counter(tuple(mapping.items()) for mapping in mappings).most_common(1)[0][0])
    more = _optional_parts(needed, values)
    return Shape(name, _evidence(needed, more, mappings.count(needed), len(values)), needed | more)


def refusal(value: Value) -> Refusal | None:
    """Why this row must not be trained on as it is, whatever else it holds; None when nothing speaks against it."""
    if any(value.get(good) is not None and value.get(bad) is not None for good, bad in _PREFERENCES):
        return PREFERENCE
    if _is_tokens(value.get("input_ids")):
        return TOKENISED
    if any(value.get(name) for name in _MEDIA) or _has_media_part(value):
        return MEDIA
    if isinstance(value.get("label"), bool) and _pairing(value) is not None:
        return KTO
    return None


def turn_keys(value: object) -> tuple[str, str] | None:
    """The names for who and what in a list of turns, such as (role, content); None when it is no list of turns.

    (human, assistant) stands for the old form in which each turn is a pair {"human": ..., "assistant": ...}.
    """
    if not isinstance(value, list) or not value or not isinstance(first := value[0], dict):
        return None
    for who, what in _TURN_KEYS:
        if who in first and what in first:
            return (who, what)
    if "role" in first:
        return ("role", "content")
    return ("human", "assistant") if "human" in first and "assistant" in first else None


def _pairing(value: Value) -> tuple[str, dict[str, str]] | None:
    """Name and mapping of the shape of one row by itself, or None."""
    if _is_text_or_turns(value.get("prompt")) and _is_text_or_turns(value.get("completion")):
        return PROMPT_COMPLETION, {"prompt": "prompt", "completion": "completion"}
    named = [name for name in _CONVERSATIONS if name in value]
    for column in (*named, *(name for name in value if name not in ("prompt", "history", "tools"))):
        keys = turn_keys(value[column])
        if keys is not None:
            return (MESSAGES, {"messages": column}) if keys[0] == "role" else (SHAREGPT, {"conversations": column})
    for question, answer in _EXCHANGES:
        if isinstance(value.get(question), str) and answer in value:
            return ALPACA, {"instruction": question, "output": answer}
    return None


def _nameable(value: Value) -> Refusal | None:
    if value.get("prompt") is not None:
        return PROMPT_ONLY
    return RAW_TEXT if isinstance(value.get("text"), str) else None


def _is_text_or_turns(value: object) -> bool:
    return isinstance(value, str) or turn_keys(value) is not None


def _is_tokens(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, int) for item in value[:8])


def _has_media_part(value: Value) -> bool:
    """Whether a turn's content is a list in which an image, a video or sound stands."""
    return any(
        isinstance(part, dict) and any(word in str(part.get("type")) for word in ("image", "video", "audio"))
        for turns in value.values()
        if isinstance(turns, list)
        for turn in turns
        if isinstance(turn, dict) and isinstance(content := turn.get("content"), list)
        for part in content
    )


def _optional_parts(needed: Mapping[str, str], values: Sequence[Value]) -> dict[str, str]:
    """Parts a row of this shape may have besides, each with the column that any row fills."""
    if "completion" in needed:
        return {}
    found: dict[str, str] = {}
    for part, column in _OPTIONAL_PARTS if "instruction" in needed else (("system", "system"),):
        taken = part in found or column in needed.values()
        if not taken and any(value.get(column) for value in values):
            found[part] = column
    return found


def _evidence(needed: Mapping[str, str], more: Mapping[str, str], count: int, total: int) -> str:
    words = f"all {count} rows" if count == total else f"{count} of {total} rows"
    words += f" looked at hold {_columns(needed)}"
    words += f", some also {_columns(more)}" if more else ""
    return words if count == total else f"{words}; the others do not fit and would be left out"


def _columns(mapping: Mapping[str, str]) -> str:
    return " and ".join(f"`{one_line(column, 40)}`" for column in mapping.values())


def _no_good_rows(rows: Sequence[Row]) -> list[Problem]:
    problems = [row.problem for row in rows[:5] if row.problem is not None]
    where = rows[0].source if rows else "data.source"
    why = "the first of them are told above" if problems else "the file holds none"
    return [*problems, Problem("no row of the file can be read", where, why, f"write rows in one of: {KNOWN_SHAPES}")]


def _unknown(values: Sequence[Value], source: str) -> Problem:
    counts = Counter(column for value in values for column in value)
    seen = ", ".join(f"`{one_line(name, 30)}` ({count})" for name, count in counts.most_common(8))
    what = "the shape of the rows is not known"
    return Problem(what, source, f"columns seen: {seen or 'none'}", f"rename the columns to one of: {KNOWN_SHAPES}")


def _refused(found: Refusal, count: int, total: int, source: str) -> Problem:
    return Problem(f"{count} of {total} rows looked at are {found.name}", source, found.why, found.remedy)
