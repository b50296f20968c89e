"""What every container of rows gives, whatever its kind: one page at once, all rows in order, a count, a hash."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from finetune_core.data.files.row_offsets import Fault
from finetune_core.errors import FtError, Problem
from finetune_core.text import one_line

Kind = Literal["jsonl", "json", "csv", "tsv", "parquet", "txt", "md", "arrow"]
Compression = Literal["", "gzip", "zstd"]
Wanted = Callable[[int], bool]
# Of one file: inode, size in bytes, time of the last change in ns.
Identity = tuple[int, int, int]

HEAD_ROWS = 1000
HEAD_BYTES = 16 * 2**20

_NAMES: dict[str, str] = {
    "jsonl": "JSON Lines",
    "json": "a JSON list",
    "csv": "CSV",
    "tsv": "TSV",
    "parquet": "Parquet",
    "txt": "plain text",
    "md": "Markdown",
    "arrow": "Arrow",
}


@dataclass(frozen=True)
class Container:
    """What rows lie in. `shards` counts the files; `split` names the one chosen of several in a folder."""

    kind: Kind
    compression: Compression = ""
    shards: int = 1
    split: str = ""

    @property
    def name(self) -> str:
        """For programs: `csv`, `jsonl.gzip`."""
        return f"{self.kind}.{self.compression}" if self.compression else self.kind

    @property
    def words(self) -> str:
        """For people: `CSV`, `3 shards of gzip JSON Lines`."""
        name = " ".join(filter(None, (self.compression, _NAMES[self.kind].removeprefix("a ")))).strip()
        if self.shards > 1:
            name = f"{self.shards} shards of {name}"
        return f"{name}, split {one_line(self.split, 40)}" if self.split else name


@dataclass(frozen=True)
class Row:
    """One row: its value, or the problem that stands in its place.

    `number` counts rows and `line` lines, both from 1; `source` is the file's name, for messages. `within` is the
    row's number in its own file where that is one of several shards.
    """

    number: int
    line: int | None
    value: dict[str, object] | None
    problem: Problem | None
    source: str = ""
    within: int | None = None

    @property
    def where(self) -> str:
        """The place of the row as messages name it: `rows.jsonl:17`, or `rows.parquet row 17`."""
        if self.line is not None:
            return f"{self.source}:{self.line}"
        return f"{self.source} row {self.within or self.number}"

    def spoiled(self, fault: Fault) -> Row:
        """The row with a problem at its place instead of a value."""
        return replace(self, value=None, problem=Problem(fault.what, self.where, fault.why, fault.remedy))


def never() -> bool:
    """A `cancel` that never says so."""
    return False


def silent(_done: int, _total: int) -> None:
    """A `progress` that nobody looks at."""


def every(_number: int) -> bool:
    """A `wanted` that wants every row."""
    return True


class RowFile(ABC):
    """Rows in a file or a folder. Every method opens the files anew, so that several threads may read at once."""

    def __init__(self, path: Path, container: Container) -> None:
        self.path = path
        self.container = container
        self.name = one_line(path.name or str(path), 80)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold the rows, in their order."""
        return (self.path,)

    @property
    def size(self) -> int:
        """Size of the files in bytes, now."""
        return sum(path.stat().st_size for path in self.files)

    @abstractmethod
    def walk(self, start: int = 1, wanted: Wanted = every) -> Iterator[tuple[int, int, Row | None]]:
        """For each row from number `start` on: number, about how many bytes, and the row where it is wanted."""

    @abstractmethod
    def counting(self) -> Iterator[tuple[int, int]]:
        """Pairs (rows, bytes of the files) seen so far, in small steps; the last one is the whole's."""

    def first(self, count: int, start: int = 1) -> list[Row]:
        """At most `count` rows from row number `start` on, reading no further than needed."""
        return list(islice(self.rows(start), count))

    def head(self) -> list[Row]:
        """Rows from the start, which show the shape: at most 1000, and no more than about 16 MiB of them."""
        rows: list[Row] = []
        seen = 0
        for _, size, row in self.walk():
            if row is not None:
                rows.append(row)
            seen += size
            if len(rows) >= HEAD_ROWS or seen >= HEAD_BYTES:
                break
        return rows

    def rows(self, start: int = 1) -> Iterator[Row]:
        """Every row from row number `start` on, good or bad, in order."""
        for _, _, row in self.walk(start):
            if row is not None:
                yield row

    def chosen(self, numbers: set[int], cancel: Callable[[], bool] = never) -> Iterator[Row]:
        """The rows with these numbers, in order; the others are passed over unparsed."""
        last = max(numbers, default=0)
        for number, _, row in self.walk(min(numbers, default=1), numbers.__contains__):
            if number > last or cancel():
                return
            if row is not None:
                yield row

    def count(self, cancel: Callable[[], bool] = never, progress: Callable[[int, int], None] = silent) -> int:
        """How many rows there are, bad ones included; as many as were seen when `cancel` says so.

        `progress` is called with bytes read and bytes in all.
        """
        rows, size = 0, self.size
        for rows, seen in self.counting():  # noqa: B007 - the last value is the answer
            progress(min(seen, size), size)
            if cancel():
                break
        return rows

    def sha256(self) -> str:
        """SHA-256 in hex: proof that the rows trained on are the rows that were looked at.

        Of the file's bytes; for several files, of their hashes in order.
        """
        hashes = [_digest(path) for path in self.files]
        if len(hashes) == 1:
            return hashes[0]
        return hashlib.sha256("".join(hashes).encode()).hexdigest()


def identity(path: Path) -> Identity:
    """What differs once a file was changed."""
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> FtError:
    """The error for a file that cannot be opened or read."""
    reasons = {FileNotFoundError: "there is no such file", PermissionError: "you may not read it"}
    why = reasons.get(type(error)) or error.strerror or one_line(str(error), 200) or type(error).__name__
    return refused(path, "the file of rows cannot be opened", why, "check the path and its permissions (ls -l)")


def refused(path: Path, what: str, why: str, remedy: str, kind: str = "unreadable") -> FtError:
    """The error for a file or folder that rows cannot be read from."""
    return FtError(Problem(what, one_line(str(path), 300), why, remedy, kind=kind))


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names for a message: the first few, and how many more."""
    shown = ", ".join(one_line(name, 60) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
