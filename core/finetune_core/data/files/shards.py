"""Several files of one kind, read as one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from finetune_core.data.files.base import Container, Identity, Row, RowFile, Wanted, every, identity


def _shifted(wanted: Wanted, base: int) -> Wanted:
    return lambda number: wanted(base + number)


class Shards(RowFile):
    """Rows numbered through all files; lines, and the names in messages, are those of each file."""

    def __init__(self, path: Path, shards: Sequence[RowFile], split: str = "") -> None:
        first = shards[0].container
        super().__init__(path, Container(first.kind, first.compression, len(shards), split))
        self.shards = tuple(shards)
        self._lock = threading.Lock()
        self._counts: dict[int, tuple[Identity, int]] = {}

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold the rows, in their order."""
        return tuple(shard.path for shard in self.shards)

    def walk(self, start: int = 1, wanted: Wanted = every) -> Iterator[tuple[int, int, Row | None]]:
        """For each row from number `start` on: number, bytes, and the row where it is wanted."""
        before = 0
        for place, shard in enumerate(self.shards):
            if start > before + 1 and start > before + (rows := self._count(place)):
                before += rows
                continue
            rows, base = 0, before
            for rows, size, row in shard.walk(max(start - base, 1), _shifted(wanted, base)):
                yield base + rows, size, row and replace(row, number=base + rows, within=rows)
            self.note_rows(place, rows)
            before += rows

    def counting(self) -> Iterator[tuple[int, int]]:
        """Pairs (rows, bytes of the files) seen so far."""
        before = passed = rows = 0
        for place, shard in enumerate(self.shards):
            for rows, seen in shard.counting():
                yield before + rows, passed + seen
            self.note_rows(place, rows)
            before, passed = before + rows, passed + shard.size

    def _count(self, place: int) -> int:
        """How many rows a shard holds; counted once as long as it stays the same."""
        shard = self.shards[place]
        with self._lock:
            known = self._counts.get(place)
        if known is not None and known[0] == identity(shard.path):
            return known[1]
        rows = shard.count()
        self.note_rows(place, rows)
        return rows

    def note_rows(self, place: int, rows: int) -> None:
        """Remember how many rows a shard holds."""
        with self._lock:
            self._counts[place] = identity(self.shards[place].path), rows
