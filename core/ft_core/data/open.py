"""Open a file of rows (.jsonl or .json), and read it row by row; a bad row never hides a good one."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal

from ft_core import demo
from ft_core.data.frames import Fault, Frame, Mark, array_frames, line_counts, line_frames
from ft_core.data.sniff import BOM, sniff
from ft_core.errors import Problem, problem
from ft_core.text import one_line

DEMO = "demo"
HEAD_ROWS = 1000
HEAD_BYTES = 16 * 2**20
_INDEX_EVERY = 256


@dataclass(frozen=True)
class Row:
    """One row of a file: its value, or the problem that stands in its place.

    `number` counts rows and `line` lines, both from 1; `source` is the file's name, for messages.
    """

    number: int
    line: int | None
    value: dict[str, object] | None
    problem: Problem | None
    source: str = ""

    @property
    def where(self) -> str:
        """The place of the row as messages name it: `rows.jsonl:17`."""
        return f"{self.source}:{self.line}" if self.line is not None else f"{self.source} row {self.number}"


def _never() -> bool:
    return False


def _silent(_done: int, _total: int) -> None:
    return None


class RowFile:
    """A file of rows. Every method opens the file anew, so that several threads may read at once."""

    def __init__(self, path: Path, kind: Literal["lines", "array"], start: Mark) -> None:
        self.path = path
        self.kind = kind
        self.name = one_line(path.name, 80)
        self._start = start
        self._lock = threading.Lock()
        self._index = [start]
        self._seen = self._identity()

    @property
    def size(self) -> int:
        """Size of the file in bytes, now."""
        return self.path.stat().st_size

    def first(self, count: int, start: int = 1) -> list[Row]:
        """At most `count` rows from row number `start` on, reading no further than needed."""
        return list(islice(self.rows(start), count))

    def head(self) -> list[Row]:
        """Rows from the start to tell the shape by: at most 1000, and no more than about 16 MiB of them."""
        rows, size = [], 0
        with self._open() as stream:
            for frame in self._frames(stream, 1):
                rows.append(self._row(stream, frame))
                size += frame.size
                if len(rows) >= HEAD_ROWS or size >= HEAD_BYTES:
                    break
        return rows

    def rows(self, start: int = 1) -> Iterator[Row]:
        """Every row from row number `start` on, good or bad, in the order of the file."""
        with self._open() as stream:
            for frame in self._frames(stream, start):
                yield self._row(stream, frame)

    def chosen(self, numbers: set[int], cancel: Callable[[], bool] = _never) -> Iterator[Row]:
        """The rows with these numbers, in the order of the file; the others are passed over unparsed."""
        last = max(numbers, default=0)
        with self._open() as stream:
            for frame in self._frames(stream, min(numbers, default=1)):
                if frame.mark.number > last or cancel():
                    return
                if frame.mark.number in numbers:
                    yield self._row(stream, frame)

    def count(self, cancel: Callable[[], bool] = _never, progress: Callable[[int, int], None] = _silent) -> int:
        """How many rows there are, bad ones included; as many as were seen when `cancel` says so.

        `progress` is called with bytes read and bytes in all.
        """
        rows, size = 0, self.size
        for rows, seen in self.counting():  # noqa: B007 - the last value is the answer
            progress(min(seen, size), size)
            if cancel():
                break
        return rows

    def counting(self) -> Iterator[tuple[int, int]]:
        """Pairs (rows, bytes) seen so far, in small steps; the last one is the whole file's."""
        with self._open() as stream:
            if self.kind == "lines":
                yield from line_counts(stream, self._start.offset)
                return
            rows = 0
            for frame in self._frames(stream, 1):
                rows = frame.mark.number
                if rows % _INDEX_EVERY == 0:
                    yield rows, frame.mark.offset
            yield rows, self.size

    def sha256(self) -> str:
        """SHA-256 of the whole file, in hex: proof that the rows trained on are the rows that were looked at."""
        with self._open() as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def _open(self) -> BufferedReader:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def _identity(self) -> tuple[int, int, int]:
        state = self.path.stat()
        return state.st_ino, state.st_size, state.st_mtime_ns

    def _frames(self, stream: BinaryIO, start: int) -> Iterator[Frame]:
        find = line_frames if self.kind == "lines" else array_frames
        for frame in find(stream, self._nearest(start)):
            if frame.mark.number % _INDEX_EVERY == 0:
                self._remember(frame.mark)
            if frame.mark.number >= start:
                yield frame

    def _nearest(self, number: int) -> Mark:
        with self._lock:
            now = self._identity()
            if now != self._seen:
                self._seen, self._index = now, [self._start]
            return self._index[bisect_right(self._index, number, key=lambda mark: mark.number) - 1]

    def _remember(self, mark: Mark) -> None:
        with self._lock:
            if mark.number > self._index[-1].number:
                self._index.append(mark)

    def _row(self, stream: BinaryIO, frame: Frame) -> Row:
        mark = frame.mark
        parsed = frame.fault or parse(os.pread(stream.fileno(), frame.size, mark.offset))
        row = Row(mark.number, mark.line, None, None, self.name)
        if isinstance(parsed, dict):
            return replace(row, value=parsed)
        return replace(row, problem=Problem(parsed.what, row.where, parsed.why, parsed.remedy))


