"""Rows compared with all others, by their facts: the same again, contradictions, leaks, and rows unlike the rest."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from heapq import merge
from typing import TYPE_CHECKING, Final

from finetune_core.data.checks.findings.kinds import KINDS
from finetune_core.data.checks.findings.near import near_matches, near_pairs
from finetune_core.data.checks.findings.report import Finding
from finetune_core.data.checks.findings.row_texts import Facts, script_name
from finetune_core.text import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENOUGH_ROWS: Final = 50
FEW_ROWS: Final = 200
_MINORITY: Final = 0.05
_OUTLIER_TIMES, _OUTLIER_FROM = 8, 4000
_SAME_LENGTH, _SAME_LENGTH_FROM = 5, 200


def comparison(facts: Facts) -> tuple[list[Finding], dict[int, int]]:
    """Findings that show only beside other rows, and groups of rows that are the same or nearly.

    Groups go from row number to the number of the group's first row; rows alike to no other have none.
    """
    alike = _Alike(facts)
    findings = [
        alike.exact,
        alike.near,
        _contradictions(facts, frozenset(alike.near.rows)),
        *_odd_rows(facts),
        _cut_at_one_length(facts),
    ]
    return [found for found in findings if found.rows], alike.groups()


def groups(facts: Facts) -> dict[int, int]:
    """Groups of rows that are the same or nearly, as `comparison` gives them."""
    return _Alike(facts).groups()


def leakage(train: Facts, held_out: Facts) -> list[Finding]:
    """Held-out rows that are trained on too, or nearly, or of which the question is; row numbers are held-out ones."""
    exact, near = Finding(KINDS["leakage-exact"]), Finding(KINDS["leakage-near"])
    whole, plain = _first_places(train.whole), _first_places(train.plain)
    questions = _first_places(train.questions)
    alike = _near_trained(train, held_out)
    for place, number in enumerate(held_out.numbers):
        same = whole.get(held_out.whole[place])
        question = held_out.questions[place]
        close = plain.get(held_out.plain[place], alike.get(place))
        asked = questions.get(question) if question else None
        if same is not None:
            exact.add(number, "", f"row {train.numbers[same]} to learn from: {train.beginning(same)}")
        elif close is not None:
            near.add(number, "", f"nearly row {train.numbers[close]} to learn from: {train.beginning(close)}")
        elif asked is not None:
            near.add(number, "", f"the question of row {train.numbers[asked]}: {train.beginning(asked)}")
    return [found for found in (exact, near) if found.rows]


def few_rows(rows: int) -> Finding | None:
    """Said of a set of fewer than 200 rows."""
    if not 0 < rows < FEW_ROWS:
        return None
    return Finding(KINDS["few-rows"], words=f"{counted(rows, 'row')}: {KINDS['few-rows'].words}")


class _Alike:
    """Rows that are another row again, by exact and by near likeness: the first of each stays."""

    def __init__(self, facts: Facts) -> None:
        self.exact, self.near = Finding(KINDS["exact-duplicate"]), Finding(KINDS["near-duplicate"])
        self._facts = facts
        self._leader: dict[int, int] = {}
        self._again = self._find_exact()
        self._find_near()

    def groups(self) -> dict[int, int]:
        """From row number to the number of its group's first row."""
        numbers = self._facts.numbers
        return {numbers[place]: numbers[self._first(place)] for place in self._leader}

    def _find_exact(self) -> bytearray:
        again = bytearray(len(self._facts))
        for place, first in _repeated(self._facts.whole):
            again[place] = 1
            self._tie(first, place)
            self._add(self.exact, place, f"as row {self._facts.numbers[first]}", first)
        return again

    def _find_near(self) -> None:
        dropped = bytearray(self._again)
        for place, other in self._near_candidates():
            if self._again[place] or self._again[other]:
                continue
            self._tie(other, place)
            # Only likeness to a row that stays is a reason to leave one out.
            if not dropped[place] and not dropped[other]:
                dropped[place] = 1
                self._add(self.near, place, f"nearly row {self._facts.numbers[other]}", other)

    def _near_candidates(self) -> Iterator[tuple[int, int]]:
        """(place, earlier place) of rows that may be nearly the same, in order."""
        return merge(_repeated(self._facts.plain), self._alike_by_sketch())

    def _alike_by_sketch(self) -> Iterator[tuple[int, int]]:
        import numpy as np

        sketches, places = self._facts.sketches.matrix(), self._facts.sketches.places
        # Exact duplicates would fill the buckets.
        fresh = np.flatnonzero(np.frombuffer(self._again, dtype=np.uint8)[_view(places)] == 0)
        for earlier, later in near_pairs(sketches, fresh):
            yield places[int(later)], places[int(earlier)]

    def _add(self, finding: Finding, place: int, words: str, first: int) -> None:
        beginning = self._facts.beginning(first)
        finding.add(self._facts.numbers[place], "", f"{words}: {beginning}" if beginning else words)

    def _first(self, place: int) -> int:
        while (above := self._leader.setdefault(place, place)) != place:
            self._leader[place] = self._leader.setdefault(above, above)
            place = above
        return place

    def _tie(self, one: int, other: int) -> None:
        low, high = sorted((self._first(one), self._first(other)))
        self._leader[high] = low


