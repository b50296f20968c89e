"""What the command line prints: data on standard output, words on standard error, nothing a terminal would obey."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import click

from finetune_core.errors import FtError, Problem
from finetune_core.redaction import redact
from finetune_core.text import clean

FINE: Final = 0
NOT_MET: Final = 1
WRONG_USE: Final = 2
RUN_FAILED: Final = 3
CANNOT_TELL: Final = 4
# EX_IOERR and EX_TEMPFAIL of sysexits.h: the latter means try again later, which a scheduler's requeue does.
NOT_WRITTEN: Final = 74
PREEMPTED: Final = 75
INTERRUPTED: Final = 130


def words(text: str) -> None:
    """Print to standard error: what a person reads and a script does not."""
    # Who cannot be spoken to is still worked for.
    with suppress(OSError):
        click.echo(redact(clean(text)), err=True)


def is_broken() -> bool:
    """Whether standard output takes nothing any more, tried with the end of a line."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        return True
    return False


def data(text: str) -> None:
    """Print to standard output: what a script may read."""
    click.echo(clean(text))


def data_json(value: object) -> None:
    """Print one JSON document of ASCII characters to standard output; what is no number becomes null."""
    click.echo(json.dumps(finite(value), indent=2, allow_nan=False, default=str))


def finite(value: Any) -> Any:  # noqa: ANN401 - any JSON value in, any out
    """The value with NaN and infinities replaced by None, which is all that JSON can say of them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def show_problems(problems: Sequence[Problem], *, kind: str = "error") -> None:
    """Print every problem: what, where, why, and what to do."""
    for problem in problems:
        words(f"{kind}: {problem.what}\n  where: {problem.where}\n  why:   {problem.why}\n  fix:   {problem.remedy}")


def show_error(error: FtError) -> None:
    """Print everything that an error says."""
    show_problems(error.problems)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their longest cell, two blanks between them; the last one is not padded."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
