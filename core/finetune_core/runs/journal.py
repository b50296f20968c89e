"""The journal, events.jsonl: one line and one write per event; its writer loses nothing, its reader never trips.

Each line ends with a checksum of what stands before it, so that a figure changed afterwards is noticed; lines of
earlier versions have none.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import threading
import time
import zlib
from collections import deque
from pathlib import Path
from typing import Any, Self

from pydantic_core import from_json

from finetune_core.runs.events import Record
from finetune_core.runs.journal_faults import Faults

Event = dict[str, Any]

VERSION = 1
ENVELOPE = ("v", "seq", "t", "mono", "kind")
_OWN = (*ENVELOPE, "crc")
# Rare events whose loss in a power cut would change what the run is; the others are not worth an fsync.
_DURABLE = frozenset({"checkpoint", "verdict", "result", "end"})
_BACKLOG = 10_000
_BLOCK = 64 * 1024
_CHUNK = 4 * 1024 * 1024
_LONGEST_LINE = 16 * 1024 * 1024
_SEQ_END = 2**63
_LINE_START = b'{"v":'
_CHECKSUM = "crc"
_CHECKSUM_FIELD = b',"crc":'
_EDGE = 4096


class Journal:
    """The one writer of a journal.

    Opening ends a torn last line, so that the next event is not lost with it, and continues `seq`. Every event is
    one `os.write` at the end of the file. On a full disk the part that was written is cut off again and the event
    waits in memory until there is room: nothing is raised, `problem` says what is wrong. Safe from several threads.
    `after` is a seq that is known to have been given, so that events which were cut off leave a gap. Raises OSError
    where the file cannot be opened, and for a pipe.
    """

    def __init__(self, path: Path, *, after: int = 0) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        self._handle = _not_a_pipe(os.open(path, flags, 0o600), path)
        self._guard = threading.Lock()
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self.lost = 0
        self.problem: str | None = None
        self._torn = _ends_torn(self._handle)
        self._seq = max(last_seq(self._handle), after)

    def write(self, kind: str, /, **fields: object) -> int:
        """Append an event and give its `seq`.

        NaN and infinities become the strings `NaN`, `Infinity`, `-Infinity`. A field named as one of the envelope's
        own (v, seq, t, mono, kind, crc) is stored as `<kind>_<name>`, such as `result_kind`.
        """
        with self._guard:
            self._seq += 1
            named = {f"{kind}_{name}" if name in _OWN else name: value for name, value in fields.items()}
            event = {"v": VERSION, "seq": self._seq, "t": time.time(), "mono": time.monotonic(), "kind": kind, **named}
            self._waiting.append((_line(event), kind in _DURABLE))
            self._flush()
            return self._seq

    def record(self, record: Record) -> int:
        """Append an event of a kind that is known, and give its `seq`; as `write` does it."""
        return self.write(record.KIND, **record.values())

    @property
    def written(self) -> int:
        """The seq of the last event that is on the disk."""
        return self._seq - len(self._waiting)

    def flush(self) -> bool:
        """Try again to write what waits for room on the disk; True when nothing waits any more."""
        with self._guard:
            self._flush()
            return self.problem is None

    def close(self) -> None:
        """Write what still waits, if there is room, and let the file go. Closing twice does no harm."""
        with self._guard:
            if self._handle >= 0:
                self._flush()
                os.close(self._handle)
                self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _flush(self) -> None:
        if self._handle < 0:
            raise ValueError("the journal is closed")
        try:
            while self._waiting:
                self._append(*self._waiting[0])
                self._waiting.popleft()
        except OSError as error:
            self.problem = f"the journal cannot be written: {error.strerror}"
            while len(self._waiting) > _BACKLOG:
                self._waiting.popleft()
                self.lost += 1
        else:
            self.problem = None

    def _append(self, line: bytes, durable: bool) -> None:  # noqa: FBT001 - one caller, straight from the queue
        end = os.fstat(self._handle).st_size
        whole = b"\n" + line if self._torn else line
        try:
            _write_whole(self._handle, whole)
            if durable:
                os.fsync(self._handle)
        except OSError:
            self._cut_back(end)
            raise
        self._torn = False

    def _cut_back(self, end: int) -> None:
        try:
            os.ftruncate(self._handle, end)
        except OSError:
            # What cannot be cut off is ended by the next event's newline, as after a kill.
            self._torn = self._torn or os.fstat(self._handle).st_size > end


def _write_whole(handle: int, data: bytes) -> None:
    # The kernel writes a part without an error when the disk fills up in the middle.
    if os.write(handle, data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _line(event: Event) -> bytes:
    try:
        text = json.dumps(event, allow_nan=False, separators=(",", ":"), default=_plain)
    except (ValueError, TypeError):
        text = json.dumps(_sayable(event), allow_nan=False, separators=(",", ":"), default=_plain)
    return f'{text[:-1]},"{_CHECKSUM}":{zlib.crc32(text[:-1].encode())}}}\n'.encode()


def _plain(value: object) -> object:
    """A value json does not know: an array library's scalar as its number, anything else as its text."""
    item = getattr(value, "item", None)
    return _sayable(item()) if callable(item) else str(value)


