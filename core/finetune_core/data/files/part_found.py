"""What one part of a full scan found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from finetune_core.data.files.row_offsets import Fault, Mark

PROBLEMS = 100
COLUMNS = 10_000
_NAME_SETS = 1000

Names = tuple[str, ...]


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be had: its number and line within the part (from 1), its byte in the file, and why."""

    number: int
    line: int | None
    offset: int | None
    fault: Fault


@dataclass
class Found:
    """What a part held: rows and lines; how many rows are bad, and the first of those; columns and their rows.

    `first` is where its first row begins, numbered from 1 within the part, for an index.
    """

    rows: int = 0
    lines: int = 0
    bad: int = 0
    bad_rows: list[BadRow] = field(default_factory=list)
    columns: Counter[str] = field(default_factory=Counter)
    first: Mark | None = None
    _names: Counter[Names] = field(default_factory=Counter)

    def take(self, parsed: dict[str, object] | Fault, line: int | None, offset: int | None) -> None:
        """Count one row more."""
        if isinstance(parsed, dict):
            self.take_names(tuple(parsed))
            return
        self.rows, self.bad = self.rows + 1, self.bad + 1
        if len(self.bad_rows) < PROBLEMS:
            self.bad_rows.append(BadRow(self.rows, line, offset, parsed))

    def take_names(self, names: Names) -> None:
        """Count one good row more, of which the names of its fields are known."""
        self.rows += 1
        # Rows mostly have the same names: the set of them is counted, and taken apart in the end.
        self._names[names] += 1
        if len(self._names) > _NAME_SETS:
            self.finish()

    def take_many(self, counted: Counter[Names]) -> None:
        """Count so many good rows with these names more."""
        self.rows += counted.total()
        self._names.update(counted)
        if len(self._names) > _NAME_SETS:
            self.finish()

    def finish(self) -> Found:
        """Bring `columns` up to date. At most 10,000 names are kept."""
        for names, count in self._names.items():
            for name in names:
                if name in self.columns or len(self.columns) < COLUMNS:
                    self.columns[name] += count
        self._names.clear()
        return self
