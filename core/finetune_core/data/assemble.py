"""From the files a recipe names to the rows that are trained on and measured, with a record of every row left out."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from finetune_core.data.checks.findings.checker import kind_of
from finetune_core.data.checks.findings.compare import leakage
from finetune_core.data.checks.findings.fixes import facts_of, fixed, silent
from finetune_core.data.checks.findings.report import Finding
from finetune_core.data.filters import filter_reason, nothing_left
from finetune_core.data.rows import CanonicalRow, TrainingRow
from finetune_core.data.shapes.recognise import AUTOMATIC, Choice
from finetune_core.data.split import split
from finetune_core.data.usable import usable
from finetune_core.errors import FtError, Problem
from finetune_core.recipe.schema import Data


@dataclass
class Source:
    """One file of a set: what was read of it, and which rows (number, kind of finding) were left out."""

    name: str
    rows: int = 0
    used: list[TrainingRow] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    left_out: list[tuple[int, str]] = field(default_factory=list)
    groups: Mapping[int, int] = field(default_factory=dict)

    def leave_out(self, number: int, kind: str) -> None:
        """Note that a row is not used, and why."""
        self.left_out.append((number, kind))

    def drop(self, found: Finding) -> None:
        """Leave out every row of a finding."""
        dropped = frozenset(found.rows)
        self.left_out += [(number, found.kind.name) for number in found.rows]
        self.used = [row for row in self.used if row.number not in dropped]

    def record(self) -> dict[str, object]:
        """For the run's record: rows, used ones, and each one left out with its reason."""
        counts = Counter(kind for _, kind in self.left_out)
        return {
            "source": self.name,
            "rows": self.rows,
            "used": len(self.used),
            "left_out": dict(counts),
            "left_out_rows": [list(pair) for pair in sorted(self.left_out)],
        }


@dataclass(frozen=True)
class RowSet:
    """The rows of a run, in order, and where they come from: the recipe's source first, then what is mixed in.

    `leaks` are findings of rows of the held-out file that are trained on too, or nearly, and stay in.
    """

    train: list[TrainingRow]
    held_out: list[TrainingRow]
    sources: list[Source]
    leaks: list[Finding] = field(default_factory=list)

    @property
    def problems(self) -> list[Problem]:
        """Rows that cannot be used, of every file."""
        return [found for source in self.sources for found in source.problems]

    def record(self) -> dict[str, object]:
        """Exactly which rows were used: content and order as a hash, and each row left out with its reason."""
        return {
            "sources": [source.record() for source in self.sources],
            "train": {"rows": len(self.train), "sha256": rows_hash(self.train)},
            "held_out": {"rows": len(self.held_out), "sha256": rows_hash(self.held_out)},
            "leaks": {found.kind.name: list(found.rows) for found in self.leaks},
        }


def assemble(data: Data, seed: int, progress: Callable[[int, int], None] = silent) -> RowSet:
    """Read, filter, mix and part the rows of a recipe.

    `progress` is called with rows checked and rows in all of a file, and may raise to stop. FtError when a file cannot
    be opened, its shape is not known or not trained on, or no row is left.
    """
    choice = Choice.of(data)
    source = _filtered(read_source(data.source, choice, progress), data)
    if not source.used:
        raise FtError(source.problems[:20] or [nothing_left(source.name, source.rows, data)])
    mixed = [_filtered(read_source(path, AUTOMATIC, progress), data) for path in data.mix]
    leaks: list[Finding] = []
    if data.held_out is not None:
        apart = read_source(data.held_out, choice, progress, held_out=True)
        leaks = _leaks(source.used, apart, choice.fixes, progress)
        train, held_out, files = source.used, apart.used, [source, *mixed, apart]
    else:
        train, held_out = split(source.used, data.held_out_share, seed, source.groups)
        files = [source, *mixed]
    for file in mixed:
        _without_held_out(file, held_out, choice.fixes)
    return RowSet(_mixed(train, mixed, list(data.mix.values()), seed), held_out, files, leaks)


def _leaks(
    train: Sequence[TrainingRow], apart: Source, fixes: Mapping[str, str], progress: Callable[[int, int], None]
) -> list[Finding]:
    """What of a held-out file is trained on too, without the rows that the fixes drop. FtError when none is left."""
    leaks = []
    for found in leakage(facts_of(train, progress), facts_of(apart.used)):
        if fixes.get(found.kind.name) == "drop":
            apart.drop(found)
        else:
            leaks.append(found)
    if apart.rows and not apart.used:
        raise FtError(
            Problem(
                "no held-out row is left",
                "data.held_out",
                "each of its rows is trained on too, cannot be used, or is left out by data.fixes",
                "hold out other rows, or set data.held_out_share instead",
            )
        )
    return leaks


def _without_held_out(file: Source, held_out: Sequence[TrainingRow], fixes: Mapping[str, str]) -> None:
    """Leave out of a mixed-in file what is held out, or nearly: it would be both trained on and measured."""
    if not held_out:
        return
    for found in leakage(facts_of(held_out), facts_of(file.used)):
        if fixes.get(found.kind.name) != "keep":
            file.drop(found)


def read_source(
    path: str, choice: Choice, progress: Callable[[int, int], None] = silent, *, held_out: bool = False
) -> Source:
    """Every row of one file that can be trained on; the others are noted. FtError as `assemble`."""
    source = Source(path)
    for number, row in usable(path, choice, held_out=held_out).trained():
        source.rows += 1
        if isinstance(row, Problem):
            source.problems.append(row)
            source.leave_out(number, kind_of(row))
        else:
            source.used.append(row)
    source.used, dropped, source.groups = fixed(source.used, choice.fixes, progress)
    source.left_out += dropped
    return source


def counts(rows: int, shares: Sequence[float]) -> list[int]:
    """How many rows to take from each mixed-in file, so that it makes up its share of all training rows."""
    whole = rows / (1 - sum(shares))
    return [round(whole * share) for share in shares]


def rows_hash(rows: Iterable[CanonicalRow]) -> str:
    """SHA-256, in hex, over content and order of rows: canonical JSON, one row a line."""
    digest = hashlib.sha256()
    for row in rows:
        content = {name: value for name, value in asdict(row).items() if name != "extra"}
        digest.update(json.dumps(content, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()


def _filtered(source: Source, data: Data) -> Source:
    """The source without the rows that its filters leave out."""
    kept: list[TrainingRow] = []
    for row in source.used:
        reason = filter_reason(row, data)
        if reason:
            source.leave_out(row.number, reason)
        else:
            kept.append(row)
    source.used = kept
    return source


def _mixed(train: list[TrainingRow], files: list[Source], shares: list[float], seed: int) -> list[TrainingRow]:
    """Training rows with a seeded choice from each mixed-in file behind them."""
    together = list(train)
    for file, wanted in zip(files, counts(len(train), shares), strict=True):
        if wanted < len(file.used):
            # As bytes: a file's name need not be UTF-8.
            chance = random.Random(f"{seed}:{file.name}".encode(errors="surrogateescape"))  # noqa: S311
            places = set(chance.sample(range(len(file.used)), wanted))
            for place, row in enumerate(file.used):
                if place not in places:
                    file.leave_out(row.number, "not-drawn")
            file.used = [row for place, row in enumerate(file.used) if place in places]
        together += file.used
    return together
