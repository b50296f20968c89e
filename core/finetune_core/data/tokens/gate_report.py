"""The template gate: whether a chat template teaches what the rows say. Its checks, as the worker reports them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from finetune_core.errors import Problem
from finetune_core.text import count_text, counted, one_line, plural

_FIGURES = ("keep_all", "keep_most", "tokens", "tokens_most", "tokens_all", "compared")


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
    """All checks over `rows` rows. No row is longer than `keep_all` tokens, and 1 % of them than `keep_most`.

    `tokens` is what an epoch computes, context included; `tokens_most` and `tokens_all` what it would be with
    rows cut at these lengths. Of `compared` rows the prompts were compared to what stands before their answers.
    """

    rows: int
    checks: tuple[GateCheck, ...]
    keep_all: int = 0
    keep_most: int = 0
    tokens: int = 0
    tokens_most: int = 0
    tokens_all: int = 0
    compared: int = 0

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
        figures = {name: getattr(self, name) for name in _FIGURES}
        return {"passed": self.passed, "rows": self.rows, "checks": checks, **figures}

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
        return cls(value["rows"], checks, **{name: int(value[name]) for name in _FIGURES})

    def raising_words(self) -> str:
        """What it costs to raise max_length so that 99 % of the rows, or all, are whole; empty where none is cut."""
        if self.tokens_all <= self.tokens:
            return ""
        ways = ((self.keep_most, self.tokens_most, "99 % of the rows"), (self.keep_all, self.tokens_all, "all rows"))
        said = [
            f"{length} keeps {what} whole and adds {count_text(tokens - self.tokens)} tokens an epoch "
            f"({100 * (tokens - self.tokens) / max(self.tokens, 1):.1f} %)"
            for length, tokens, what in ways
            if tokens > self.tokens
        ]
        return "; ".join(said)


def _problem(check: GateCheck, rows: int) -> Problem:
    first = f"; first row {check.examples[0][0]}: {one_line(check.examples[0][1], 100)}" if check.examples else ""
    return Problem(
        f"the template gate: {check.words}",
        "data.template_gate",
        f"{check.rows} of {counted(rows, 'row')} {plural(check.rows, 'fails', 'fail')}{first}",
        f"{check.remedy}; or set data.template_gate to override, which the run records",
        kind=f"gate-{check.name}",
    )
