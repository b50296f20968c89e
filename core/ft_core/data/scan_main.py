"""The process of a full scan: `python -P -m ft_core.data.scan_main SOURCE train|held-out`.

The rows are parsed by as many processes as there are cores. Progress and result go as JSON lines to standard output.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection

from ft_core.data.child import failure, say
from ft_core.data.containers.base import RowFile, unreadable
from ft_core.data.containers.shards import Shards
from ft_core.data.frames import Fault
from ft_core.data.open import open_rows
from ft_core.data.scan import BadRow, FileScan, Scan, identity_of, to_json
from ft_core.data.scan_parts import COLUMNS, PROBLEMS, RANGE, Found, Part, Range, parts
from ft_core.errors import FtError, Problem, problem

_PROCESSES = 8
_AHEAD = 3
_TOLD_SECONDS = 0.1
_MARKS = 20_000

Tell = Callable[[int, int, int], None]


class _Sum:
    """What the parts held, added up in their order."""

    def __init__(self, file: RowFile) -> None:
        self.shards: tuple[RowFile, ...] = file.shards if isinstance(file, Shards) else (file,)
        self.rows = self.bad = self.bytes = 0
        self.problems: list[BadRow] = []
        self.columns: Counter[str] = Counter()
        self.files: list[FileScan] = []
        self._marks: list[tuple[int, int, int]] = []
        self._begun = self._lines = 0

    def add(self, part: Part, found: Found) -> None:
        """Add the next part of the file that is at its turn."""
        within = self.rows - self._begun
        lines = self._lines if isinstance(part, Range) else 0
        for bad in found.bad_rows[: PROBLEMS - len(self.problems)]:
            line = None if bad.line is None else bad.line + lines
            self.problems.append(self._bad(bad.number + within, line, bad.offset, bad.fault))
        if found.first is not None and len(self._marks) < _MARKS:
            self._marks.append((found.first.number + within, found.first.line + lines, found.first.offset))
        for name, count in found.columns.items():
            if name in self.columns or len(self.columns) < COLUMNS:
                self.columns[name] += count
        self.rows, self.bad, self.bytes = self.rows + found.rows, self.bad + found.bad, self.bytes + found.bytes
        self._lines += found.lines

    def _bad(self, within: int, line: int | None, offset: int | None, fault: Fault) -> BadRow:
        name = self.shards[len(self.files)].name
        where = f"{name}:{line}" if line is not None else f"{name} row {within}"
        told = Problem(fault.what, where, fault.why, fault.remedy)
        return BadRow(self._begun + within, line, offset, told)

    def end_of_file(self) -> None:
        """All parts of a file are added."""
        self.files.append(FileScan(self.rows - self._begun, tuple(self._marks)))
        self._begun, self._lines, self._marks = self.rows, 0, []


def scan_all(file: RowFile, tell: Tell) -> Scan:
    """Parse every row. `tell` gets bytes, rows and bad rows so far. FtError when the files change meanwhile."""
    before, size = identity_of(file), file.size
    total = _Sum(file)
    queue = _numbered(total.shards)
    if size <= RANGE:
        _alone(queue, total, tell)
    else:
        _together(queue, total, tell)
    while len(total.files) < len(total.shards):
        total.end_of_file()
    if identity_of(file) != before:
        raise problem(
            "the rows changed while they were read",
            where=file.name,
            why="another program writes to the file",
            remedy="wait until it is complete, then open it again",
        )
    return Scan(total.rows, total.bad, tuple(total.problems), dict(total.columns), size, before, tuple(total.files))


def _numbered(shards: tuple[RowFile, ...]) -> Iterator[tuple[int, Part]]:
    for place, shard in enumerate(shards):
        for part in parts(shard):
            yield place, part


def _alone(queue: Iterator[tuple[int, Part]], total: _Sum, tell: Tell) -> None:
    for place, part in queue:
        _add(total, place, part, part.scan().finish(), tell)


def _together(queue: Iterator[tuple[int, Part]], total: _Sum, tell: Tell) -> None:
    processes = min(_PROCESSES, len(os.sched_getaffinity(0)))
    # Forked before there is any thread: the parts need none of what another start would load anew.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, context, initializer=_follow_parent) as pool:
        waiting: deque[tuple[int, Part, Future[Found]]] = deque()
        for place, part in queue:
            waiting.append((place, part, pool.submit(_scan, part)))
            if len(waiting) > processes * _AHEAD:
                _take(waiting, total, tell)
        while waiting:
            _take(waiting, total, tell)


def _take(waiting: deque[tuple[int, Part, Future[Found]]], total: _Sum, tell: Tell) -> None:
    place, part, future = waiting.popleft()
    try:
        found = future.result()
    except BrokenProcessPool as error:
        raise problem(
            "the rows could not be scanned",
            where=total.shards[place].name,
            why="a process that parsed them was ended, most likely because the machine ran out of memory",
            remedy="close other programs, or look for rows of many megabytes",
        ) from error
    _add(total, place, part, found, tell)


def _add(total: _Sum, place: int, part: Part, found: Found, tell: Tell) -> None:
    while len(total.files) < place:
        total.end_of_file()
    total.add(part, found)
    tell(total.bytes, total.rows, total.bad)


def _scan(part: Part) -> Found:
    return part.scan().finish()


def _follow_parent() -> None:
    """End this process when the one that started it is gone, even if it was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _teller(size: int) -> Tell:
    last = 0.0

    def tell(seen: int, rows: int, bad: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _TOLD_SECONDS:
            last = now
            say({"bytes": min(seen, size), "size": size, "rows": rows, "bad": bad})

    return tell


def main() -> None:
    """Scan the source the arguments name."""
    source, which = sys.argv[1:3]
    try:
        file = open_rows(source, held_out=which == "held-out")
        say({"done": to_json(scan_all(file, _teller(file.size)))})
    except FtError as error:
        say(failure(error))
    except BrokenPipeError:
        # Whoever asked is gone, and nobody is left to be told.
        sys.exit(0)
    except OSError as error:
        say(failure(unreadable(file.path, error)))


if __name__ == "__main__":
    main()
