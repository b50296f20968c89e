"""status.json: what a run is doing now, small enough to read for a list of hundreds of runs.

A cache of what the journal says: it carries its own seal, the run's id, and how much of the journal it covers. Where it
is lost, damaged, another run's or older than the journal, `known` takes the journal's word.

One writer at a time: `lifecycle.create`, then the supervisor until it starts the trainer, then the trainer until
its process has ended, then the supervisor again.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finetune_core.files import OddFile, read_capped, sealed, unsealed, write_atomic
from finetune_core.runs.directory import RunDir
from finetune_core.runs.identity import Identity, boot_id
from finetune_core.runs.journal import last_seq
from finetune_core.runs.lock import at_work
from finetune_core.runs.recorded import Recorded, journal_id, recorded, sealed_events, sealed_steps

VERSION = 1
ACTIVE = frozenset({"queued", "preparing", "training", "evaluating", "saving", "paused"})
ENDED = frozenset({"done", "stopped", "preempted", "failed"})
CRASHED = "crashed"
_LARGEST = 256 * 1024
# A run on another machine (shared file system) cannot be looked up in /proc; its heartbeat speaks for it.
_HEARTBEAT_SECONDS = 5.0
_SILENCE_SECONDS = 60.0
_SHORTEST_SECONDS = 0.01
# A status of a run at work that is older than this is a heartbeat behind.
_FRESH_SECONDS = 15.0
# What a clock can show, up to the year 5138.
Moment = Annotated[float, Field(ge=0, lt=1e11)]


class Status(BaseModel):
    """One reading of status.json. Times are unix seconds; unknown fields of later versions are passed over.

    `id` is the run's own, `events` the last seq that is known to have been written, and `journal_bytes` the length of
    the journal then; statuses of earlier versions lack them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")

    v: int = VERSION
    run: str = ""
    id: str = ""
    events: int = Field(0, ge=0, lt=2**63)
    journal_bytes: int = Field(0, ge=0, lt=2**63)
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
    """What status.json says; None when there is none, it is damaged, or no regular file. Most callers want `known`."""
    try:
        data = read_capped(run.status_file, _LARGEST)
        # Those of earlier versions have no seal.
        whole = unsealed(data) if b'"seal"' in data else data
        return None if whole is None else Status.model_validate_json(whole)
    except (OSError, OddFile, ValidationError):
        return None


def write_status(run: RunDir, status: Status) -> None:
    """Replace the run's status durably, stamped with the present time and the present end of the journal.

    Raises OSError (a full disk).
    """
    events, size = _journal_end(run)
    stamp = {"updated": time.time(), "events": max(events, status.events), "journal_bytes": size}
    content = sealed(status.changed(**stamp).model_dump_json())
    try:
        write_atomic(run.status_file, content)
    except IsADirectoryError:
        # A cache gives way to nothing that stands in its place by mistake.
        run.status_file.rename(run.path / f"{run.status_file.name}.moved-{time.time_ns()}")
        write_atomic(run.status_file, content)


