"""What was found in a set of rows: each kind of finding with all its rows and the first of them as examples."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from finetune_core.data.checks.findings.kinds import KINDS, Kind
from finetune_core.text import one_line

EXAMPLES: Final = 20
_EXCERPT: Final = 160
_GRAVEST_FIRST: Final = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class Example:
    """A row with a finding: its number, the field, and what is shown of it."""

    row: int
    field: str
    excerpt: str


@dataclass
class Finding:
    """One kind of finding: every row it is in, and the first of them as examples. Of the whole set: no rows."""

    kind: Kind
    rows: array[int] = field(default_factory=lambda: array("q"))
    examples: list[Example] = field(default_factory=list)
    words: str = ""
    counted: int = 0

    @property
    def count(self) -> int:
        """How many rows; 1 for what is said of the whole set."""
        return len(self.rows) or self.counted or 1

    @property
    def of_rows(self) -> bool:
        """Whether it is in certain rows, and not said of the whole set."""
        return bool(self.rows or self.counted)

    def add(self, row: int, place: str, excerpt: str) -> None:
        """One more row, in the order of their numbers; a row counts once. The excerpt is made harmless."""
        if self.rows and self.rows[-1] == row:
            return
        self.rows.append(row)
        if len(self.examples) < EXAMPLES:
            self.examples.append(Example(row, place, one_line(excerpt, _EXCERPT)))

    def extend(self, other: Finding, offset: int = 0) -> None:
        """Take the rows of the same finding behind these, their numbers raised by `offset`."""
        self.rows.extend(row + offset for row in other.rows)
        room = EXAMPLES - len(self.examples)
        self.examples += [Example(one.row + offset, one.field, one.excerpt) for one in other.examples[:room]]

    @property
    def fix(self) -> str:
        """What can be done, in words."""
        if not self.kind.fixes:
            return f"only reported: {self.kind.why}"
        return f"data.fixes: {{{self.kind.name}: {' | '.join(self.kind.fixes)}}}"

    def to_json(self) -> dict[str, object]:
        """For programs: severity, kind, count, examples, fix, and why it matters."""
        return {
            "severity": self.kind.severity,
            "kind": self.kind.name,
            "count": self.count,
            "examples": [vars(example) for example in self.examples],
            "fix": self.fix,
            "proposed": self.kind.default or None,
            "words": self.words or self.kind.words,
            "why": self.kind.why,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """A finding without its list of rows, from its JSON form. KeyError or TypeError for anything else."""
        kind, examples = KINDS[value["kind"]], [Example(**example) for example in value["examples"]]
        words = "" if value["words"] == kind.words else value["words"]
        return cls(kind, examples=examples, words=words, counted=int(value["count"]) if examples else 0)


@dataclass(frozen=True)
class Report:
    """Everything found, the gravest first; `rows` were looked at.

    `groups` goes from the number of a row that equals another one, or nearly, to a number all rows of its group share.
    """

    rows: int
    findings: tuple[Finding, ...]
    groups: Mapping[int, int] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, rows: int, findings: Iterable[Finding], groups: Mapping[int, int]) -> Self:
        """A report of these findings in order."""
        ordered = sorted(findings, key=lambda one: (_GRAVEST_FIRST[one.kind.severity], -one.count, one.kind.name))
        return cls(rows, tuple(ordered), groups)

    def get(self, name: str) -> Finding | None:
        """The finding of one kind."""
        return next((found for found in self.findings if found.kind.name == name), None)

    def to_json(self, *, all_rows: bool = False) -> dict[str, object]:
        """For programs: rows, and problems as `Finding.to_json`; with `all_rows` each with the numbers of its rows."""
        problems = [
            found.to_json() | ({"rows": list(found.rows)} if all_rows else {}) for found in self.findings
        ]  # fmt: skip
        return {"rows": self.rows, "problems": problems}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """A report from its JSON form, without groups. KeyError or TypeError for anything else."""
        findings = [Finding.from_json(one) for one in value["problems"]]
        for found, one in zip(findings, value["problems"], strict=True):
            found.rows.extend(one.get("rows", ()))
        return cls(int(value["rows"]), tuple(findings))
