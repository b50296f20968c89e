"""Stretches of a text file whose rows can be had without the rest of it: each ends where a row ends.

Where they end is guessed, and proven by whoever reads them: a stretch that begins between two rows and holds nothing
but whole rows ends between two rows as well.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from orjson import JSONDecodeError, loads
from pydantic_core import from_json

from finetune_core.data.files.line_rows import may_repeat, take_lines
from finetune_core.data.files.parse import BOM
from finetune_core.data.files.part_found import Found, Names
from finetune_core.data.files.row_offsets import LIST_NOT_CLOSED, Fault, Frame, Mark, array_frames
from finetune_core.data.files.streams import Source, open_source
from finetune_core.data.files.text_file import TextFile
from finetune_core.limits import ROW_BYTES

STRETCH = 2 * 2**20
# How far behind the wanted place an end is looked for: mostly near, else once more.
_NEAR, _FAR = 2**16, 4 * 2**20
# Rows of this size are never whole in a stretch.
_MOST = ROW_BYTES + 4 * 2**20
_LEARNT_FROM = 4 * 2**20
_ROWS_COMPARED = 12
_ENDS_TRIED, _RECORDS_TRIED = 60, 3
_FIRST_NAME = re.compile(rb'\{(?:\s*"[^"\\]*")?')
_BLANK_LINE = re.compile(rb"\n[ \t\r\f\v]*\n")

Cut = Callable[[bytes, int], int]
Values = Iterator["dict[str, object] | Fault"]


class OpenEndError(Exception):
    """A stretch does not end where a row ends: it has to be read together with what comes behind it."""


class Memory(io.BytesIO):
    """Bytes that frames are found in. `asked_behind` counts lines asked for behind the last one."""

    asked_behind = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        """The rest of the line, at most `size` bytes of it."""
        text = super().readline(size)
        self.asked_behind += not text
        return text

    def pread(self, size: int, offset: int) -> bytes:
        """Bytes from `offset` on, without moving."""
        return self.getbuffer()[offset : offset + size].tobytes()


@dataclass(frozen=True)
class Stretch:
    """The rows between two places of a file. `held` is its text where that was packed; `last`: the file ends here.

    `taken` is how much of the file it takes, for progress.
    """

    file: TextFile
    offset: int
    size: int
    taken: int
    last: bool
    held: bytes | None = None

    def joined(self, more: Sequence[Stretch | Rest]) -> Stretch | Rest:
        """This stretch with those that follow it; all that is left of the file where it would be too large."""
        taken = self.taken + sum(one.taken for one in more)
        stretches = [self, *(one for one in more if isinstance(one, Stretch))]
        size = sum(one.size for one in stretches)
        if len(stretches) <= len(more) or size > _MOST:
            return Rest(self.file, self.offset, taken)
        held = None if self.held is None else b"".join(one.held or b"" for one in stretches)
        return replace(self, size=size, taken=taken, last=stretches[-1].last, held=held)

    def scan(self) -> Found:
        """Count the rows. OpenEndError when it does not end between two rows."""
        text = self._text()
        if self.file.container.kind == "jsonl" and text.endswith(b"\n"):
            take_lines(found := Found(), text, 0, len(text), self.offset)
            return found
        found = Found(lines=text.count(b"\n"))
        counted = self._names(text)
        if counted is not None:
            found.take_many(counted)
        else:
            for frame, parsed in self._rows(text):
                found.take(parsed, frame.mark.line, self.offset + frame.mark.offset)
        if found.rows:
            found.first = Mark(1, 1, self.offset)
        return found

    def values(self) -> Values:
        """The rows one by one, as `TextFile.parsed` gives them. OpenEndError, before the first one, as `scan`."""
        text = self._text()
        quick = self._quick(text)
        if quick is not None:
            yield from quick
        else:
            yield from (parsed for _, parsed in self._rows(text))

    def _text(self) -> bytes:
        if self.held is not None:
            return self.held
        with open_source(self.file.path, "") as source:
            return source.pread(self.size, self.offset)

    def _rows(self, text: bytes) -> Iterator[tuple[Frame, dict[str, object] | Fault]]:
        memory = Memory(text)
        frames = list(self.file.find(memory, Mark(1, 1, 0)))
        if not self.last:
            frames = _closed(self.file, text, frames, memory)
        for frame in frames:
            mark = frame.mark
            yield frame, frame.fault or self.file.parsed(memory.pread(frame.size, mark.offset))

    # Whole stretches parsed at one go; None where one row has to be looked at after the other

    def _names(self, text: bytes) -> Counter[Names] | None:
        kind = self.file.container.kind
        if kind == "json" and (listed := _as_list(text, last=self.last)) is not None:
            try:
                return _named(text, loads(listed))
            except JSONDecodeError:
                return None
        if kind in ("csv", "tsv") and (records := self._records(text)) is not None:
            return Counter({self.file.layout.columns: len(records)} if records else {})
        return None

    def _quick(self, text: bytes) -> Values | None:
        kind = self.file.container.kind
        if kind == "json" and (listed := _as_list(text, last=self.last)) is not None:
            try:
                values = from_json(listed, allow_inf_nan=False)
            except ValueError:
                return None
            return None if _named(text, values) is None else iter(values)
        if kind in ("csv", "tsv") and (records := self._records(text)) is not None:
            return (dict(zip(self.file.layout.columns, cells, strict=True)) for cells in records)
        return None

    def _records(self, text: bytes) -> list[list[str]] | None:
        """The cells of a table whose records are all sound, as `csv_frames` and `read_cells` find them."""
        layout = self.file.layout
        if b"\0" in text or BOM in text or not (self.last or text.endswith(b"\n")):
            return None
        try:
            lines = io.StringIO(text.decode(), newline="\n")
            records = list(filter(None, csv.reader(lines, delimiter=layout.delimiter, strict=True)))
        except (UnicodeDecodeError, csv.Error):
            return None
        wanted = len(layout.columns)
        for cells in records:
            # A record of blanks may be a blank line.
            if len(cells) != wanted or not (cells[0].strip() or any(map(str.strip, cells))):
                return None
        return records


@dataclass(frozen=True)
class Rest:
    """All rows of a file from a place between two of them on, read one after the other."""

    file: TextFile
    offset: int
    taken: int

    def scan(self) -> Found:
        """Count the rows."""
        found = Found(first=Mark(1, 1, self.offset))
        for frame, parsed in self._rows():
            found.take(parsed, frame.mark.line, frame.mark.offset)
        return found

    def values(self) -> Values:
        """The rows one by one."""
        return (parsed for _, parsed in self._rows())

    def _rows(self) -> Iterator[tuple[Frame, dict[str, object] | Fault]]:
        with open_source(self.file.path, self.file.container.compression) as source:
            for frame in self.file.frames_from(source, Mark(1, 1, self.offset)):
                yield frame, frame.fault or self.file.parsed(source.pread(frame.size, frame.mark.offset))


def _as_list(text: bytes, *, last: bool) -> bytes | None:
    """Elements of a JSON list as a list of their own."""
    body = text.rstrip(b" \t\r\n")
    if last:
        return b"[" + body
    return b"[" + body[:-1] + b"]" if body.endswith(b",") else None


def _named(text: bytes, values: object) -> Counter[Names] | None:
    """The names of rows that `parse` would find sound too; None where one may be no object, or have a name twice."""
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        return None
    counted = Counter(map(tuple, values))
    return None if may_repeat(text, 0, len(text), counted) else counted


def _closed(file: TextFile, text: bytes, frames: list[Frame], memory: Memory) -> list[Frame]:
    """The frames of a stretch that ends between two rows, without what only its end made."""
    kind = file.container.kind
    if kind == "json":
        if not frames or frames[-1].fault is not LIST_NOT_CLOSED or text[frames[-1].mark.offset :].strip(b" \t\r\n,"):
            raise OpenEndError
        return frames[:-1]
    if file.layout.paragraphs:
        if text[len(text.rstrip()) :].count(b"\n") < 2:
            raise OpenEndError
    # A record that is open at the end asks for a line more.
    elif not text.endswith(b"\n") or (kind in ("csv", "tsv") and memory.asked_behind > 1):
        raise OpenEndError
    return frames


# Where to cut


def stretches(file: TextFile) -> Iterator[Stretch | Rest]:
    """The stretches of a file, in order. A packed file is unpacked for it, once."""
    with open_source(file.path, file.container.compression) as source:
        cut = _cut_of(file, source)
        if file.container.compression:
            yield from _unpacked(file, source, cut)
        else:
            yield from _plain(file, source, cut)


def _plain(file: TextFile, source: Source, cut: Cut | None) -> Iterator[Stretch | Rest]:
    offset, end = file.layout.start.offset, file.size
    while (left := end - offset) > STRETCH + _FAR:
        if cut is None:
            yield Rest(file, offset, left)
            return
        # Where no end is in sight any place is as good as another: what follows is joined to it.
        size = STRETCH + (_place(source, cut, offset + STRETCH) or _FAR)
        yield Stretch(file, offset, size, size, last=False)
        offset += size
    yield Stretch(file, offset, max(left, 0), max(left, 0), last=True)


def _place(source: Source, cut: Cut, offset: int) -> int:
    """How far behind a place a row begins; 0 where none is in sight."""
    return max(cut(source.pread(_NEAR, offset), 0), 0) or max(cut(source.pread(_FAR, offset), 0), 0)


def _unpacked(file: TextFile, source: Source, cut: Cut | None) -> Iterator[Stretch | Rest]:
    offset, seen = file.layout.start.offset, 0
    while True:
        text = source.pread(STRETCH + _FAR, offset)
        ends, at = len(text) < STRETCH + _FAR, source.position()
        if source.damage is not None or (cut is None and not ends):
            yield Rest(file, offset, max(file.size - seen, 0))
            return
        if cut is not None and not ends:
            size = cut(text[: STRETCH + _NEAR], STRETCH)
            size = size if size > 0 else cut(text, STRETCH)
            text = text[:size] if size > 0 else text
        yield Stretch(file, offset, len(text), at - seen, ends, text)
        if ends:
            return
        offset, seen = offset + len(text), at
        source.seek(offset)
        source.forget(offset)


def _cut_of(file: TextFile, source: Source) -> Cut | None:
    """Where rows of this file begin: a function of text and the place in it from which on to look; -1 for nowhere."""
    kind, columns = file.container.kind, file.layout.columns
    if kind == "json":
        between = _between_rows(source.pread(_LEARNT_FROM, file.layout.start.offset))
        return (lambda text, at: _behind(text.find(between, at), between.index(b"{"))) if between else None
    if kind in ("csv", "tsv"):
        records = _records(len(columns), file.layout.delimiter)
        return lambda text, at: _record_begins(text, at, records)
    if file.layout.paragraphs:
        return lambda text, at: -1 if (blank := _BLANK_LINE.search(text, at)) is None else blank.end()
    return lambda text, at: _behind(text.find(b"\n", at), 1)


def _behind(place: int, by: int) -> int:
    return -1 if place < 0 else place + by


def _between_rows(text: bytes) -> bytes:
    """What stands between the rows of a JSON list, as far as the name of a row's first field; empty if unknown."""
    frames = [frame for frame in islice(array_frames(Memory(text), Mark(1, 1, 0)), _ROWS_COMPARED) if not frame.fault]
    ends = [_FIRST_NAME.match(text, frame.mark.offset) for frame in frames]
    between = [
        text[before.mark.offset + before.size - 1 : end.end()]
        for before, end in zip(frames, ends[1:], strict=False)
        if end is not None
    ]
    common = min(between, default=b"")
    while not all(one.startswith(common) for one in between):
        common = common[:-1]
    return common if b"{" in common else b""


def _record_begins(text: bytes, at: int, records: re.Pattern[bytes]) -> int:
    """Where a record of a table begins, most likely: behind a line end that some records follow."""
    first = -1
    for _ in range(_ENDS_TRIED):
        at = text.find(b"\n", at) + 1
        if not at or records.match(text, at):
            return at or first
        first = at if first < 0 else first
    return first


def _records(columns: int, delimiter: str) -> re.Pattern[bytes]:
    """Some records as programs write them: with all cells, and in quotes each one that holds a quotation mark."""
    mark = re.escape(delimiter.encode())
    cell = rb'(?:"(?:[^"]++|"")*+"|[^"\r\n' + mark + rb"]*+)"
    record = cell + rb"(?:" + mark + cell + rb"){%d}\r?\n" % (columns - 1)
    return re.compile(rb"(?:" + record + rb"){%d}" % _RECORDS_TRIED)
