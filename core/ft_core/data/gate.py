"""The template gate: whether a chat template teaches what the rows say. Its checks, as the worker reports them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from ft_core.errors import Problem
from ft_core.text import one_line


@dataclass(frozen=True)
class GateCheck:
    """One question put to the rows as the model gets them: how many rows fail it, and the first as (row, excerpt).

    A `blocking` check that any row fails keeps a run from being started.
    """

    name: str
    words: str
    blocking: bool
    rows: int = 0
    examples: tuple[tuple[int, str], ...] = ()
    remedy: str = ""

    @property
    def ok(self) -> bool:
        """Whether no row fails it."""
        return not self.rows


@dataclass(frozen=True)
class GateReport:
    """All checks over `rows` rows. No row is longer than `keep_all` tokens, and 1 % of them than `keep_most`."""

    rows: int
    checks: tuple[GateCheck, ...]
    keep_all: int = 0
    keep_most: int = 0

    @property
    def passed(self) -> bool:
        """Whether a run may be started."""
        return not self.failed

    @property
    def failed(self) -> tuple[GateCheck, ...]:
        """The checks that keep a run from being started."""
        return tuple(check for check in self.checks if check.blocking and not check.ok)

    def problems(self) -> tuple[Problem, ...]:
        """Why a run may not be started, check by check."""
        return tuple(_problem(check, self.rows) for check in self.failed)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON holds it."""
        checks = [{**asdict(check), "ok": check.ok} for check in self.checks]
        return {
            "passed": self.passed, "rows": self.rows, "checks": checks,
            "keep_all": self.keep_all, "keep_most": self.keep_most,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The report from its JSON form. KeyError or TypeError for anything else."""
        checks = tuple(
            GateCheck(
                check["name"],
                check["words"],
                check["blocking"],
                check["rows"],
                tuple((int(row), str(excerpt)) for row, excerpt in check["examples"]),
                check["remedy"],
            )
            for check in value["checks"]
        )
        return cls(value["rows"], checks, value["keep_all"], value["keep_most"])


def _problem(check: GateCheck, rows: int) -> Problem:
    first = f"; first row {check.examples[0][0]}: {one_line(check.examples[0][1], 100)}" if check.examples else ""
    return Problem(
        f"the template gate: {check.words}",
        "data.template_gate",
        f"{check.rows} of {rows} rows fail{first}",
        f"{check.remedy}; or set data.template_gate to override, which the run records",
        kind=f"gate-{check.name}",
    )
