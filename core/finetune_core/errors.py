"""The one family of errors a user can meet: what, where, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, in words a user can act on.

    `where` is a recipe field (`training.learning_rate`), a file, a file and line (`rows.jsonl:17`), or both
    (`mine.yaml:12 adapter.rank`). Problems that programs distinguish have a `kind` (`role-order`), and those of a row
    or of a recipe's file the `field` they lie in (`messages[1].role`).
    """

    what: str
    where: str
    why: str
    remedy: str
    kind: str = ""
    field: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n  why: {self.why}\n  fix: {self.remedy}"


class FtError(Exception):
    """Base of every error that reaches a user; carries all problems found, never only the first."""

    def __init__(self, problems: Problem | Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        if not self.problems:
            raise ValueError("an FtError needs at least one problem")
        super().__init__("\n".join(str(problem) for problem in self.problems))


def gather(problems: list[Problem], question: Callable[[], T]) -> T | None:
    """The answer, or None with its problems put to the others."""
    try:
        return question()
    except FtError as error:
        problems += error.problems
        return None


def problem(what: str, *, where: str, why: str, remedy: str, kind: str = "") -> FtError:
    """Shorthand for an error with a single problem."""
    return FtError(Problem(what, where, why, remedy, kind=kind))
