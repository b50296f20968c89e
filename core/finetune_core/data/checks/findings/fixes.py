"""What a recipe's `data.fixes` do about findings: rows left out, each with its reason, and texts mended."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from finetune_core.data.checks.findings.checker import Checker
from finetune_core.data.checks.findings.compare import groups
from finetune_core.data.checks.findings.invisible import without_bidi, without_invisible
from finetune_core.data.checks.findings.kinds import fix_problems
from finetune_core.data.checks.findings.marks import without_marks
from finetune_core.data.checks.findings.report import Report
from finetune_core.data.checks.findings.row_texts import Facts
from finetune_core.data.rows import (
    CanonicalRow,
    Conversation,
    Message,
    Preference,
    PromptOnly,
    Text,
    UnpairedPreference,
)
from finetune_core.data.shapes.turns import merged_turns
from finetune_core.errors import FtError

_TOLD_EVERY = 1000
TRIMMED: Final[Mapping[str, Callable[[str], str]]] = {
    "invisible-characters": without_invisible,
    "bidi-override": without_bidi,
    "template-tokens": without_marks,
}
T = TypeVar("T", bound=CanonicalRow)


@dataclass
class LeftOut:
    """Rows that fixes leave out, and why: for each kind of finding the numbers of the rows."""

    rows: dict[str, array[int]] = field(default_factory=dict)

    def add(self, number: int, kind: str) -> None:
        """Note a row that is left out."""
        self.rows.setdefault(kind, array("q")).append(number)

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """(row number, kind), in the order of the numbers."""
        return iter(sorted((number, kind) for kind, numbers in self.rows.items() for number in numbers))

    def to_json(self) -> dict[str, list[int]]:
        """For the run's record: the row numbers of each kind."""
        return {kind: list(numbers) for kind, numbers in self.rows.items()}


def silent(_done: int, _total: int) -> None:
    """A `progress` that nobody looks at."""


def apply(rows: Iterable[T], report: Report, fixes: Mapping[str, str]) -> tuple[Iterator[T], LeftOut]:
    """The rows as the fixes leave them, one by one, and which are left out: filled while the rows are walked through.

    `report` is what a `Checker` found in these very rows. Only findings named in `fixes` change anything. `drop`
    leaves the row out (of duplicates the first stays); `trim` takes off what the finding is about, and blanks at the
    ends of its texts; `merge` joins neighbouring turns of one role; `keep` does nothing. A row that trimming leaves
    without an answer stays as it was. FtError when a fix is not known.
    """
    problems = fix_problems(fixes)
    if problems:
        raise FtError(problems)
    left_out = LeftOut()
    return _applied(rows, report, fixes, left_out), left_out


def fixed(
    rows: Sequence[T], fixes: Mapping[str, str], progress: Callable[[int, int], None] = silent
) -> tuple[list[T], list[tuple[int, str]], Mapping[int, int]]:
    """The rows as the fixes leave them, (row number, kind) of each left out, and groups of rows that are nearly equal.

    As `apply`, of rows that are looked at here. Groups go from row number to a number shared by all rows of the group.
    `progress` is called with rows looked at and rows in all, and may raise to stop. FtError when a fix is not known.
    """
    problems = fix_problems(fixes)
    if problems:
        raise FtError(problems)
    if not set(fixes.values()) - {"keep"}:
        return list(rows), [], groups(facts_of(rows, progress))
    checker = Checker()
    _look(rows, checker, progress)
    report = checker.finish()
    used, left_out = apply(rows, report, fixes)
    return list(used), list(left_out), report.groups


def facts_of(rows: Sequence[CanonicalRow], progress: Callable[[int, int], None] = silent) -> Facts:
    """What rows are compared by. `progress` is called with rows looked at and rows in all, and may raise to stop."""
    facts = Facts()
    _look(rows, facts, progress)
    return facts


def _look(rows: Sequence[CanonicalRow], looking: Checker | Facts, progress: Callable[[int, int], None]) -> None:
    for place, row in enumerate(rows):
        if place % _TOLD_EVERY == 0:
            progress(place, len(rows))
        looking.add(row)


def trimmed(text: str, kinds: Collection[str] = tuple(TRIMMED)) -> str:
    """The text, stripped, without what these findings are about; template marks inside it stay."""
    # Characters first: they may stand between a mark and the end.
    for kind, trim in TRIMMED.items():
        if kind in kinds:
            text = trim(text)
    return text.strip()


def _applied(rows: Iterable[T], report: Report, fixes: Mapping[str, str], left_out: LeftOut) -> Iterator[T]:
    drops = _rows_of(report, fixes, "drop")
    trims, merges = _rows_of(report, fixes, "trim"), _rows_of(report, fixes, "merge")
    for row in rows:
        dropped = next((kind for kind, numbers in drops.items() if row.number in numbers), None)
        if dropped is not None:
            left_out.add(row.number, dropped)
            continue
        kinds = {kind for kind, numbers in trims.items() if row.number in numbers}
        merge = any(row.number in numbers for numbers in merges.values())
        mended = _changed(row, merged_turns) if merge else row
        yield _trimmed(mended, kinds) if kinds else mended


def _rows_of(report: Report, fixes: Mapping[str, str], action: str) -> dict[str, frozenset[int]]:
    return {
        found.kind.name: frozenset(found.rows)
        for found in report.findings
        if fixes.get(found.kind.name) == action and found.rows
    }


def _trimmed(row: T, kinds: Collection[str]) -> T:
    if isinstance(row, Text):
        return replace(row, text=trimmed(row.text, kinds) or row.text)
    return _changed(row, lambda turns: [_trimmed_turn(turn, kinds) for turn in turns])


def _trimmed_turn(turn: Message, kinds: Collection[str]) -> Message:
    content = trimmed(turn.content, kinds) or turn.content
    return replace(turn, content=content, reasoning=trimmed(turn.reasoning, kinds) or turn.reasoning)


def _changed(row: T, change: Callable[[Sequence[Message]], Iterable[Message]]) -> T:
    """The row with each of its lists of turns changed."""
    match row:
        case Conversation():
            return replace(row, messages=tuple(change(row.messages)))
        case Preference():
            sides = [tuple(change(side)) for side in (row.prompt, row.chosen, row.rejected)]
            return replace(row, prompt=sides[0], chosen=sides[1], rejected=sides[2])
        case UnpairedPreference():
            return replace(row, prompt=tuple(change(row.prompt)), completion=tuple(change(row.completion)))
        case PromptOnly():
            return replace(row, prompt=tuple(change(row.prompt)))
    return row
