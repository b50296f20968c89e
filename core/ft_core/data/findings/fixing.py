"""What a recipe's `data.fixes` do about findings: rows left out, each with its reason, and texts trimmed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from ft_core.data.findings.checker import Checker, NearRows
from ft_core.data.findings.kinds import KINDS, fix_problems
from ft_core.data.findings.texts import trimmed
from ft_core.data.rows import CanonicalRow, Conversation, Message, Preference, PromptOnly, Text, UnpairedPreference
from ft_core.errors import FtError

_TOLD_EVERY = 1000
T = TypeVar("T", bound=CanonicalRow)


def silent(_done: int, _total: int) -> None:
    """A `progress` that nobody looks at."""


def fixed(
    rows: Sequence[T], fixes: Mapping[str, str], progress: Callable[[int, int], None] = silent
) -> tuple[list[T], list[tuple[int, str]], Mapping[int, int]]:
    """The rows as the fixes leave them, (row number, kind) of each left out, and groups of rows that are nearly equal.

    Only findings named in `fixes` change anything. Of duplicates the first row stays. Groups go from row number to a
    number shared by all rows of the group. `progress` is called with rows looked at and rows in all, and may raise to
    stop. FtError when a fix is not known.
    """
    problems = fix_problems(fixes)
    if problems:
        raise FtError(problems)
    wanted = {name: action for name, action in fixes.items() if KINDS[name].severity != "error"}
    checker = Checker() if wanted else NearRows()
    for place, row in enumerate(rows):
        if place % _TOLD_EVERY == 0:
            progress(place, len(rows))
        checker.add(row)
    if isinstance(checker, NearRows):
        return list(rows), [], checker.groups
    found = {finding.kind.name: set(finding.rows) for finding in checker.findings()}
    dropped = {number: name for name, action in wanted.items() if action == "drop" for number in found.get(name, ())}
    trims = {number for name, action in wanted.items() if action == "trim" for number in found.get(name, ())}
    kept = [_trimmed(row) if row.number in trims else row for row in rows if row.number not in dropped]
    return kept, sorted(dropped.items()), checker.groups


def _trimmed(row: T) -> T:
    """The row with every text trimmed; an answer that nothing is left of stays as it was."""
    match row:
        case Conversation():
            return replace(row, messages=_turns(row.messages))
        case Preference():
            sides = (_turns(row.prompt), _turns(row.chosen), _turns(row.rejected))
            return replace(row, prompt=sides[0], chosen=sides[1], rejected=sides[2])
        case UnpairedPreference():
            return replace(row, prompt=_turns(row.prompt), completion=_turns(row.completion))
        case PromptOnly():
            return replace(row, prompt=_turns(row.prompt))
        case Text():
            return replace(row, text=trimmed(row.text) or row.text)
    raise TypeError(f"no row: {type(row)}")


def _turns(messages: Sequence[Message]) -> tuple[Message, ...]:
    return tuple(replace(turn, content=trimmed(turn.content) or turn.content) for turn in messages)
