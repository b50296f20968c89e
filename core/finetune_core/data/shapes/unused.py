"""Columns of the rows that nothing is trained on: what they hold, in how many rows, and the part they could play."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from finetune_core.data.shapes.columns import Value, listed, turn_keys
from finetune_core.data.shapes.paths import root
from finetune_core.text import one_line, plural

_MOST: Final = 12
# Names that say what a column would be, by the part it could play.
_PARTS: Final[dict[str, frozenset[str]]] = {
    "reasoning": frozenset({"reasoning", "thinking", "thought", "cot", "complex_cot", "chain_of_thought", "rationale"}),
    "system": frozenset({"system", "system_prompt", "persona"}),
    "input": frozenset({"input", "context", "contexts", "passage", "document", "documents", "knowledge"}),
    "history": frozenset({"history", "conversation_history", "chat_history"}),
    "label": frozenset({"label", "rating", "score"}),
}
# What a turn may hold besides role and text, and is looked at.
_OF_TURNS: Final = frozenset(
    "role from speaker content value text parts name weight loss_weight train loss masked tool_calls function_call"  # noqa: SIM905
    " reasoning_content reasoning thinking tool_call_id type id human assistant user input output system".split()
)
_ROW_NUMBERS: Final = frozenset({"id", "idx", "index", "uuid", "__index_level_0__"})


@dataclass(frozen=True)
class Unused:
    """A column that is not used: what it holds, the share of rows that fill it, and the part it could play, if any."""

    column: str
    kind: str
    share: float
    part: str = ""

    def __str__(self) -> str:
        """`contexts` (list, 100 % of rows)."""
        could = f"; it could be the {self.part}" if self.part else ""
        return f"`{one_line(self.column, 40)}` ({self.kind}, {self.share:.0%} of rows{could})"


def unused_columns(values: Sequence[Value], mapping: Mapping[str, str], parts: Iterable[str]) -> tuple[Unused, ...]:
    """The columns that a mapping leaves aside, and keys of turns that nothing reads; the fullest first.

    `parts` are those that the shape may have.
    """
    used = {column if any(column in value for value in values) else root(column) for column in mapping.values()}
    counts, kinds = Counter[str](), dict[str, str]()
    for value in values:
        for name, held in _besides(value, used):
            counts[name] += 1
            kinds.setdefault(name, _kind(held))
    free = [part for part in parts if part not in mapping]
    found = [Unused(name, kinds[name], count / len(values), _part(name, free)) for name, count in counts.most_common()]
    return tuple(found[:_MOST])


def unused_words(found: Sequence[Unused]) -> str:
    """All of them in a sentence."""
    return f"{plural(len(found), 'a column is', 'columns are')} not used: {', '.join(map(str, found))}"


def _besides(value: Value, used: set[str]) -> Iterable[tuple[str, object]]:
    for name, held in value.items():
        if name in used:
            turns = listed(held)
            if turn_keys(turns) is not None and isinstance(turns, list):
                keys = {key for turn in turns if isinstance(turn, dict) for key in turn if turn[key] is not None}
                yield from ((f"{name}[].{key}", True) for key in sorted(keys - _OF_TURNS))
        elif name.lower() not in _ROW_NUMBERS and held not in (None, "", [], {}):
            yield name, held


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    names = {str: "text", int: "number", float: "number", list: "list", dict: "object"}
    return names.get(type(value), "value")


def _part(name: str, free: Sequence[str]) -> str:
    return next((part for part in free if name.lower() in _PARTS.get(part, ())), "")