def _contradictions(facts: Facts, near: frozenset[int]) -> Finding:
    """Rows whose question another row answers otherwise; those in `near` answer it nearly as some row does."""
    found = Finding(KINDS["contradiction"])
    for place, first in _repeated(facts.questions):
        if facts.answers[place] != facts.answers[first] and facts.numbers[place] not in near:
            beginning = facts.beginning(place)
            words = f"row {facts.numbers[first]} answers otherwise"
            found.add(facts.numbers[place], "", f"{words}: {beginning}" if beginning else words)
    return found


def _odd_rows(facts: Facts) -> Iterator[Finding]:
    """Rows unlike most others: far longer, or in another script."""
    if len(facts) < ENOUGH_ROWS:
        return
    import numpy as np

    long, mixed = Finding(KINDS["length-outlier"]), Finding(KINDS["language-mix"])
    lengths = _view(facts.lengths)
    limit = max(_OUTLIER_TIMES * int(np.percentile(lengths, 95, method="lower")), _OUTLIER_FROM)
    for place in np.flatnonzero(lengths > limit).tolist():
        long.add(facts.numbers[place], "", f"{facts.lengths[place]:,} characters: {facts.beginning(place)}")
    scripts = Counter(facts.scripts)
    del scripts[0]
    rare = [script for script, count in scripts.items() if count <= _MINORITY * scripts.total()]
    for place in np.flatnonzero(np.isin(np.frombuffer(facts.scripts, dtype=np.uint8), rare)).tolist():
        name = script_name(facts.scripts[place])
        mixed.add(facts.numbers[place], "", f"written in {name} letters: {facts.beginning(place)}")
    yield from (long, mixed)


def _cut_at_one_length(facts: Facts) -> Finding:
    """Answers that end without a sign at the very length no answer exceeds: what made them had a limit."""
    found = Finding(KINDS["cut-answer"])
    longest = max(facts.answer_lengths, default=0)
    if longest < _SAME_LENGTH_FROM:
        return found
    places = [place for place, length in enumerate(facts.answer_lengths) if length == longest]
    cut = [place for place in places if facts.open_ends[place]]
    if len(cut) >= max(_SAME_LENGTH, len(places) / 2):
        for place in cut:
            words = f"the answer stops at {longest:,} characters, as {counted(len(cut) - 1, 'other does', 'others do')}"
            found.add(facts.numbers[place], "", words)
    return found


def _near_trained(train: Facts, held_out: Facts) -> dict[int, int]:
    """From the place of a held-out row to that of the first row to learn from that is nearly the same."""
    pairs = near_matches(train.sketches.matrix(), held_out.sketches.matrix()).tolist()
    return {held_out.sketches.places[other]: train.sketches.places[one] for one, other in reversed(pairs)}


def _first_places(column: array[int]) -> dict[int, int]:
    return {value: len(column) - place - 1 for place, value in enumerate(reversed(column))}


def _repeated(column: array[int]) -> Iterator[tuple[int, int]]:
    """(place, first place) of each entry that stood in the column before, in order; 0 stands for nothing."""
    import numpy as np

    values = _view(column)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    new = np.concatenate(([True], ordered[1:] != ordered[:-1])) if len(values) else np.empty(0, dtype=bool)
    first = np.empty(len(values), dtype=np.int64)
    starts = np.flatnonzero(new)
    first[order] = order[np.repeat(starts, np.diff(np.append(starts, len(values))))]
    for place in np.flatnonzero((first != np.arange(len(values))) & (values != 0)).tolist():
        yield place, int(first[place])


def _view(column: array[int]) -> NDArray[np.uint64]:
    """A column as an array, in place."""
    import numpy as np

    return np.frombuffer(column, dtype=f"u{column.itemsize}")
