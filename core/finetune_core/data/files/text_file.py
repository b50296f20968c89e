"""Rows in a file of text: JSON Lines, a JSON list, CSV, TSV, plain text or Markdown, packed or not."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from finetune_core.data.files.base import Container, Row, RowFile, Wanted, every, identity
from finetune_core.data.files.parse import parse
from finetune_core.data.files.row_offsets import Bytes, Fault, Frame, Mark, array_frames, line_counts, line_frames
from finetune_core.data.files.streams import Source, open_source
from finetune_core.data.files.text_offsets import csv_frames, parse_record, parse_text, text_frames

_INDEX_EVERY = 256


@dataclass(frozen=True)
class Layout:
    """How the rows of a text file lie in it.

    `start` is where the first row begins; tables have the names of their `columns` and a `delimiter`; a text is
    parted into `paragraphs`, or lines.
    """

    container: Container
    start: Mark
    columns: tuple[str, ...] = ()
    delimiter: str = ""
    paragraphs: bool = False


class TextFile(RowFile):
    """Rows that are found by reading, and reached by an index of where every few of them begin."""

    def __init__(self, path: Path, layout: Layout) -> None:
        super().__init__(path, layout.container)
        self.layout = layout
        self._lock = threading.Lock()
        self._index = [layout.start]
        self._seen = identity(path)

    def __reduce__(self) -> tuple[type[TextFile], tuple[Path, Layout]]:
        return TextFile, (self.path, self.layout)

    def walk(self, start: int = 1, wanted: Wanted = every) -> Iterator[tuple[int, int, Row | None]]:
        """For each row from number `start` on: number, bytes, and the row where it is wanted."""
        with open_source(self.path, self.container.compression) as source:
            for frame in self.frames(source, start):
                number = frame.mark.number
                yield number, frame.size, self._row(source, frame) if wanted(number) else None

    def counting(self) -> Iterator[tuple[int, int]]:
        """Pairs (rows, bytes of the file) seen so far; what is passed is remembered, so that one can go there."""
        with open_source(self.path, self.container.compression) as source:
            rows = 0
            if self.container.kind == "jsonl" and not self.container.compression:
                yield from line_counts(source, self.layout.start, self.remember)
                return
            for frame in self.frames(source, 1):
                rows = frame.mark.number
                if rows % _INDEX_EVERY == 0:
                    yield rows, source.position()
        yield rows, self.size

    def frames(self, source: Source, start: int = 1) -> Iterator[Frame]:
        """Where the rows from number `start` on lie; the last one may be the damage of an archive."""
        for frame in self.frames_from(source, self._nearest(start)):
            if frame.mark.number % _INDEX_EVERY == 0:
                self.remember(frame.mark)
            if frame.mark.number >= start:
                yield frame

    def frames_from(self, source: Source, mark: Mark) -> Iterator[Frame]:
        """Where the rows from a place between two of them on lie, numbered from it; behind them the damage, if any."""
        number, line = mark.number, mark.line
        for frame in self.find(source, mark):
            number, line = frame.mark.number + 1, frame.mark.line
            yield frame
            source.forget(frame.mark.offset)
        if source.damage is not None:
            yield Frame(Mark(number, line, source.tell()), 0, source.damage)

    def find(self, source: Bytes, start: Mark) -> Iterator[Frame]:
        """Where the rows in some bytes lie, from a place between two of them on."""
        kind = self.container.kind
        if kind == "json":
            return array_frames(source, start)
        if kind in ("csv", "tsv"):
            return csv_frames(source, start, self.layout.delimiter)
        return text_frames(source, start) if self.layout.paragraphs else line_frames(source, start)

    def _nearest(self, number: int) -> Mark:
        with self._lock:
            now = identity(self.path)
            if now != self._seen:
                self._seen, self._index = now, [self.layout.start]
            return self._index[bisect_right(self._index, number, key=lambda mark: mark.number) - 1]

    def remember(self, mark: Mark) -> None:
        """A place to begin from when one goes to a row behind it."""
        with self._lock:
            if mark.number > self._index[-1].number:
                self._index.append(mark)

    def _row(self, source: Source, frame: Frame) -> Row:
        mark = frame.mark
        parsed = frame.fault or self.parsed(source.pread(frame.size, mark.offset))
        if isinstance(parsed, dict):
            return Row(mark.number, mark.line, parsed, None, self.name)
        return Row(mark.number, mark.line, None, None, self.name).spoiled(parsed)

    def parsed(self, data: bytes) -> dict[str, object] | Fault:
        """A row's bytes as its value, or why they have none."""
        kind = self.container.kind
        if kind in ("json", "jsonl"):
            return parse(data)
        if kind in ("csv", "tsv"):
            return parse_record(data, self.layout.columns, self.layout.delimiter)
        return parse_text(data)
