"""How the rows are made up: how many turns they have, and who speaks in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

from finetune_core.data.rows import (
    CanonicalRow,
    Conversation,
    Message,
    Preference,
    PromptOnly,
    Text,
    UnpairedPreference,
)


class Tally:
    """Counts over rows: by their number of turns (a text has none), and of turns by their role."""

    def __init__(self, turns: Mapping[int, int] | None = None, roles: Mapping[str, int] | None = None) -> None:
        self.turns = Counter[int](turns or {})
        self.roles = Counter[str](roles or {})

    def add(self, row: CanonicalRow) -> None:
        """Count one row."""
        turns = _turns(row)
        self.turns[len(turns)] += 1
        self.roles.update(turn.role for turn in turns)

    def merge(self, other: Tally) -> None:
        """Count the rows of another one too."""
        self.turns.update(other.turns)
        self.roles.update(other.roles)

    def to_json(self) -> dict[str, dict[str, int]]:
        """Rows by number of turns, in order, and turns by role, the commonest first."""
        turns = {str(number): count for number, count in sorted(self.turns.items())}
        return {"turns": turns, "roles": dict(self.roles.most_common())}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """A tally from its JSON form. KeyError, TypeError or ValueError for anything else."""
        turns = {int(number): int(count) for number, count in value["turns"].items()}
        return cls(turns, {str(role): int(count) for role, count in value["roles"].items()})

    def turn_groups(self, most: int = 6) -> list[tuple[str, int]]:
        """Rows by number of turns as (words, rows): each number by itself where they are few, else by powers of two."""
        counts = sorted(self.turns.items())
        if len(counts) <= most:
            return [(str(number), rows) for number, rows in counts]
        groups: Counter[int] = Counter()
        for number, rows in counts:
            groups[min(max(number - 1, 0).bit_length(), most - 1)] += rows
        return [(_span(power, last=power == most - 1), rows) for power, rows in sorted(groups.items())]


def _span(power: int, *, last: bool) -> str:
    low = 2 ** (power - 1) + 1 if power else 0
    return f"{low} or more" if last else f"{low} to {2**power}" if low != 2**power else str(low)


def _turns(row: CanonicalRow) -> tuple[Message, ...]:
    match row:
        case Conversation():
            return row.messages
        case Preference():
            return (*row.prompt, *row.chosen)
        case UnpairedPreference():
            return (*row.prompt, *row.completion)
        case PromptOnly():
            return row.prompt
        case Text():
            return ()
