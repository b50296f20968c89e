"""All rows of a set looked at, one after another and against each other; memory holds facts, never the rows."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from finetune_core.data.checks.findings.compare import ENOUGH_ROWS, comparison, few_rows, leakage
from finetune_core.data.checks.findings.kinds import KINDS
from finetune_core.data.checks.findings.personal import hidden
from finetune_core.data.checks.findings.report import EXAMPLES, Finding, Report
from finetune_core.data.checks.findings.row_texts import Facts, row_parts
from finetune_core.data.checks.findings.tally import Tally
from finetune_core.data.checks.findings.texts import parts_hits
from finetune_core.data.rows import CanonicalRow, Preference, UnpairedPreference
from finetune_core.errors import Problem

_LONGER_SHARE: Final = 0.8
_UNEQUAL: Final = 4


def kind_of(problem: Problem) -> str:
    """The kind of finding that a row's problem is."""
    return problem.kind if problem.kind in KINDS else "unreadable-row"


class Checker:
    """Takes rows one by one with `add`; `finish` then gives what was found.

    The parts of a file may be looked at by a checker each, in processes of their own (checkers can be pickled), and
    then put together with `merge`: what concerns rows beside all others is found in `finish`. A million rows of
    1 kB take about 300 MB, and 400 while they are compared. `seed` is that of the sketches by
    which rows are found to be nearly the same.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self.facts = Facts(seed)
        self.tally = Tally()
        self._found: dict[str, Finding] = {}
        self._problems = 0
        self._longer = Counter[bool]()
        self._labels = Counter[bool]()

    def add(self, row: CanonicalRow) -> None:
        """Look at one good row. Rows come in the order of their numbers."""
        parts = list(row_parts(row))
        self.tally.add(row)
        private = False
        for hit in parts_hits(row, parts):
            private = private or hit.kind in ("secret", "personal-data")
            self._finding(hit.kind).add(row.number, hit.field, hit.excerpt)
        self.facts.add(row, parts, shown=not private)
        if isinstance(row, Preference):
            sizes = [sum(len(turn.content) for turn in side) for side in (row.chosen, row.rejected)]
            if sizes[0] != sizes[1]:
                self._longer[sizes[0] > sizes[1]] += 1
        elif isinstance(row, UnpairedPreference):
            self._labels[row.label] += 1

    def add_problem(self, number: int, problem: Problem) -> None:
        """Note a row that could not be read or converted."""
        self._problems += 1
        self._finding(kind_of(problem)).add(number, problem.field, hidden(f"{problem.what}: {problem.why}"))

    def merge(self, other: Checker, offset: int = 0) -> None:
        """Take what another checker saw of the rows behind these, their numbers raised by `offset`.

        `other` is used up. ValueError when it was made with another seed.
        """
        self.facts.extend(other.facts, offset)
        self.tally.merge(other.tally)
        for name, found in other._found.items():
            self._finding(name).extend(found, offset)
        self._problems += other._problems
        self._longer.update(other._longer)
        self._labels.update(other._labels)

    def finish(self) -> Report:
        """Everything found in the rows so far, beside each other too."""
        found = {name: Finding(one.kind, one.rows[:], list(one.examples)) for name, one in self._found.items()}
        beside, groups = comparison(self.facts)
        for one in (*beside, *self._of_the_set()):
            known = found.setdefault(one.kind.name, one)
            if known is not one:
                _add_unknown(known, one)
        return Report.of(len(self.facts) + self._problems, found.values(), groups)

    def findings(self) -> list[Finding]:
        """Everything found so far, the gravest first."""
        return list(self.finish().findings)

    def leakage(self, held_out: Iterable[CanonicalRow]) -> list[Finding]:
        """Held-out rows that were added here too, or nearly; row numbers are those of the held-out rows."""
        facts = Facts(self.facts.seed)
        for row in held_out:
            facts.add(row)
        return leakage(self.facts, facts)

    def _finding(self, name: str) -> Finding:
        return self._found.setdefault(name, Finding(KINDS[name]))

    def _of_the_set(self) -> Iterator[Finding]:
        few = few_rows(len(self.facts))
        if few is not None:
            yield few
        pairs = self._longer.total()
        if pairs >= ENOUGH_ROWS and self._longer[True] >= _LONGER_SHARE * pairs:
            share = 100 * self._longer[True] // pairs
            yield Finding(KINDS["length-bias"], words=f"of {share} % of the pairs the better answer is the longer one")
        good, bad = self._labels[True], self._labels[False]
        if good + bad and max(good, bad) > _UNEQUAL * min(good, bad):
            yield Finding(KINDS["label-imbalance"], words=f"{good} good and {bad} bad answers")


def _add_unknown(known: Finding, more: Finding) -> None:
    """Add the rows of a finding to the same one's, in the order of their numbers."""
    seen = set(known.rows)
    known.rows.extend(row for row in more.rows if row not in seen)
    known.rows = array("q", sorted(known.rows))
    examples = {one.row: one for one in (*more.examples, *known.examples)}
    known.examples = [examples[row] for row in sorted(examples)][:EXAMPLES]
