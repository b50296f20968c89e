"""One part of a full scan: a stretch of a file whose rows are all parsed, in a process of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from ft_core.data.containers.base import RowFile
from ft_core.data.containers.streams import Source, open_source
from ft_core.data.containers.table_file import TableFile
from ft_core.data.containers.text_file import TextFile
from ft_core.data.frames import BLOCK, Fault, Frame, Mark, capped
from ft_core.data.parse import names_if_sound, parse, quoted

if TYPE_CHECKING:
    from pyarrow import RecordBatch

RANGE = 2 * 2**20
PROBLEMS = 100
COLUMNS = 10_000
_NAME_SETS = 1000
_NAMES = 50

_FRAMED_BYTES = 4 * 2**20
_FRAMED_ROWS = 20_000

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

    `first` is where its first row begins, numbered from 1 within the part, for an index; `bytes` is how far the part
    went, for progress.
    """

    rows: int = 0
    lines: int = 0
    bad: int = 0
    bytes: int = 0
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

    def take_many(self, counted: Counter[Names | None], rows: int) -> None:
        """Count so many good rows, each on a line of its own, more."""
        self.rows, self.lines = self.rows + rows, self.lines + rows
        for names, count in counted.items():
            self._names[names or ()] += count
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


@dataclass(frozen=True)
class Range:
    """The rows of a JSON Lines file that begin in a range of its bytes."""

    file: TextFile
    begin: int
    end: int

    def scan(self) -> Found:
        """Parse them. A line that begins in the range is read to its end, the rest of an earlier one is left out."""
        found = Found(bytes=self.end - self.begin)
        with open_source(self.file.path, "") as source:
            block = _buffer(self.end - self.begin)
            source.seek(self.begin)
            size = source.readinto(block)
            at = 0
            if self.begin != self.file.layout.start.offset and source.pread(1, self.begin - 1) != b"\n":
                at = block.find(b"\n", 0, size) + 1
                if not at:
                    return found
            end = block.rfind(b"\n", at, size) + 1 or at
            self._take_lines(found, block, at, end)
            if end < size:
                self._take_last(found, source, self.begin + end)
        return found

    def _take_lines(self, found: Found, block: bytearray, at: int, end: int) -> None:
        """The whole lines between two places of the range."""
        ends = _line_ends(block, at, end)
        with memoryview(block) as view:
            sound = [names_if_sound(view, before + 1, stop) for before, stop in pairwise([at - 1, *ends])]
        counted = Counter(sound)
        slow = _may_repeat(block, at, end, counted)
        if ends and not slow and counted[None] == 0:
            found.first = Mark(1, 1, self.begin + at)
            found.take_many(counted, len(ends))
            return
        for begin, stop, names in zip([at, *(place + 1 for place in ends)], ends, sound, strict=False):
            found.lines += 1
            text = bytes(block[begin:stop])
            if text and not text.isspace():
                found.first = found.first or Mark(1, found.lines, self.begin + begin)
                if names is None or slow:
                    self._take_slowly(found, text, self.begin + begin)
                else:
                    found.take_names(names)

    def _take_slowly(self, found: Found, text: bytes, offset: int) -> None:
        parsed = parse(text)
        # Whether a bad row was cut off is told from its line end.
        found.take(parsed if isinstance(parsed, dict) else parse(text + b"\n"), found.lines, offset)

    def _take_last(self, found: Found, source: Source, offset: int) -> None:
        """The line that goes on behind the range, or the last of the file."""
        source.seek(offset)
        size, blank, text = 0, True, b""
        while not text.endswith(b"\n") and (text := source.readline(BLOCK)):
            size, blank = size + len(text), blank and text.isspace()
        found.lines += text.endswith(b"\n")
        if blank:
            return
        line = found.lines + (not text.endswith(b"\n"))
        frame = capped(Mark(1, line, offset), size)
        found.first = found.first or frame.mark
        found.take(frame.fault or parse(source.pread(size, offset)), line, offset)


@dataclass(frozen=True)
class Framed:
    """Rows whose places in the file are known already."""

    file: TextFile
    frames: list[Frame]
    bytes: int

    def scan(self) -> Found:
        """Parse them. Lines are those of the file."""
        found = Found(bytes=self.bytes)
        if self.frames:
            mark = self.frames[0].mark
            found.first = Mark(1, mark.line, mark.offset)
        with open_source(self.file.path, "") as source:
            for frame in self.frames:
                mark = frame.mark
                parsed = frame.fault or self.file.parsed(source.pread(frame.size, mark.offset))
                found.take(parsed, mark.line, mark.offset)
        return found


@dataclass(frozen=True)
class Whole:
    """A file that is only read from its start to its end: a packed one, or a table."""

    file: RowFile

    def scan(self) -> Found:
        """Parse it, or for a table look at its columns."""
        found = Found(bytes=self.file.size)
        if isinstance(self.file, TableFile):
            _scan_table(self.file, found)
        elif isinstance(self.file, TextFile):
            with open_source(self.file.path, self.file.container.compression) as source:
                for frame in self.file.frames(source):
                    parsed = frame.fault or self.file.parsed(source.pread(frame.size, frame.mark.offset))
                    found.take(parsed, frame.mark.line, frame.mark.offset)
        return found


def _scan_table(file: TableFile, found: Found) -> None:
    """Columns are counted without turning their values into Python's, unless that is what fails."""
    for _, batch, count in file.batches():
        if isinstance(batch, Fault):
            for _ in range(count):
                found.take(batch, None, None)
            continue
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


def _line_ends(block: bytearray, at: int, end: int) -> list[int]:
    ends: list[int] = []
    place = block.find(b"\n", at, end)
    while place >= 0:
        ends.append(place)
        place = block.find(b"\n", place + 1, end)
    return ends


def _may_repeat(block: bytearray, begin: int, end: int, counted: Counter[Names | None]) -> bool:
    """Whether some row may have a name twice: the names stand in quotes more often than there are rows with them."""
    expected: Counter[str] = Counter()
    for names, rows in counted.items():
        for name in names or ():
            expected[name] += rows
    if len(expected) > _NAMES:
        return True
    return any(block.count(quoted(name), begin, end) > rows for name, rows in expected.items())


Part = Range | Framed | Whole


def parts(file: RowFile) -> Iterator[Part]:
    """The parts of one file, in its order; those of a JSON list or a table of text are found by reading it once."""
    if not isinstance(file, TextFile) or file.container.compression:
        yield Whole(file)
    elif file.container.kind == "jsonl":
        start, end = file.layout.start.offset, file.size
        for begin in range(start, end, RANGE):
            yield Range(file, begin, min(begin + RANGE, end))
    else:
        yield from _framed(file)


def _framed(file: TextFile) -> Iterator[Part]:
    with open_source(file.path, "") as source:
        frames: list[Frame] = []
        size, seen = 0, file.layout.start.offset
        for frame in file.frames(source):
            frames.append(frame)
            size += frame.size
            if size >= _FRAMED_BYTES or len(frames) >= _FRAMED_ROWS:
                end = frame.mark.offset + frame.size
                yield Framed(file, frames, end - seen)
                frames, size, seen = [], 0, end
        if frames:
            yield Framed(file, frames, max(file.size - seen, 0))
