"""Rows as a recipe names them: opened, their shape recognised, refused where they are not trained on, converted.

Plan, checks, tokeniser, wizard and trainer all come to their rows here, so that what one of them counts, shows or
refuses is what the next one trains on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from finetune_core.data.files.base import Row
from finetune_core.data.files.open import RowFile, open_rows
from finetune_core.data.rows import CanonicalRow, Conversation, Text, TrainingRow
from finetune_core.data.shapes.ambiguities import to_decide
from finetune_core.data.shapes.convert import convert
from finetune_core.data.shapes.recognise import AUTOMATIC, Choice, Shape, recognise, training_refusal
from finetune_core.errors import FtError, Problem


@dataclass(frozen=True)
class Conversion:
    """How rows of one shape become canonical ones, mended as `fixes` say (name of a finding -> what to do)."""

    shape: Shape
    fixes: Mapping[str, str]

    @property
    def refusal(self) -> Problem | None:
        """Why rows of this shape are not trained on, or what has to be decided first; None where they are."""
        return training_refusal(self.shape) or (to_decide(self.shape.question) if self.shape.question else None)

    def of(self, row: Row) -> CanonicalRow | Problem:
        """The row in canonical form, of whatever kind, or what is wrong with it."""
        return convert(row, self.shape, self.fixes)

    def trained(self, row: Row) -> TrainingRow | Problem:
        """The row in a form that is trained on, or what is wrong with it."""
        found = self.of(row)
        if isinstance(found, Conversation | Text | Problem):
            return found
        refused = self.refusal
        assert refused is not None, "rows of every other kind are refused"
        return refused


@dataclass(frozen=True)
class UsableRows:
    """The rows of a source, and how they are converted."""

    file: RowFile
    conversion: Conversion

    @property
    def shape(self) -> Shape:
        """What the rows are."""
        return self.conversion.shape

    def trained(self, rows: Iterable[Row] | None = None) -> Iterator[tuple[int, TrainingRow | Problem]]:
        """The number of each row with what is trained of it, or what is wrong with it; all rows, or these."""
        for row in self.file.rows() if rows is None else rows:
            yield row.number, self.conversion.trained(row)

    def canonical(self) -> Iterator[tuple[int, CanonicalRow | Problem]]:
        """The number of each row with its canonical form, of whatever kind, or what is wrong with it."""
        for row in self.file.rows():
            yield row.number, self.conversion.of(row)


def recognised(file: RowFile, choice: Choice = AUTOMATIC) -> UsableRows:
    """The rows of an open file, whether they are trained on or not. Raises FtError where their shape is not known.

    The shape follows from the same first rows (`RowFile.head`) for everybody who asks.
    """
    return UsableRows(file, Conversion(recognise(file.head(), choice), choice.fixes))


def usable(source: str, choice: Choice = AUTOMATIC, *, held_out: bool = False) -> UsableRows:
    """The rows of a source that are trained on.

    Raises FtError where the source cannot be opened, its shape is not known, or rows of its kind are not trained on.
    """
    found = recognised(open_rows(source, held_out=held_out), choice)
    if (refused := found.conversion.refusal) is not None:
        raise FtError(replace(refused, why=f"{found.file.name}: {refused.why}") if found.shape.question else refused)
    return found
