"""Rows looked at in parts, by as many processes as there are cores; what was seen comes in the order of the rows."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from finetune_core.child_process import end_with
from finetune_core.data.files.base import RowFile
from finetune_core.data.files.chunks import OpenEndError, Rest, Stretch
from finetune_core.data.files.shards import Shards
from finetune_core.data.scan.parts import Part, parts
from finetune_core.errors import problem

PROCESSES = 8
_AHEAD = 3
_SMALL = 2**19

T = TypeVar("T")
Look = Callable[[Part], T]
Submit = Callable[[Part], "Callable[[], T | None]"]


@dataclass(frozen=True)
class Seen(Generic[T]):
    """What `look` saw of one part of the file at a place among all files."""

    place: int
    part: Part
    found: T


def files_of(file: RowFile) -> tuple[RowFile, ...]:
    """The files of rows one by one."""
    return file.shards if isinstance(file, Shards) else (file,)


def look_in_parts(file: RowFile, look: Look[T], table_rows: int, processes: int | None = None) -> Generator[Seen[T]]:
    """What `look` sees of each part of all files, in order. Small files are looked at in this process.

    `look` goes to other processes, and its results come from there: both have to be picklable. A part of a table holds
    at least `table_rows`. FtError when a process is ended from outside.
    """
    processes = min(PROCESSES, len(os.sched_getaffinity(0))) if processes is None else processes
    if processes == 1 or file.size <= _SMALL:
        yield from _InOrder(file, table_rows, lambda part: lambda: _looked(look, part), 0).run()
        return
    with _pool(processes) as pool:

        def submit(part: Part) -> Callable[[], T | None]:
            future = pool.submit(_looked, look, part)
            return lambda: _result(future, file)

        yield from _InOrder(file, table_rows, submit, processes * _AHEAD).run()


@contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(processes, _context(), initializer=_prepare)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _context() -> multiprocessing.context.BaseContext:
    """How processes are started: as copies of this one where that is safe, since they load nothing anew."""
    if threading.active_count() == 1 and "rensa" not in sys.modules:
        return multiprocessing.get_context("fork")
    # A copy would wait for threads it does not have.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["finetune_core.data.checks.check"])
    return context


def _prepare() -> None:
    """One thread for each of the processes, that ends with the one that started it."""
    os.environ["RAYON_NUM_THREADS"] = "1"
    _follow_parent()


def _looked(look: Look[T], part: Part) -> T | None:
    """What is seen of a part; None when it does not end where a row ends."""
    try:
        return look(part)
    except OpenEndError:
        return None


def _result(future: Future[T | None], file: RowFile) -> T | None:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise problem(
            "the rows could not be scanned",
            where=file.name,
            why="a process that parsed them was ended, most likely because the machine ran out of memory",
            remedy="close other programs, or look for rows of many megabytes",
        ) from error


class _InOrder(Generic[T]):
    """Parts that are under way, some ahead of the one whose turn it is."""

    def __init__(self, file: RowFile, table_rows: int, submit: Submit[T], ahead: int) -> None:
        self._files = enumerate(files_of(file))
        self._place = -1
        self._parts: Iterator[Part] = iter(())
        self._table_rows, self._submit, self._ahead = table_rows, submit, ahead
        self._waiting: deque[tuple[int, Part, Callable[[], T | None]]] = deque()

    def run(self) -> Iterator[Seen[T]]:
        """What was seen, in order."""
        while True:
            while len(self._waiting) <= self._ahead and (given := self._given()) is not None:
                self._waiting.append((*given, self._submit(given[1])))
            if not self._waiting:
                return
            place, part, result = self._waiting.popleft()
            found = result()
            while found is None:
                part = self._joined(place, part)
                found = self._submit(part)()
            if isinstance(part, Rest):
                self._drop(place)
            yield Seen(place, part, found)

    def _given(self) -> tuple[int, Part] | None:
        while (part := next(self._parts, None)) is None:
            place, file = next(self._files, (-1, None))
            if file is None:
                return None
            self._place, self._parts = place, parts(file, self._table_rows)
        return self._place, part

    def _joined(self, place: int, part: Part) -> Stretch | Rest:
        """A stretch that does not end between two rows, with those behind it: as much again as it had."""
        assert isinstance(part, Stretch)
        more: list[Stretch | Rest] = []
        missing = part.size
        while missing > 0:
            if self._waiting and self._waiting[0][0] == place:
                following = self._waiting.popleft()[1]
            else:
                given = self._given()
                assert given is not None
                following = given[1]
            assert isinstance(following, Stretch | Rest)
            more.append(following)
            if isinstance(following, Rest) or following.last:
                break
            missing -= following.size
        return part.joined(more)

    def _drop(self, place: int) -> None:
        """What is under way of a file all of which has been seen."""
        while self._waiting and self._waiting[0][0] == place:
            self._waiting.popleft()
        if self._place == place:
            self._parts = iter(())


def _follow_parent() -> None:
    """End this process when the one that started it is gone, even if it was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    end_with(parent.sentinel, group=False)