def _sayable(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {str(key): _sayable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_sayable(item) for item in value]
    return value


def _ends_torn(handle: int) -> bool:
    size = os.fstat(handle).st_size
    return size > 0 and os.pread(handle, 1, size - 1) != b"\n"


def _not_a_pipe(handle: int, path: Path) -> int:
    if not stat.S_ISFIFO(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(errno.ESPIPE, "it is a pipe", str(path))


def last_seq(handle: int) -> int:
    """The seq of the last whole event, searched from the end; 0 for an empty journal."""
    start = os.fstat(handle).st_size
    tail = b""
    while start > 0:
        size = min(_BLOCK, start)
        start -= size
        text = os.pread(handle, size, start) + tail
        # The first line of a block may have begun before it; only the file's own beginning ends the search.
        head, _, lines = text.partition(b"\n") if start else (b"", b"", text)
        for line in reversed(lines.split(b"\n")):
            event = parse_line(line)
            if event is not None:
                return int(event["seq"])
        tail = head if len(head) < _LONGEST_LINE else b""
    return 0


def parse_line(line: bytes) -> Event | None:
    """The event of one line; None for blank, torn or foreign text, and for events of a newer version.

    Blocks of zeros (a power cut) before the event are passed over, and so is a torn event that it was glued to.
    """
    event = _event(line)
    if event is not None or not line.strip(b"\0 \t\r"):
        return event
    start = line.rfind(_LINE_START)
    return _event(line[start:].rstrip(b"\0")) if start >= 0 else None


def _event(line: bytes) -> Event | None:
    try:
        event = from_json(line)
    except ValueError:
        event = _slow_json(line)
    if type(event) is not dict or event.get("v") != VERSION:
        return None
    event.pop(_CHECKSUM, None)
    seq = event.get("seq")
    return event if type(seq) is int and 0 <= seq < _SEQ_END and type(event.get("kind")) is str else None


def _was_changed(line: bytes) -> bool:
    """Whether a line is not what was written, as its checksum says; one without any is believed."""
    body, mark, end = line.rpartition(_CHECKSUM_FIELD)
    if not mark:
        return False
    said = end.rstrip(b"}\0 \t\r")
    # A torn event may stand before the whole one.
    return said != b"%d" % zlib.crc32(body) and said != b"%d" % zlib.crc32(body[max(body.rfind(_LINE_START), 0) :])


def _slow_json(line: bytes) -> object:
    # The fast parser refuses lone surrogates, which model output may hold.
    if not line.startswith(_LINE_START):
        return None
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def number(value: object) -> float | None:
    """A journal's number as float, `NaN` and the infinities included; None for anything else, or too large for one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and value not in {"NaN", "Infinity", "-Infinity"}:
        return None
    try:
        return float(value)
    except OverflowError:
        return None


class Tail:
    """Reads a growing journal bit by bit; never waits, never raises for what the file holds.

    Only whole lines are read; garbage is passed over. `turns` counts how often the file was replaced or became
    shorter than what was read: the reader then starts again, and so must whoever folds the events. `behind` says
    that the last read stopped at its limit. `faults` are those of what was read. `edge` is the end of what was read,
    of at most 4 KiB: events carry the time they were written at, so it differs between journals.
    """

    def __init__(self, path: Path, *, start: int = 0) -> None:
        self._path = path
        self._offset = start
        self._skip = start > 0
        self._file: tuple[int, int] | None = None
        self.faults = Faults(None if start else 1)
        self.turns = 0
        self.behind = False
        self.edge = b""

    def read(self, limit_bytes: int | None = None) -> list[Event]:
        """The events that have come since the last call, from at most about `limit_bytes` of the file."""
        self.behind = False
        try:
            handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return []
        try:
            found = os.fstat(handle)
            return self._read(handle, found, limit_bytes) if stat.S_ISREG(found.st_mode) else []
        except OSError:  # of fstat: a file server that is gone
            return []
        finally:
            os.close(handle)

    @property
    def offset(self) -> int:
        """How many bytes of the file have been read, or passed over."""
        return self._offset

    @property
    def unread(self) -> int:
        """How many bytes of the file have not been read; 0 when it is gone or became shorter."""
        try:
            return max(0, self._path.stat().st_size - self._offset)
        except OSError:
            return 0

    def changed(self) -> bool:
        """Whether the file has grown, shrunk or been replaced since the last read; one stat."""
        try:
            found = self._path.stat()
        except OSError:
            return False
        return found.st_size != self._offset or (found.st_dev, found.st_ino) != self._file

    def _read(self, handle: int, found: os.stat_result, limit_bytes: int | None) -> list[Event]:
        self._notice_replacement((found.st_dev, found.st_ino), found.st_size)
        events: list[Event] = []
        stop = found.st_size if limit_bytes is None else min(found.st_size, self._offset + max(limit_bytes, 1))
        while self._offset < stop and self._take(handle, min(_CHUNK, max(stop - self._offset, _BLOCK)), events):
            pass
        self.behind = self._offset < found.st_size and self._offset >= stop
        return events

    def _notice_replacement(self, file: tuple[int, int], size: int) -> None:
        if (self._file is not None and file != self._file) or size < self._offset:
            self._offset, self._skip, self.edge = 0, False, b""
            self.faults = Faults()
            self.turns += 1
        self._file = file

    def _take(self, handle: int, size: int, events: list[Event]) -> bool:
        """Read one chunk up to its last newline; False when there is no whole line yet."""
        chunk = _pread(handle, size, self._offset)
        end = chunk.rfind(b"\n") + 1
        if not end and len(chunk) == size:
            chunk = _pread(handle, _LONGEST_LINE, self._offset)
            end = chunk.rfind(b"\n") + 1
        if not end:
            return self._pass_over(chunk)
        lines = chunk[: end - 1].split(b"\n")
        self._advance(chunk[:end])
        skipped, self._skip = self._skip, False
        self._parse(lines[skipped:], events)
        return True

    def _parse(self, lines: list[bytes], events: list[Event]) -> None:
        faults = self.faults
        for line in lines:
            event = parse_line(line)
            if event is None:
                faults.take_unreadable(line)
            else:
                faults.take(event["seq"], changed=_was_changed(line))
                events.append(event)

    def _pass_over(self, chunk: bytes) -> bool:
        if len(chunk) < _LONGEST_LINE:
            return False
        self._advance(chunk)
        self._skip = True
        return True

    def _advance(self, passed: bytes) -> None:
        self._offset += len(passed)
        self.edge = (self.edge + passed[-_EDGE:])[-_EDGE:]


def _pread(handle: int, size: int, offset: int) -> bytes:
    """What can be read there; nothing where the disk or the file server fails, which may be better the next time."""
    try:
        return os.pread(handle, size, offset)
    except OSError:
        return b""
