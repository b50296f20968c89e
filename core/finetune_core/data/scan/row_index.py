"""Rows of a source of any size that one goes to, near and far, while a scan finds out where they are."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from finetune_core.data.files.base import Row, RowFile, never
from finetune_core.data.scan.scan import Progress, cached, scan
from finetune_core.errors import FtError

# So much is read through at once while one waits.
_NEAR_ROWS: Final = 5_000
_SMALL: Final = 8 * 2**20
_POLL_SECONDS: Final = 0.1


def _silent(_rows: int) -> None:
    return None


class FarRows:
    """The rows of an opened source. `find_all` runs in one thread, and meanwhile others reach rows."""

    def __init__(self, source: str, file: RowFile) -> None:
        self._source, self._file = source, file
        self._changed = threading.Condition()
        self._finding = False
        self._seen = 0
        self._count: int | None = None
        with suppress(FtError, OSError):
            if file.container.kind == "parquet":
                self._count = file.count()
            elif (known := cached(file)) is not None:
                self._count = known.rows

    @property
    def count(self) -> int | None:
        """How many rows there are, once that is known."""
        return self._count

    @property
    def known_to(self) -> int:
        """The last row that can be reached without reading through many others."""
        return self._seen + _NEAR_ROWS if self._count is None else self._count

    def rows(self, start: int, count: int) -> list[Row]:
        """At most `count` rows from row number `start` on; behind the end the last ones. FtError or OSError."""
        if self._count is not None and start > self._count:
            start = max(self._count - count + 1, 1)
        return self._file.first(count, start)

    def wait_for(
        self, number: int, progress: Callable[[int], None] = _silent, cancel: Callable[[], bool] = never
    ) -> bool:
        """Wait until a row is known, or the scan has ended; False when `cancel` said so before. Blocking.

        `progress` is called with the number of rows seen so far. Where no scan is under way nothing is waited for.
        """
        while not cancel():
            with self._changed:
                if number <= self.known_to or not self._finding:
                    return True
                seen = self._seen
            progress(seen)
            with self._changed:
                if seen == self._seen and self._finding:
                    self._changed.wait(_POLL_SECONDS)
        return False

    def find_all(self, progress: Callable[[int], None] = _silent, cancel: Callable[[], bool] = never) -> None:
        """Find out where all rows are, and how many; kept by content for the next time. Blocking; run in a thread.

        `progress` is called with the number of rows seen so far. FtError when the source cannot be read any more.
        """
        if self._count is not None:
            return

        def send(seen: Progress) -> None:
            with self._changed:
                self._seen = seen.rows
                self._changed.notify_all()
            progress(seen.rows)

        with self._changed:
            self._finding = True
        try:
            self._count = _counted(self._source, self._file, send, cancel, quickly=False)
        finally:
            with self._changed:
                self._finding = False
                self._changed.notify_all()


def count_rows_of(source: str, file: RowFile, *, held_out: bool = False) -> int:
    """How many rows an opened source holds: where counting takes long, by all cores. FtError as `scan`."""
    rows = _counted(source, file, lambda _seen: None, never, quickly=True, held_out=held_out)
    assert rows is not None
    return rows


def _counted(
    source: str,
    file: RowFile,
    send: Callable[[Progress], None],
    cancel: Callable[[], bool],
    *,
    quickly: bool,
    held_out: bool = False,
) -> int | None:
    """How many rows there are, where it pays by a scan; None once `cancel` said so."""
    quick = quickly and file.container.kind in ("jsonl", "parquet")
    if not file.container.compression and (quick or file.size <= _SMALL):
        rows = file.count(cancel)
        return None if cancel() else rows
    found = scan(source, send, cancel, held_out=held_out, file=file)
    return None if found is None else found.rows
