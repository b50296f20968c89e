"""status.json: what a run is doing now, small enough to read for a list of hundreds of runs.

One writer at a time: `lifecycle.create`, then the supervisor until it starts the trainer, then the trainer until
its process has ended, then the supervisor again.
"""

from __future__ import annotations

import threading
import time
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ft_core.files import write_atomic
from ft_core.runs.directory import RunDir
from ft_core.runs.identity import Identity

VERSION = 1
ACTIVE = frozenset({"queued", "preparing", "training", "evaluating", "saving", "paused"})
ENDED = frozenset({"done", "stopped", "preempted", "failed"})
CRASHED = "crashed"
STATES = frozenset({"created"}) | ACTIVE | ENDED
_LARGEST = 256 * 1024
# A run on another machine (shared file system) cannot be looked up in /proc; its heartbeat speaks for it.
_HEARTBEAT_SECONDS = 5.0
_SILENCE_SECONDS = 60.0
# What a clock can show, up to the year 5138.
Moment = Annotated[float, Field(ge=0, lt=1e11)]


class Status(BaseModel):
    """One reading of status.json. Times are unix seconds; unknown fields of later versions are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")

    v: int = VERSION
    run: str = ""
    model: str = ""
    data: str = ""
    title: str = ""
    apart: str = ""
    state: str = "created"
    phase: str = ""
    step: int = Field(0, ge=0, lt=2**53)
    total: int | None = Field(None, ge=0, lt=2**53)
    epoch: float | None = None
    loss: float | None = None
    verdict: str | None = None
    started: Moment | None = None
    updated: Moment = 0.0
    ended: Moment | None = None
    cause: str | None = None
    remedy: str | None = None
    supervisor: Identity | None = None
    trainer: Identity | None = None

    def changed(self, **values: object) -> Status:
        """A copy with some values replaced; TypeError for an unknown name, ValidationError for an unfit value."""
        unknown = set(values) - set(Status.model_fields)
        if unknown:
            raise TypeError(f"a status has no {', '.join(sorted(unknown))}")
        return Status.model_validate({**dict(self), **values})


def read_status(run: RunDir) -> Status | None:
    """The run's status; None when there is none or it is damaged."""
    try:
        with run.status_file.open("rb") as stream:
            return Status.model_validate_json(stream.read(_LARGEST))
    except (OSError, ValidationError):
        return None


def write_status(run: RunDir, status: Status, *, durable: bool = False) -> None:
    """Replace the run's status, stamped with the present time. Raises OSError (a full disk)."""
    stamped = status.changed(updated=time.time())
    write_atomic(run.status_file, stamped.model_dump_json(), durable=durable)


class StatusWriter:
    """The trainer's hand on status.json: names it as the run's trainer, writes at most twice a second, beats a heart.

    A full disk is not an error here: the next write tries again. `close` writes what was held back.
    """

    def __init__(self, run: RunDir, *, every: float = 0.5) -> None:
        self._run = run
        self._every = every
        self._written = float("-inf")
        self._guard = threading.Lock()
        self._closed = threading.Event()
        self.problem: str | None = None
        self.status = (read_status(run) or Status(run=run.name)).changed(trainer=Identity.current())
        self.update(now=True)
        self.thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.thread.start()

    def update(self, *, now: bool = False, **values: object) -> None:
        """Change some values; written at once when the state or phase changes or `now` is set, else soon."""
        with self._guard:
            before = self.status
            self.status = before.changed(**values)
            urgent = now or (before.state, before.phase) != (self.status.state, self.status.phase)
            if urgent or time.monotonic() - self._written >= self._every:
                self._write()

    def close(self) -> None:
        """End the heartbeat and write the last values; from here on the supervisor writes."""
        self._closed.set()
        with self._guard:
            self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        try:
            write_status(self._run, self.status)
        except OSError as error:
            self.problem = f"status.json cannot be written: {error.strerror}"
        else:
            self.problem = None

    def _beat(self) -> None:
        while not self._closed.wait(_HEARTBEAT_SECONDS):
            with self._guard:
                if not self._closed.is_set():
                    self._write()


def live(run: RunDir) -> bool:
    """Whether a supervisor or trainer of this run is alive."""
    status = read_status(run)
    return status is not None and is_live(status)


def is_live(status: Status) -> bool:
    """Whether the processes named by a status are alive; by the heartbeat when they are on another machine."""
    known = [process for process in (status.supervisor, status.trainer) if process is not None]
    if any(process.alive() for process in known):
        return True
    elsewhere = any(not process.here and not process.ended_with_its_boot for process in known)
    return elsewhere and status.state in ACTIVE and _beats(status)


class _Heard(NamedTuple):
    """The newest heartbeat from another machine: its time there, and when it was first and last looked at here."""

    beat: float
    since: float
    looked: float
    alive: bool


_heard: dict[tuple[object, ...], _Heard] = {}


def _beats(status: Status) -> bool:
    """Whether a heart on another machine beats.

    The clocks of two machines may differ, and jump. So whoever looks again and again goes by the heartbeats seen to
    come, timed by a clock that never jumps; only a first look has to compare the clocks.
    """
    key, now = (status.run, status.supervisor, status.trainer), time.monotonic()
    before = _heard.get(key)
    if before is None or now - before.looked > _SILENCE_SECONDS:
        found = _Heard(status.updated, now, now, alive=abs(time.time() - status.updated) < _SILENCE_SECONDS)
    elif status.updated != before.beat:
        found = _Heard(status.updated, now, now, alive=True)
    else:
        found = before._replace(looked=now, alive=before.alive and now - before.since < _SILENCE_SECONDS)
    _heard[key] = found
    return found.alive


def shown_state(run: RunDir) -> str:
    """The state a person should see: `crashed` when the status says it works but nobody is alive to do so."""
    return read_settled(run)[1]


def read_settled(run: RunDir) -> tuple[Status | None, str]:
    """The run's status and the state to show for it; `created` for a run without a readable status."""
    status = read_status(run)
    if status is not None and state_of(status) == CRASHED:
        # It may have ended properly between the reading and the look at its processes.
        status = read_status(run)
    return status, "created" if status is None else state_of(status)


def state_of(status: Status) -> str:
    """As `shown_state`, for a status already read."""
    return CRASHED if status.state in ACTIVE and not is_live(status) else status.state
