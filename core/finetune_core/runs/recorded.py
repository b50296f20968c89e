"""What journal and sealed checkpoints say of a run: its state, its position, and what they know to have been written.

status.json is a cache of this, for lists; where it is lost or does not fit, this takes its place.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from finetune_core.files import OddFile, open_regular, read_capped
from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Event, Tail, number, parse_line
from finetune_core.runs.metrics import metrics_of

_FIRST_LINE: Final = 64 * 1024
_HEAD: Final = 128 * 1024
_END: Final = 512 * 1024
_LARGEST_MANIFEST: Final = 64 * 1024 * 1024
_LARGEST: Final = 2**53
_LAST_MOMENT: Final = 1e11
_REMEMBERED: Final = 256


@dataclass
class Recorded:
    """What was read: the run's id, the last seq, whether it was ever started, and fields of a Status by name."""

    id: str = ""
    seq: int = 0
    started: bool = False
    fields: dict[str, Any] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """Take in one event."""
        self.seq = max(self.seq, event["seq"])
        self._note("updated", moment(event.get("t")))
        way = _WAYS.get(event["kind"])
        if way is not None:
            way(self, event)

    def _note(self, name: str, value: object) -> None:
        if value is not None:
            self.fields[name] = value

    def _state(self, event: Event) -> None:
        state = event.get("state")
        if state == "created":
            self.id = str(event.get("id") or "")
            for name in ("model", "data", "title", "apart"):
                self._note(name, event.get(name) if isinstance(event.get(name), str) else None)
        elif isinstance(state, str):
            self._begun(event, state)

    def _begun(self, event: Event, state: str) -> None:
        self.started = True
        self.fields |= {"state": state, "phase": str(event.get("phase") or "")}
        if state == "preparing":
            self.fields.setdefault("started", moment(event.get("t")))
            self._not_ended()
        self._note("step", whole(event.get("step")))

    def _not_ended(self) -> None:
        self.fields |= dict.fromkeys(("ended", "cause", "remedy"))

    def _step(self, event: Event) -> None:
        self.started = True
        if self.fields.get("ended") is not None:
            self._not_ended()
        self.fields |= {"state": "training", "phase": "training"}
        for name, value in (("step", whole(event.get("step"))), ("epoch", number(event.get("epoch")))):
            self._note(name, value)
        self._note("loss", number(metrics_of(event).get("loss")))

    def _plan(self, event: Event) -> None:
        self._note("total", whole(event.get("total_steps")))

    def _verdict(self, event: Event) -> None:
        self._note("verdict", event.get("outcome") if isinstance(event.get("outcome"), str) else None)

    def _end(self, event: Event) -> None:
        if not isinstance(event.get("state"), str):
            return
        self.started = True
        cause, remedy = (str(event[name]) if event.get(name) else None for name in ("cause", "remedy"))
        ended = moment(event.get("t"))
        self.fields |= {"state": event["state"], "phase": "", "ended": ended, "cause": cause, "remedy": remedy}


_WAYS: Final[dict[str, Callable[[Recorded, Event], None]]] = {
    "state": Recorded._state,
    "step": Recorded._step,
    "plan": Recorded._plan,
    "verdict": Recorded._verdict,
    "end": Recorded._end,
}
_known: dict[RunDir, tuple[tuple[int, ...], Recorded]] = {}


def recorded(run: RunDir) -> Recorded:
    """What a run's journal says, read at its beginning and its end; kept as long as the file stays as it is."""
    try:
        info = run.events_file.stat()
    except OSError:
        return Recorded()
    stamp = (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
    before = _known.get(run)
    if before is not None and before[0] == stamp:
        return before[1]
    found = _read(run)
    _known[run] = (stamp, found)
    while len(_known) > _REMEMBERED:
        del _known[next(iter(_known))]
    return found


def _read(run: RunDir) -> Recorded:
    found = Recorded()
    tail = Tail(run.events_file)
    events = tail.read(_HEAD)
    if tail.unread > _END:
        end = Tail(run.events_file, start=tail.offset + tail.unread - _END)
        events += end.read()
    else:
        events += tail.read()
    for event in events:
        found.take(event)
    return found


def journal_id(run: RunDir) -> str:
    """The run's id, as the first event of its journal gives it; empty for runs of earlier versions."""
    try:
        with open_regular(run.events_file) as stream:
            event = parse_line(stream.readline(_FIRST_LINE))
    except (OSError, OddFile):
        return ""
    created = event is not None and event["kind"] == "state" and event.get("state") == "created"
    return str(event.get("id") or "") if event is not None and created else ""


def sealed_steps(run: RunDir) -> list[int]:
    """The steps of the checkpoints that have a manifest, in order; whether they are whole, the next trainer finds out.

    Links are none.
    """
    if run.checkpoints.is_symlink():
        return []
    found = [path.parent for path in run.checkpoints.glob("step-*/manifest.json")]
    return sorted(int(path.name[5:]) for path in found if path.name[5:].isdigit() and not path.is_symlink())


def sealed_events(run: RunDir) -> int:
    """The seq of the last event written when the newest checkpoint was sealed; 0 where it is not known."""
    return whole(newest_notes(run).get("events")) or 0


def newest_notes(run: RunDir) -> dict[str, Any]:
    """What the newest checkpoint's manifest notes, unchecked; empty where there is none, or it is damaged."""
    steps = sealed_steps(run)
    if not steps:
        return {}
    try:
        path = run.checkpoints / f"step-{steps[-1]:06d}" / "manifest.json"
        notes = json.loads(read_capped(path, _LARGEST_MANIFEST))["notes"]
    except (OSError, OddFile, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return notes if isinstance(notes, dict) else {}


def whole(value: object) -> int | None:
    """A whole number that can be reckoned with, from 0; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST else None


def moment(value: object) -> float | None:
    """Unix seconds that a clock can show; None for anything else."""
    seconds = number(value)
    return seconds if seconds is not None and 0 <= seconds < _LAST_MOMENT else None
