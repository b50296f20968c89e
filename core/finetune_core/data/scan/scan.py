"""The full scan of rows: every one parsed, in a process of its own; kept, so that a second visit is instant."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from finetune_core.child_messages import Message, run_child
from finetune_core.data.files.base import RowFile, never
from finetune_core.data.files.open import open_rows
from finetune_core.data.files.row_offsets import Mark
from finetune_core.data.files.shards import Shards
from finetune_core.data.files.text_file import TextFile
from finetune_core.errors import Problem
from finetune_core.files import read_sealed, write_sealed
from finetune_core.paths import cache_root, private_folder

_VERSION = 1
_LARGEST = 256 * 1024 * 1024
_LOOKED_AT = 2**16
_POLL_SECONDS = 0.1
# A scan has all cores at work.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read: its number through all files; line and byte in its own file, where there are such."""

    number: int
    line: int | None
    offset: int | None
    problem: Problem


@dataclass(frozen=True)
class FileScan:
    """One file of the rows: how many it holds, and marks (row, line, byte) to begin from when one goes to a row."""

    rows: int
    marks: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class Scan:
    """What all rows are: how many, how many of them bad and the first 100 of those, and how many have which column.

    `size` is in bytes; `identity` differs for another content of the files (sizes, times, beginnings, ends).
    """

    rows: int
    bad: int
    problems: tuple[BadRow, ...]
    columns: dict[str, int]
    size: int
    identity: str
    files: tuple[FileScan, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Progress:
    """How far a scan is: bytes of `size`, rows seen and bad ones among them."""

    bytes: int
    size: int
    rows: int
    bad: int


def identity_of(file: RowFile) -> str:
    """What the content of a file or folder is known by, without reading all of it. OSError when it cannot be read.

    Holds size, time and inode of each file and its first and last 64 KiB.
    """
    about = hashlib.sha256(f"{_VERSION} {file.container!r}".encode())
    for path in file.files:
        with path.open("rb") as stream:
            state = os.fstat(stream.fileno())
            about.update(f"\n{path.name} {state.st_size} {state.st_mtime_ns} {state.st_ino}\n".encode(errors="replace"))
            about.update(stream.read(_LOOKED_AT))
            stream.seek(max(state.st_size - _LOOKED_AT, 0))
            about.update(stream.read(_LOOKED_AT))
    return about.hexdigest()


def cached(file: RowFile) -> Scan | None:
    """The scan of these very rows, if there was one; the file learns where its rows are."""
    try:
        name = identity_of(file)
        found = from_json(read_sealed(_place(name), _LARGEST) or {})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    _teach(file, found.files, whole=True)
    return found


def scan(
    source: str,
    progress: Callable[[Progress], None] = lambda _progress: None,
    cancel: Callable[[], bool] = never,
    *,
    held_out: bool = False,
    file: RowFile | None = None,
) -> Scan | None:
    """Parse every row of a source, and give what was found; None once `cancel` said so. Blocking; run in a thread.

    `file` is the source as it was opened before, if it was: it learns where its rows are as they are found, before
    `progress` is called with them, so that any of them can be reached at once. FtError when the source cannot be
    opened, or changes while it is read.
    """
    file = file or open_rows(source, held_out=held_out)
    while not _ONE_AT_A_TIME.acquire(timeout=_POLL_SECONDS):
        if cancel():
            return None
    try:
        # Whoever waited for the same rows finds them here.
        return cached(file) or _scanned(source, file, progress, cancel, held_out=held_out)
    finally:
        _ONE_AT_A_TIME.release()


def _scanned(
    source: str, file: RowFile, progress: Callable[[Progress], None], cancel: Callable[[], bool], *, held_out: bool
) -> Scan | None:
    def send(message: Message) -> None:
        _teach(file, [_file_scan(one) for one in message["files"]], message["from"])
        progress(Progress(**message["progress"]))

    done = run_child("finetune_core.data.scan.process", [source, "held-out" if held_out else "train"], send, cancel)
    if done is None:
        return None
    found = from_json(done)
    with suppress(OSError):
        # Without its cache a scan is only slower.
        write_sealed(_place(found.identity), done, durable=False)
    _teach(file, found.files, whole=True)
    return found


def _place(identity: str) -> Path:
    return private_folder(cache_root() / "scans") / f"{identity}.json"


def to_json(found: Scan) -> Message:
    """A scan as JSON holds it."""
    return asdict(found)


def from_json(value: Message) -> Scan:
    """A scan from its JSON form. KeyError, TypeError or ValueError for anything else."""
    problems = tuple(BadRow(**(bad | {"problem": Problem(**bad["problem"])})) for bad in value["problems"])
    files = tuple(map(_file_scan, value["files"]))
    return Scan(**(value | {"problems": problems, "files": files}))


def _file_scan(value: Message) -> FileScan:
    return FileScan(int(value["rows"]), tuple((int(n), int(line), int(at)) for n, line, at in value["marks"]))


def _teach(file: RowFile, found: Sequence[FileScan], begin: int = 0, *, whole: bool = False) -> None:
    """Give files of rows, from the one at a place on, the places where their rows are; the last may not be whole."""
    shards: tuple[RowFile, ...] = file.shards if isinstance(file, Shards) else (file,)
    for place, known in enumerate(found, begin):
        if isinstance(file, Shards) and (whole or place < begin + len(found) - 1):
            file.note_rows(place, known.rows)
        shard = shards[place]
        if isinstance(shard, TextFile):
            for mark in known.marks:
                shard.remember(Mark(*mark))