def parse(data: bytes) -> dict[str, object] | Fault:
    """One row's bytes as an object, or why they are none. Never raises."""
    if not data.strip(b"\0 \t\r\n"):
        return Fault("the row is made of zero bytes", _CUT, "copy the file again")
    try:
        value = json.loads(data.removeprefix(BOM).decode(), parse_constant=_constant)
    except UnicodeDecodeError as error:
        why = f"byte {error.start + 1} of the row is not UTF-8"
        return Fault("the row is not text", why, "save the file as UTF-8 (iconv -f latin1 -t utf-8 does it)")
    except json.JSONDecodeError as error:
        return _not_json(data, error)
    except RecursionError:
        return Fault("the row is nested too deeply", "brackets within brackets, without end", "remove the row")
    except ValueError as error:
        return Fault("a number in the row cannot be read", one_line(str(error), 120), "write it as text, in quotes")
    if isinstance(value, dict):
        return value
    kind = {list: "a list", str: "a text", type(None): "null"}.get(type(value), "a number or true/false")
    return Fault(f"the row is {kind}, not an object", "rows have named fields", 'write the row as {"name": value, ...}')


_CUT = "the file was cut off while it was written or copied"


def _constant(name: str) -> None:
    if name != "NaN":
        raise ValueError(f"{name} is not a number JSON knows")
    # Table tools write a missing value as NaN.


def _not_json(data: bytes, error: json.JSONDecodeError) -> Fault:
    why = f"{one_line(error.msg, 80)}, at character {error.pos + 1}"
    ends_early = error.msg.startswith("Unterminated") or error.pos >= len(error.doc.rstrip())
    if ends_early and not data.endswith(b"\n"):
        return Fault("the row ends in the middle", f"{why}; {_CUT}", "copy the file again, or remove this row")
    remedy = "mend the row, or remove it; a row has to be complete on one line, with names and texts in double quotes"
    return Fault("the row is not JSON", why, remedy)


def open_rows(source: str, *, held_out: bool = False) -> RowFile:
    """Open a path, or `demo`. FtError when it is missing, unreadable, empty, or no .jsonl or .json file of rows."""
    path = resolve_source(source, held_out=held_out)
    try:
        kind, start = sniff(path)
        return RowFile(path, kind, start)
    except OSError as error:
        raise _unreadable(path, error) from error


def resolve_source(source: str, *, held_out: bool = False) -> Path:
    """The file a recipe's `data.source` (or `data.held_out`) names. FtError when it names none."""
    if source == DEMO:
        return demo.held_out_file() if held_out else demo.train_file()
    if not source.strip() or "\0" in source:
        raise problem(
            "no file of rows is chosen",
            where="data.held_out" if held_out else "data.source",
            why="the path is empty or holds a zero byte",
            remedy="give the path of a .jsonl or .json file, or `demo`",
        )
    return Path(source).expanduser()


def _unreadable(path: Path, error: OSError) -> Exception:
    reasons = {FileNotFoundError: "there is no such file", PermissionError: "you may not read it"}
    return problem(
        "the file of rows cannot be opened",
        where=one_line(str(path), 300),
        why=reasons.get(type(error), error.strerror or type(error).__name__),
        remedy="check the path and its permissions (ls -l)",
    )
