"""Where in the app one is, kept so that the next start leads back there after a lost connection or a closed window."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from finetune_core.errors import FtError
from finetune_core.files import read_capped, write_atomic
from finetune_core.paths import home

if TYPE_CHECKING:
    from finetune_core.runs.identity import Identity

_FILE = "place.json"
_VERSION = 1
_LARGEST = 4096


@dataclass(frozen=True)
class Place:
    """A dashboard, by the name of its run and with what its panes show; or the wizard, by the name of its draft."""

    screen: Literal["dashboard", "wizard"]
    name: str
    main: str = ""
    lower: str = ""


def keep(place: Place | None) -> None:
    """Remember the place of this process's app; None, the list of runs, needs no remembering.

    The place of another app that still runs is left alone. A disk that refuses costs no more than the way back.
    """
    with suppress(OSError, FtError):
        path = home() / _FILE
        found = _read(path)
        if place is None and not found:
            return
        # Imported late: what a process is known by takes as long to import as a first frame to draw.
        from finetune_core.runs.identity import Identity

        owner = _owner(found)
        if owner is not None and owner != Identity.current() and owner.alive():
            return
        if place is None:
            path.unlink(missing_ok=True)
            return
        kept = {"v": _VERSION, "app": Identity.current().model_dump(), **asdict(place)}
        write_atomic(path, json.dumps(kept), durable=False)


def recall() -> Place | None:
    """The place the last app was left at, given once: what breaks the app there does not break the next start too.

    None when there is none, when it cannot be read, and while that app still runs.
    """
    with suppress(OSError, FtError):
        path = home() / _FILE
        found = _read(path)
        owner = _owner(found)
        if owner is None or owner.alive():
            return None
        path.unlink(missing_ok=True)
        return _place(found)
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_capped(path, _LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and found.get("v") == _VERSION else {}


def _owner(found: dict[str, Any]) -> Identity | None:
    if not found:
        return None
    from pydantic import ValidationError

    from finetune_core.runs.identity import Identity

    try:
        return Identity.model_validate(found.get("app"))
    except ValidationError:
        return None


def _place(found: dict[str, Any]) -> Place | None:
    screen, name = found.get("screen"), found.get("name")
    if screen not in ("dashboard", "wizard") or not isinstance(name, str):
        return None
    return Place(screen, name, str(found.get("main", "")), str(found.get("lower", "")))
