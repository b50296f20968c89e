"""The end of a file that another process writes: lines of the log in bounded memory, events of the journal whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from finetune_core.files import OddFile, open_regular
from finetune_core.runs.journal import Event, Tail

_BACK: Final = 256 * 1024
_LONGEST: Final = 4000


class LineTail:
    """Gives the last lines of a file first, then what is added. A file that is not there yet is empty."""

    def __init__(self, path: Path, lines: int) -> None:
        self._path = path
        self._lines = lines
        self._offset = 0
        self._begun = False
        self._rest = b""

    def read(self) -> list[str]:
        """The whole lines that came since the last call, each of at most 4000 characters."""
        try:
            with open_regular(self._path) as stream:
                size = stream.seek(0, 2)
                if not self._begun:
                    self._offset = max(0, size - _BACK)
                if size < self._offset:
                    self._offset, self._rest = 0, b""
                stream.seek(self._offset)
                data = stream.read(_BACK)
        except (OSError, OddFile):
            return []
        self._offset += len(data)
        lines = self._split(data)
        if self._begun:
            return lines
        self._begun = True
        whole = lines[1:] if size > _BACK else lines
        return whole[-self._lines :] if self._lines else []

    def _split(self, data: bytes) -> list[str]:
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _BACK:
            whole, self._rest = [*whole, self._rest], b""
        return [_last_part(line) for line in whole]


class EventTail:
    """Gives the last events of a journal first, then what is added: each one whole, as one line of JSON."""

    def __init__(self, path: Path, count: int) -> None:
        self._path = path
        self._count = count
        self._tail: Tail | None = None

    def read(self) -> list[str]:
        """The events that came since the last call; torn and foreign lines are passed over."""
        events = self._tail.read() if self._tail is not None else self._last()
        return [json.dumps(event, separators=(",", ":")) for event in events]

    def _last(self) -> list[Event]:
        """The last events, read from further back until there are enough."""
        back = _BACK
        while True:
            start = max(0, self._size() - back)
            self._tail = Tail(self._path, start=start)
            events = self._tail.read()
            if start == 0 or len(events) >= self._count:
                return events[-self._count :] if self._count else []
            back *= 4

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0


def _last_part(line: bytes) -> str:
    """A line as a terminal would leave it: progress bars rewrite theirs after a carriage return."""
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")[:_LONGEST]
