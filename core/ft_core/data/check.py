"""Look at a file of rows from end to end: what it is, whether it can be trained on, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ft_core.data.canonical import convert
from ft_core.data.open import Container, Row, RowFile, open_rows
from ft_core.data.rows import CanonicalRow, Conversation, Text, TrainingRow
from ft_core.data.shapes import AUTOMATIC, Choice, Shape, recognise, training_refusal
from ft_core.errors import FtError, Problem
from ft_core.text import one_line

EXAMPLES: Final = 20
UNREADABLE: Final = "unreadable-row"


@dataclass
class Finding:
    """One kind of trouble: how often, the first rows with it, and what can be done."""

    kind: str
    severity: str
    fix: str
    count: int = 0
    examples: list[dict[str, object]] = field(default_factory=list)

    def add(self, row: int, place: str, excerpt: str) -> None:
        """Count one more, and keep it as an example among the first."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append({"row": row, "field": place, "excerpt": one_line(excerpt, 160)})


@dataclass
class DataReport:
    """What was found in a file. `refused` says why nothing can be done with it; then there is no shape.

    `not_offered` says why its kind of training cannot be started by this version. `usable` counts the good rows.
    """

    source: str
    container: Container | None = None
    shape: Shape | None = None
    rows: int = 0
    usable: int = 0
    refused: Problem | None = None
    not_offered: Problem | None = None
    findings: dict[str, Finding] = field(default_factory=dict)

    @property
    def errors(self) -> int:
        """How many rows cannot be used."""
        return sum(found.count for found in self.findings.values() if found.severity == "error")

    def to_json(self) -> dict[str, object]:
        """The report as `ft-tui data check --json` prints it, without tokens."""
        shape = self.shape
        refused = self.refused
        return {
            "source": self.source,
            "shape": shape.name if shape else None,
            "evidence": shape.evidence if shape else None,
            "question": (shape.question or None) if shape else None,
            "container": None if self.container is None else self.container.name,
            "shards": None if self.container is None else self.container.shards,
            "rows": self.rows,
            "usable": self.usable,
            "trainable_as": shape.trainable_as if shape else None,
            "mapping": shape.mapping if shape else None,
            "refused": None if refused is None else _said(refused),
            "not_offered": None if self.not_offered is None else _said(self.not_offered),
            "problems": [
                {
                    "severity": found.severity,
                    "kind": found.kind,
                    "count": found.count,
                    "examples": found.examples,
                    "fix": found.fix,
                }
                for found in self.findings.values()
            ],
        }


def _said(found: Problem) -> dict[str, str]:
    return {"kind": found.kind or "unreadable", "why": f"{found.what}: {found.why}", "fix": found.remedy}


def _never() -> bool:
    return False


def _silent(_rows: int) -> None:
    return None


def check(
    source: str,
    choice: Choice = AUTOMATIC,
    *,
    progress: Callable[[int], None] = _silent,
    cancel: Callable[[], bool] = _never,
) -> DataReport:
    """Read a whole file and tell everything that is wrong with it. Never raises for what the file holds.

    `progress` is called with the number of rows looked at; `cancel` ends the look early.
    """
    report = DataReport(source)
    try:
        file = open_rows(source)
        report.container = file.container
        report.shape = recognise(file.head(), choice)
    except FtError as error:
        report.refused = error.problems[-1]
        return report
    report.not_offered = training_refusal(report.shape)
    for row in file.rows():
        report.rows = row.number
        _look(report, row, report.shape, choice)
        if row.number % 1000 == 0:
            progress(row.number)
            if cancel():
                break
    progress(report.rows)
    return report


def _look(report: DataReport, row: Row, shape: Shape, choice: Choice) -> None:
    converted = convert(row, shape, choice.fixes)
    if isinstance(converted, Problem):
        kind = converted.kind or UNREADABLE
        found = report.findings.setdefault(kind, Finding(kind, "error", converted.remedy))
        found.add(row.number, converted.field, f"{converted.where}: {converted.what} ({converted.why})")
    else:
        report.usable += 1


def usable_rows(source: str, choice: Choice = AUTOMATIC) -> tuple[list[CanonicalRow], list[tuple[int, str]]]:
    """Every good row of a file, of whatever shape, and (row number, kind) of those left out. FtError as `open_rows`."""
    file: RowFile = open_rows(source)
    shape = recognise(file.head(), choice)
    kept: list[CanonicalRow] = []
    left_out: list[tuple[int, str]] = []
    for row in file.rows():
        converted = convert(row, shape, choice.fixes)
        if isinstance(converted, Problem):
            left_out.append((row.number, converted.kind or UNREADABLE))
        else:
            kept.append(converted)
    return kept, left_out


def converted_rows(source: str, numbers: set[int], choice: Choice = AUTOMATIC) -> list[TrainingRow]:
    """Some rows of a file, ready to be shown as a model sees them. FtError with the problems of those that are bad."""
    file: RowFile = open_rows(source)
    shape = recognise(file.head(), choice)
    refused = training_refusal(shape)
    if refused is not None:
        raise FtError(refused)
    found = [convert(row, shape, choice.fixes) for row in file.chosen(numbers)]
    problems = [one for one in found if isinstance(one, Problem)]
    if problems:
        raise FtError(problems)
    return [one for one in found if isinstance(one, Conversation | Text)]
