"""What shows that a file or folder the recipe names is another one than a moment ago. Blocking; run in threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

from finetune_core.data.files.open import resolve_source
from finetune_core.errors import FtError
from finetune_core.paths import expanded
from finetune_core.recipe.schema import Data

_MOST_FILES: Final = 2000
_DEPTH: Final = 4

# Of each file: path, inode, size in bytes, time of the last change in ns.
Stamp = tuple[tuple[str, int, int, int], ...]


def data_stamp(data: Data) -> Stamp:
    """The files of rows a recipe names; what is not there is not in it."""
    found: list[tuple[str, int, int, int]] = []
    for source in (data.source, *((data.held_out,) if data.held_out else ()), *data.mix):
        with suppress(FtError, OSError):
            found += stamp(resolve_source(source))
    return tuple(found)


def model_stamp(source: str) -> Stamp:
    """The files of a model's folder; empty where the source names none."""
    with suppress(OSError):
        folder = expanded(source)
        if folder.is_dir():
            return stamp(folder)
    return ()


def stamp(path: Path) -> Stamp:
    """A file, or the first 2000 files of a folder; empty for nothing."""
    try:
        files = sorted(islice(_files(path, _DEPTH), _MOST_FILES)) if path.is_dir() else [path]
        return tuple(_state(file) for file in files)
    except OSError:
        return ()


def _state(file: Path) -> tuple[str, int, int, int]:
    state = file.stat()
    return str(file), state.st_ino, state.st_size, state.st_mtime_ns


def _files(folder: Path, depth: int) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file():
                yield Path(entry.path)
            elif depth > 1 and entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path), depth - 1)
