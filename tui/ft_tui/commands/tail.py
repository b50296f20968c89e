"""The end of a file that another process writes, a line at a time and in bounded memory."""

from __future__ import annotations

from pathlib import Path
from typing import Final

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
            with self._path.open("rb") as stream:
                size = stream.seek(0, 2)
                if not self._begun:
                    self._offset = max(0, size - _BACK)
                if size < self._offset:
                    self._offset, self._rest = 0, b""
                stream.seek(self._offset)
                data = stream.read(_BACK)
        except OSError:
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


def _last_part(line: bytes) -> str:
    """A line as a terminal would leave it: progress bars rewrite theirs after a carriage return."""
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")[:_LONGEST]