def _journal_end(run: RunDir) -> tuple[int, int]:
    """The last seq in the journal, and its length in bytes; zeros where it cannot be read."""
    try:
        handle = os.open(run.events_file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return 0, 0
    try:
        return last_seq(handle), os.fstat(handle).st_size
    except OSError:
        return 0, 0
    finally:
        os.close(handle)


def known(run: RunDir) -> Status:
    """What is known of a run: its status where that fits the journal, else what journal and checkpoints say.

    Where the journal is shorter than the status knows it to have been, the status is believed.
    """
    return _known(run, read_status(run))


def _known(run: RunDir, status: Status | None) -> Status:
    if status is not None and _fits(run, status):
        return status
    found = recorded(run)
    if status is not None and status.id and found.id and status.id != found.id:
        status = None
    if status is not None and _knows_more(status, found):
        return status
    return _restored(run, status or Status(run=run.name), found)


def _knows_more(status: Status, found: Recorded) -> bool:
    """Whether a status was written after the last event that the journal still has."""
    if status.events:
        return status.events > found.seq
    # Earlier versions did not count.
    return not found.started or status.updated >= (found.fields.get("updated") or 0.0)


def _fits(run: RunDir, status: Status) -> bool:
    """Whether a status is of this run, and covers its journal to the end, or as far as a run at work is behind."""
    if not status.events:
        return False
    try:
        size = run.events_file.stat().st_size
    except OSError:
        return False
    ahead = status.state in ACTIVE and size > status.journal_bytes
    covers = size == status.journal_bytes or (ahead and abs(time.time() - status.updated) < _FRESH_SECONDS)
    return covers and (not status.id or journal_id(run) in {"", status.id})


def _restored(run: RunDir, before: Status, found: Recorded) -> Status:
    """A status as the journal has it, on top of what is known besides; a started run is at least that."""
    try:
        status = before.changed(**found.fields, id=found.id or before.id)
    except ValidationError:
        status = before
    steps = sealed_steps(run)
    if status.state == "created" and (steps or run.result.is_dir()):
        # Its processes are gone, as `state_in` then finds.
        status = status.changed(state="training", step=max(status.step, *steps) if steps else status.step)
    return status


def known_events(run: RunDir) -> int:
    """The last seq that is known to have been written, whatever the journal holds now."""
    status, named = read_status(run), journal_id(run)
    of_run = status is not None and (not status.id or named in {"", status.id})
    return max(status.events if status is not None and of_run else 0, sealed_events(run))


class StatusWriter:
    """The trainer's hand on status.json: names it as the run's trainer, writes at most twice a second, beats a heart.

    What is not urgent is written by the thread of the heart, since a durable write may take a while. A full disk is
    not an error here: the next write tries again. `close` writes what was held back.
    """

    def __init__(self, run: RunDir, *, every: float = 0.5) -> None:
        self._run = run
        self._every = every
        self._written = float("-inf")
        self._guard = threading.Lock()
        self._closed = threading.Event()
        self.problem: str | None = None
        self._behind = False
        self.status = known(run).changed(trainer=Identity.current())
        self.update(now=True)
        self.thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.thread.start()

    def update(self, *, now: bool = False, **values: object) -> None:
        """Change some values; written at once when the state or phase changes or `now` is set, else soon."""
        with self._guard:
            before = self.status
            self.status = before.changed(**values)
            self._behind = True
            if now or (before.state, before.phase) != (self.status.state, self.status.phase):
                self._write()

    def close(self) -> None:
        """End the heartbeat and write the last values; from here on the supervisor writes."""
        self._closed.set()
        with self._guard:
            self._write()

    def _write(self) -> None:
        self._written, self._behind = time.monotonic(), False
        try:
            write_status(self._run, self.status)
        except OSError as error:
            self.problem = f"status.json cannot be written: {error.strerror}"
        else:
            self.problem = None

    def _beat(self) -> None:
        while not self._closed.wait(max(min(self._every, _HEARTBEAT_SECONDS), _SHORTEST_SECONDS)):
            with self._guard:
                due = self._behind or time.monotonic() - self._written >= _HEARTBEAT_SECONDS
                if due and not self._closed.is_set():
                    self._write()


def live(run: RunDir) -> bool:
    """Whether a supervisor or trainer of this run is alive: it holds a lock of the run, or can be seen to live."""
    return _is_at_work(run, known(run))


def _is_at_work(run: RunDir, status: Status) -> bool:
    return at_work(run) or (is_live(status) and not _would_hold_a_lock(run, status))


def _would_hold_a_lock(run: RunDir, status: Status) -> bool:
    """Whether the run's processes belong to this kernel, in other PID namespaces: it would show the locks they hold.

    Not where the lock's file is gone: what is locked then is no longer to be found.
    """
    held = ((status.supervisor, run.lock_file), (status.trainer, run.trainer_lock_file))
    named = [(process, path) for process, path in held if process is not None]
    return bool(named) and all(
        process.boot_id == boot_id() and process.namespace and not process.here and path.is_file()
        for process, path in named
    )


def is_live(status: Status) -> bool:
    """Whether the processes named by a status are alive; by the heartbeat when a pid means nothing here.

    That is so for another machine and another PID namespace.
    """
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


def read_settled(run: RunDir, kept: Status | None = None) -> tuple[Status, str]:
    """What is known of the run, and the state to show for it; `kept` is its status.json, where that was just read."""
    status = _known(run, kept or read_status(run))
    if state_in(run, status) == CRASHED:
        # It may have ended properly between the reading and the look at its processes.
        status = known(run)
    return status, state_in(run, status)


def state_in(run: RunDir, status: Status) -> str:
    """The state to show for a run with this status: `crashed` when it says it works but nobody is alive to do so."""
    return CRASHED if status.state in ACTIVE and not _is_at_work(run, status) else status.state
