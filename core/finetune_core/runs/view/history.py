"""What a view had made of a long journal, kept so that the next one reads only what came after.

A cache of at most 2 MB a run: curves thinned, of each kind of rare event the newest 2000. It may be lost, damaged or
of another journal at any time; then the journal is read from its beginning. Any viewer may write it, by replacing the
file: whichever stands there is right for the part of the journal that it covers.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from finetune_core import __version__
from finetune_core.errors import FtError
from finetune_core.files import open_regular, write_atomic
from finetune_core.paths import cache_root, private_folder
from finetune_core.runs.directory import RunDir

# Raised whenever what a view makes of events changes.
VERSION = 4
# So much is read in a moment, also on a busy machine.
WORTH = 1024 * 1024
_WORTH_BEHIND = 64 * WORTH
LARGEST = 2_000_000
_POINTS = 40_000
_EVENTS = (2_000, 500, 100)
_KEPT = 64


class Kept(NamedTuple):
    """What the events of the first `offset` bytes of a journal came to, as `RunView.snapshot` gives it."""

    offset: int
    events: dict[str, Any]


class View(Protocol):
    """What `keep` needs of a RunView."""

    run: RunDir
    kept: int

    @property
    def behind(self) -> bool: ...  # noqa: D102 - as RunView's
    @property
    def covered(self) -> int: ...  # noqa: D102
    @property
    def edge(self) -> bytes: ...  # noqa: D102
    def snapshot(self, points: int, events: int) -> dict[str, Any]: ...  # noqa: D102


def load(run: RunDir) -> Kept | None:
    """The kept history of a run; None when there is none that is whole, of this version, and of this journal."""
    try:
        if run.events_file.stat().st_size < WORTH:
            return None
        with open_regular(file_of(run)) as stream:
            head, body = stream.readline(LARGEST), stream.read(LARGEST + 1)
        found = json.loads(head)
        offset, edge = found.pop("offset"), bytes.fromhex(found.pop("edge"))
        fits = found == _stamp(body) and edge and _bytes_before(run.events_file, offset, len(edge)) == edge
        return Kept(offset, json.loads(body)) if fits else None
    except (OSError, FtError, ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return None


def keep(view: View) -> bool:
    """Write the history of a view when it has read enough more than the kept one covers; True when it did.

    A disk that refuses is no error: it is tried again when as much more has been read.
    """
    offset = view.covered
    if offset - view.kept < (_WORTH_BEHIND if view.behind else WORTH):
        return False
    view.kept = offset
    try:
        body = _body(view)
        if body is None:
            return False
        head = json.dumps({"offset": offset, "edge": view.edge.hex(), **_stamp(body)})
        path = file_of(view.run)
        write_atomic(path, head.encode() + b"\n" + body, durable=False)
        _drop_oldest(path.parent)
    except (OSError, FtError, ValueError, RecursionError):
        return False
    return True


def forget(run: RunDir) -> None:
    """Remove what is kept of a run."""
    with suppress(OSError, FtError):
        file_of(run).unlink()


def file_of(run: RunDir) -> Path:
    """Where the history of a run is kept. Raises FtError when the cache cannot be made."""
    name = hashlib.sha256(str(run.path.absolute()).encode(errors="surrogateescape")).hexdigest()[:32]
    return private_folder(cache_root() / "histories") / f"{name}.json"


def _bytes_before(path: Path, offset: int, count: int) -> bytes:
    with open_regular(path) as stream:
        stream.seek(offset - count)
        return stream.read(count)


def _stamp(body: bytes) -> dict[str, object]:
    return {"v": VERSION, "program": __version__, "body": hashlib.sha256(body).hexdigest()}


def _body(view: View) -> bytes | None:
    """The history as text, with as many of the rare events as there is room for; None when not even a few fit."""
    for events in _EVENTS:
        body = json.dumps(view.snapshot(_POINTS, events), separators=(",", ":")).encode()
        if len(body) <= LARGEST:
            return body
    return None


def _drop_oldest(folder: Path) -> None:
    files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in files[_KEPT:]:
        path.unlink(missing_ok=True)
