"""The end of the worker's raw log: what libraries print, and where CUDA's traces land."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from finetune_core.runs.log import read_end
from finetune_tui.widgets.cells import Line, safe, wrapped

_READ_BYTES: Final = 64 * 1024
_MOST_LINES: Final = 300
_COLOURS: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def read_tail(path: Path, lines: int = _MOST_LINES) -> tuple[str, ...]:
    """The last lines of a log, cleaned, without colours; of a bar that overwrites itself only its last state.

    A missing file has no lines. At most 64 kB are read, however long the file is.
    """
    size, data = read_end(path, _READ_BYTES)
    found = data.decode("utf-8", errors="replace").split("\n")
    if size > _READ_BYTES:
        found = found[1:]
    shown = [safe(_COLOURS.sub("", line.rstrip("\r").rpartition("\r")[2])).rstrip() for line in found]
    while shown and not shown[-1]:
        shown.pop()
    return tuple(shown[-lines:])


def log_lines(lines: tuple[str, ...], width: int) -> list[Line]:
    """The log wrapped to the width."""
    if not lines:
        return [(("the worker has printed nothing", "dim"),)]
    return [line for text in lines for line in wrapped(text, width)]
