"""The parts of a file that can be read in processes of their own; together they hold every row once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING

from finetune_core.data.files.base import RowFile
from finetune_core.data.files.chunks import Rest, Stretch, Values, stretches
from finetune_core.data.files.line_rows import take_lines
from finetune_core.data.files.parse import parse
from finetune_core.data.files.part_found import Found
from finetune_core.data.files.row_offsets import BLOCK, Fault, Frame, Mark, capped
from finetune_core.data.files.streams import Source, open_source
from finetune_core.data.files.table_file import TableFile
from finetune_core.data.files.text_file import TextFile

if TYPE_CHECKING:
    from pyarrow import RecordBatch

RANGE = 2 * 2**20
_TABLE_PARTS = 8


@dataclass(frozen=True)
class Range:
    """The rows of a JSON Lines file that begin in a range of its bytes.

    A line that begins in the range is read to its end, the rest of an earlier one is left out.
    """

    file: TextFile
    begin: int
    end: int

    @property
    def taken(self) -> int:
        """How much of the file it takes."""
        return self.end - self.begin

    def scan(self) -> Found:
        """Count the rows."""
        found = Found()
        with open_source(self.file.path, "") as source:
            block = _buffer(self.taken)
            source.seek(self.begin)
            size = source.readinto(block)
            at = self._first_line(source, block, size)
            if at is None:
                return found
            end = block.rfind(b"\n", at, size) + 1 or at
            take_lines(found, block, at, end, self.begin)
            last = _last_line(source, Mark(1, found.lines + 1, self.begin + end)) if end < size else None
            if last is not None:
                found.first = found.first or last.mark
                parsed = last.fault or parse(source.pread(last.size, last.mark.offset))
                found.take(parsed, last.mark.line, last.mark.offset)
            found.lines += end < size
        return found

    def values(self) -> Values:
        """The rows one by one."""
        with open_source(self.file.path, "") as source:
            block = source.pread(self.taken, self.begin)
            at = self._first_line(source, block, len(block))
            if at is None:
                return
            end = block.rfind(b"\n", at) + 1 or at
            for line in BytesIO(block[at:end]):
                if not line.isspace():
                    yield parse(line)
            last = _last_line(source, Mark(1, 1, self.begin + end)) if end < len(block) else None
            if last is not None:
                yield last.fault or parse(source.pread(last.size, last.mark.offset))

    def _first_line(self, source: Source, block: bytes | bytearray, size: int) -> int | None:
        """Where in the range its first line begins; None when none does."""
        if self.begin == self.file.layout.start.offset or source.pread(1, self.begin - 1) == b"\n":
            return 0
        return block.find(b"\n", 0, size) + 1 or None


def _last_line(source: Source, mark: Mark) -> Frame | None:
    """The line at a place, however far it goes; None when it is blank."""
    source.seek(mark.offset)
    size, blank, text = 0, True, b""
    while not text.endswith(b"\n") and (text := source.readline(BLOCK)):
        size, blank = size + len(text), blank and text.isspace()
    return None if blank else capped(mark, size)


@dataclass(frozen=True)
class TableRows:
    """Rows of a table, by their numbers in it, from `begin` to the one before `end`."""

    file: TableFile
    begin: int
    end: int
    taken: int

    def scan(self) -> Found:
        """Look at the columns."""
        found = Found()
        for _, batch, count in self._batches():
            _scan_batch(self.file, found, batch, count)
        return found

    def values(self) -> Values:
        """The rows one by one."""
        for _, batch, count in self._batches():
            yield from [batch] * count if isinstance(batch, Fault) else self.file.values(batch)

    def _batches(self) -> Iterator[tuple[int, RecordBatch | Fault, int]]:
        for first, batch, count in self.file.batches(self.begin):
            if first >= self.end:
                return
            begin, end = max(self.begin - first, 0), min(self.end - first, count)
            if begin < end:
                yield first, batch if isinstance(batch, Fault) else batch.slice(begin, end - begin), end - begin


def _scan_batch(file: TableFile, found: Found, batch: RecordBatch | Fault, count: int) -> None:
    """Columns are counted without turning their values into Python's, unless that is what fails."""
    if isinstance(batch, Fault):
        for _ in range(count):
            found.take(batch, None, None)
        return
    if _is_sound(batch):
        found.rows += count
    else:
        for value in file.values(batch):
            found.take(value if isinstance(value, Fault) else {}, None, None)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        found.columns[name] += count - column.null_count


def _is_sound(batch: RecordBatch) -> bool:
    """Whether all values can be had: texts are UTF-8, offsets lie inside, times are such as Python knows."""
    from pyarrow import types

    try:
        batch.validate(full=True)
        for column in batch.columns:
            if types.is_temporal(column.type):
                column.to_pylist()
    except (ValueError, OverflowError):
        return False
    return True


@cache
def _buffer(size: int) -> bytearray:
    """Memory to read a range into: using it again costs half of what new memory does."""
    return bytearray(size)


Part = Range | Stretch | Rest | TableRows


def parts(file: RowFile, table_rows: int) -> Iterator[Part]:
    """The parts of one file, in its order; those of a table hold at least `table_rows`."""
    if isinstance(file, TableFile):
        yield from _of_table(file, table_rows)
    elif isinstance(file, TextFile) and (file.container.kind != "jsonl" or file.container.compression):
        yield from stretches(file)
    elif isinstance(file, TextFile):
        start, end = file.layout.start.offset, file.size
        for begin in range(start, end, RANGE):
            yield Range(file, begin, min(begin + RANGE, end))


def _of_table(file: TableFile, least: int) -> Iterator[TableRows]:
    rows = file.count()
    # Whoever begins in the middle of a group reads it from its start.
    each = max(least, -(-rows // _TABLE_PARTS), 1)
    for begin in range(0, rows, each):
        end = min(begin + each, rows)
        yield TableRows(file, begin + 1, end + 1, file.size * (end - begin) // rows)
