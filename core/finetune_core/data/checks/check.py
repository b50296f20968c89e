"""Look at a file of rows from end to end: what it is, whether it can be trained on, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Final

from finetune_core.data.checks.findings.checker import Checker, kind_of
from finetune_core.data.checks.findings.fixes import fixed
from finetune_core.data.checks.findings.report import Finding
from finetune_core.data.checks.findings.tally import Tally
from finetune_core.data.files.base import never
from finetune_core.data.files.open import Container, Row, RowFile, open_rows
from finetune_core.data.files.row_offsets import Fault
from finetune_core.data.rows import CanonicalRow, TrainingRow
from finetune_core.data.scan.parallel import look_in_parts
from finetune_core.data.scan.parts import Part
from finetune_core.data.shapes.recognise import AUTOMATIC, Choice, Shape
from finetune_core.data.usable import Conversion, recognised, usable
from finetune_core.errors import FtError, Problem

_TABLE_ROWS: Final = 10_000


@dataclass
class DataReport:
    """What was found in a file. `refused` says why nothing can be done with it; then there is no shape.

    `not_offered` says why its kind of training cannot be started by this version. `usable` counts the good rows, and
    `tally` counts what they are made of.
    """

    source: str
    container: Container | None = None
    shape: Shape | None = None
    rows: int = 0
    usable: int = 0
    refused: Problem | None = None
    not_offered: Problem | None = None
    findings: list[Finding] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    @property
    def errors(self) -> int:
        """How many rows cannot be used."""
        return sum(found.count for found in self.findings if found.kind.severity == "error")

    @property
    def to_decide(self) -> bool:
        """Whether somebody has to decide first how the rows are read."""
        return self.not_offered is not None and self.not_offered.kind == "to-decide"

    def to_json(self) -> dict[str, object]:
        """The report as `ft-tui data check --json` prints it, without tokens."""
        shape = self.shape
        refused = self.refused
        return {
            "source": self.source,
            "shape": shape.name if shape else None,
            "evidence": shape.evidence if shape else None,
            "question": shape.question.to_json() if shape and shape.question else None,
            "unused": [asdict(one) for one in shape.unused] if shape else [],
            "container": None if self.container is None else self.container.name,
            "shards": None if self.container is None else self.container.shards,
            "rows": self.rows,
            "usable": self.usable,
            "trainable_as": shape.trainable_as if shape else None,
            "mapping": shape.mapping if shape else None,
            "refused": None if refused is None else _said(refused),
            "not_offered": None if self.not_offered is None else _said(self.not_offered),
            "distribution": self.tally.to_json(),
            "problems": [found.to_json() for found in self.findings],
        }


def _said(found: Problem) -> dict[str, str]:
    return {"kind": found.kind or "unreadable", "why": f"{found.what}: {found.why}", "fix": found.remedy}


def silent(_rows: int) -> None:
    """A `progress` that nobody looks at."""


def opened(source: str, choice: Choice = AUTOMATIC) -> tuple[DataReport, RowFile | None]:
    """A report of what the first rows show, and the rows; none where they are refused. Never raises."""
    report = DataReport(source)
    try:
        file = open_rows(source)
        report.container = file.container
        found = recognised(file, choice)
    except FtError as error:
        report.refused = error.problems[-1]
        return report, None
    report.shape, report.not_offered = found.shape, found.conversion.refusal
    return report, file


def check(
    source: str,
    choice: Choice = AUTOMATIC,
    *,
    held_out: str | None = None,
    progress: Callable[[int], None] = silent,
    cancel: Callable[[], bool] = never,
    processes: int | None = None,
) -> DataReport:
    """Read a whole file and report everything that is wrong with it. Never raises for what the file holds.

    With `held_out`, rows of that file which are in this one too are reported as leaks. `progress` is called with the
    number of rows looked at; `cancel` ends the look early. As many `processes` are used as there are cores, by default.
    """
    report, file = opened(source, choice)
    if file is None or report.shape is None:
        return report
    checker = Checker()
    look = partial(_look, conversion=Conversion(report.shape, dict(choice.fixes)))
    # Closed before the rows are compared: by then the processes have given their memory back.
    with closing(look_in_parts(file, look, _TABLE_ROWS, processes)) as parts:
        for seen in parts:
            checker.merge(seen.found.checker, report.rows)
            report.rows, report.usable = report.rows + seen.found.rows, report.usable + seen.found.usable
            progress(report.rows)
            if cancel():
                break
    progress(report.rows)
    report.findings, report.tally = checker.findings(), checker.tally
    if held_out is not None:
        # Reported before the rest: what leaks makes every measure worthless.
        report.findings = [*checker.leakage(iter(_good_rows(held_out, choice))), *report.findings]
    return report


@dataclass
class _Looked:
    """What one part of a file held."""

    checker: Checker
    rows: int = 0
    usable: int = 0


def _look(part: Part, conversion: Conversion) -> _Looked:
    looked = _Looked(Checker())
    for looked.rows, value in enumerate(part.values(), start=1):
        row = Row(looked.rows, None, None, None, part.file.name)
        row = row.spoiled(value) if isinstance(value, Fault) else replace(row, value=value)
        converted = conversion.of(row)
        if isinstance(converted, Problem):
            looked.checker.add_problem(row.number, converted)
        else:
            looked.usable += 1
            looked.checker.add(converted)
    return looked


def _good_rows(source: str, choice: Choice) -> list[CanonicalRow]:
    """The rows of a held-out file; none where it cannot be opened, which is reported when it is checked itself."""
    try:
        return usable_rows(source, choice, held_out=True)[0]
    except FtError:
        return []


def usable_rows(
    source: str, choice: Choice = AUTOMATIC, *, held_out: bool = False
) -> tuple[list[CanonicalRow], list[tuple[int, str]]]:
    """Every good row of a file, of whatever shape, mended as the choice says, and (row number, kind) of those left out.

    FtError as `open_rows`, and when a fix is not known.
    """
    kept: list[CanonicalRow] = []
    left_out: list[tuple[int, str]] = []
    for number, row in recognised(open_rows(source, held_out=held_out), choice).canonical():
        if isinstance(row, Problem):
            left_out.append((number, kind_of(row)))
        else:
            kept.append(row)
    if choice.fixes:
        kept, dropped, _ = fixed(kept, choice.fixes)
        left_out = sorted(left_out + dropped)
    return kept, left_out


def converted_rows(source: str, numbers: set[int], choice: Choice = AUTOMATIC) -> list[TrainingRow]:
    """Some rows of a file, ready to be shown as a model sees them. FtError with the problems of those that are bad."""
    opened = usable(source, choice)
    found = [row for _, row in opened.trained(opened.file.chosen(numbers))]
    problems = [one for one in found if isinstance(one, Problem)]
    if problems:
        raise FtError(problems)
    return [one for one in found if not isinstance(one, Problem)]
