"""A run as its directory shows it: events folded into curves, lists and the present state."""

from __future__ import annotations

import time
from collections import deque
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune_core.runs.directory import RunDir, read_plan
from finetune_core.runs.journal import ENVELOPE, Event, Tail, number
from finetune_core.runs.journal_faults import Faults
from finetune_core.runs.lock import at_work
from finetune_core.runs.metrics import metrics_of
from finetune_core.runs.recorded import moment, whole
from finetune_core.runs.status import ACTIVE, CRASHED, ENDED, Status, known, read_status, state_in
from finetune_core.runs.view import history
from finetune_core.runs.view.curves import Series
from finetune_core.runs.view.samples import SampleItem, SampleSet, load_samples
from finetune_core.runs.view.worktime import WorkTime

if TYPE_CHECKING:
    from finetune_core.recipe.schema import Recipe

__all__ = ["RunView", "SampleItem", "SampleSet", "Series"]

_GPU_CURVES = {
    "memory_used": "gpu_memory_bytes",
    "utilisation": "gpu_utilisation",
    "temperature": "gpu_temperature",
    "power_watts": "gpu_power",
}
_PACE_STEPS = 50
# A journal may hold ever new names; a run of eight GPUs comes to about 60 curves.
_MOST_SERIES = 500
_PIECE = 4 * 1024 * 1024
# Of a long history, GPU readings are taken at every fourth step only: they change slowly, and opening it must be quick.
_MANY = 2_000
_HURRIED_STEPS = 4
# What the events come to, beside curves and lists.
_FIGURES = (
    "step", "total", "epoch", "tokens", "started", "memory_total", "price_per_hour", "gpus", "verdict", "result", "end",
    "id",
)  # fmt: skip
_LOST = "its processes are gone without a word: they were killed, or the machine restarted"


# The name of its list in a kept history: no event is of this kind.
_LATER = ""
_LATER_KEPT = 500
# Known, and reported by the status, the log or another event.
_NOT_LISTED = frozenset({"end", "gate", "failure"})


class RunView:
    """A reader of one run, living or ended; any number may look at the same run.

    `poll` takes in what is new; everything else only gives what was taken in. The first one begins where the kept
    history of a long run ends (see `history`). Damaged or missing files give empty values, never exceptions; only
    `recipe` and `load_sample` raise FtError.
    """

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.status = Status(run=run.name)
        self.state = "created"
        self._plan_file: dict[str, Any] = {}
        self._tail = Tail(run.events_file)
        self._seen: dict[Path, tuple[int, int, int]] = {}
        self._turns = 0
        self._hurried = False
        self._recalled = False
        # What is wrong with the run's files, as whoever looked (`damage`) has put it here.
        self.damage: list[str] = []
        self._forget()

    def _forget(self) -> None:
        """Start again: as if no event had been read."""
        self.series: dict[str, Series] = {}
        self.gpus: list[dict[str, Any]] = []
        self.step = 0
        self.total: int | None = None
        self.epoch: float | None = None
        self.tokens: int | None = None
        self.started: float | None = None
        self._work = WorkTime()
        self.memory_total: int | None = None
        self.price_per_hour: float | None = None
        self._plan_event: dict[str, Any] = {}
        self.probes: list[Event] = []
        self.samples: list[Event] = []
        self.checkpoints: list[Event] = []
        self.evals: list[Event] = []
        self.controls: list[Event] = []
        self.alarms: list[Event] = []
        self.states: list[Event] = []
        self.settled: list[Event] = []
        # Of kinds that only a later version knows.
        self.later: list[Event] = []
        self.verdict: dict[str, Any] | None = None
        self.result: dict[str, Any] | None = None
        self.end: dict[str, Any] | None = None
        self.id = ""
        self._pace: deque[tuple[int, float]] = deque(maxlen=_PACE_STEPS)
        # How much of the journal a kept history covers, in bytes.
        self.kept = 0
        self._lists = {
            "probe": self.probes,
            "sample": self.samples,
            "checkpoint": self.checkpoints,
            "eval": self.evals,
            "control": self.controls,
            "alarm": self.alarms,
            "state": self.states,
            "settled": self.settled,
            _LATER: self.later,
        }

    @cached_property
    def recipe(self) -> Recipe:
        """The run's resolved recipe. Raises FtError when its file is damaged."""
        from finetune_core.recipe.yaml_io import load

        return load(self.run.recipe_file)

    @property
    def plan(self) -> dict[str, Any]:
        """What was predicted before the start (plan.json), overlaid with what the trainer then counted."""
        return {**self._plan_file, **self._plan_event}

    @property
    def behind(self) -> bool:
        """Whether the last `poll` stopped at its limit with more to read."""
        return self._tail.behind

    @property
    def covered(self) -> int:
        """How many bytes of the journal have been taken in."""
        return self._tail.offset

    @property
    def unread(self) -> int:
        """How many bytes of the journal are still to be taken in; one stat."""
        return self._tail.unread

    @property
    def faults(self) -> Faults:
        """What is wrong with the journal as far as it was taken in."""
        return self._tail.faults

    @property
    def edge(self) -> bytes:
        """The last bytes of the journal that were taken in."""
        return self._tail.edge

    def recall(self) -> None:
        """Begin with the kept history, once; without one, or with one that does not fit, with the first event."""
        if self._recalled:
            return
        self._recalled = True
        found = history.load(self.run)
        if found is None:
            return
        try:
            self._restore(found.events)
            Faults.from_data(found.events["faults"])
        except (AttributeError, KeyError, TypeError, ValueError):
            self._forget()
        else:
            # From the newline before it: a reader in the middle of a line skips to the next.
            self._tail = Tail(self.run.events_file, start=found.offset - 1)
            self._tail.faults = Faults.from_data(found.events["faults"])
            self.kept = found.offset

    def snapshot(self, points: int, events: int) -> dict[str, Any]:
        """What was taken in as plain values; of the curves about `points` points in all, `events` of each list."""
        each = max(points // max(len(self.series), 1), 8)
        curves = {name: series.thinned(each) for name, series in self.series.items()}
        return {
            "figures": {name: getattr(self, name) for name in _FIGURES},
            "plan": self._plan_event,
            "pace": list(self._pace),
            "work": self._work.to_data(),
            "lists": {kind: found[-events:] for kind, found in self._lists.items()},
            "faults": self.faults.to_data(),
            "curves": {name: [series.steps, series.values] for name, series in curves.items()},
        }

    def _restore(self, found: dict[str, Any]) -> None:
        for name in _FIGURES:
            setattr(self, name, found["figures"][name])
        self._plan_event = found["plan"]
        self._pace.extend((step, mono) for step, mono in found["pace"])
        self._work = WorkTime.from_data(found["work"])
        for kind, events in self._lists.items():
            events[:] = found["lists"].get(kind, [])
        self.series = {name: Series(steps, values) for name, (steps, values) in found["curves"].items()}

    def poll(self, limit_bytes: int | None = None) -> bool:
        """Take in what has changed since the last call; True when something has.

        Costs two stats and a look at /proc when nothing has. `limit_bytes` bounds how much of the journal is read,
        so that a caller can show progress on a long one (see `behind`).
        """
        changed = self._poll_files(limit_bytes)
        state = self._present_state()
        if state == CRASHED != self.state and not self.behind:
            # It may have ended properly between the reading and the look at its processes.
            changed = self._poll_files(limit_bytes) or changed
            state = self._present_state()
        changed = changed or state != self.state
        self.state = state
        return changed

    def _poll_files(self, limit_bytes: int | None) -> bool:
        self.recall()
        changed = False
        if self._is_new(self.run.status_file) or not self.status.updated:
            status = read_status(self.run) or known(self.run)
            # A heartbeat alone is nothing new.
            changed = status.changed(updated=0.0) != self.status.changed(updated=0.0)
            self.status = status
        if self._is_new(self.run.plan_file):
            self._plan_file, changed = read_plan(self.run), True
        if self._tail.changed():
            changed = self._poll_journal(limit_bytes) or changed
        if self.status.id and self.id and self.status.id != self.id:
            self.status = known(self.run)
        return changed

    def _is_new(self, path: Path) -> bool:
        try:
            found = path.stat()
        except OSError:
            return False
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        known = self._seen.get(path)
        self._seen[path] = stamp
        return stamp != known

    def _poll_journal(self, limit_bytes: int | None) -> bool:
        changed = False
        left = float("inf") if limit_bytes is None else limit_bytes
        while left > 0:
            # Taken in piece by piece: a long journal's events are never all in memory at once.
            changed = self._fold_all(self._tail.read(int(min(left, _PIECE)))) or changed
            left -= _PIECE
            if not self._tail.behind:
                break
        return changed

    def _fold_all(self, events: list[Event]) -> bool:
        if self._tail.turns != self._turns:
            self._turns = self._tail.turns
            self._forget()
        self._hurried = len(events) > _MANY
        for event in events:
            self._fold(event)
        return bool(events)

    def _present_state(self) -> str:
        if self.end is not None:
            return str(self.end.get("state"))
        said = self.states[-1]["state"] if self.states and not self.behind else None
        if self.status.state in ENDED and not (said in ACTIVE and self._status_is_older):
            return self.status.state
        state = state_in(self.run, self.status)
        # The journal is ahead of status.json, which is written at most twice a second.
        shown = state if said not in ACTIVE else CRASHED if state not in ACTIVE else str(said)
        if shown == CRASHED and at_work(self.run):
            return str(said) if said in ACTIVE else self.status.state
        return shown

    @property
    def _status_is_older(self) -> bool:
        return 0 < self.status.events < self.faults.last

    def _fold(self, event: Event) -> None:
        """Take in one event; those of kinds that this version does not know are kept to be shown."""
        kind = event["kind"]
        self._work.take(kind, event)
        if kind == "step":
            self._fold_step(event)
        elif kind == "state":
            if isinstance(event.get("state"), str):
                self._fold_state(event)
        elif kind in self._lists:
            self._lists[kind].append(event)
            if kind == "eval":
                for name, value in metrics_of(event).items():
                    self._add(name, whole(event.get("step")), value)
            elif kind == "settled":
                # Its file holds other values now.
                self.__dict__.pop("recipe", None)
        elif kind == "plan":
            self._fold_plan(event)
        else:
            self._fold_outcome(kind, event)

    def _fold_outcome(self, kind: str, event: Event) -> None:
        if kind == "verdict":
            self.verdict = event
        elif kind == "result":
            # The journal keeps the result's own kind apart from the event's.
            self.result = dict(event)
            self.result["kind"] = self.result.pop("result_kind", None)
        elif kind == "end" and isinstance(event.get("state"), str) and event["state"] in ENDED:
            self.end = event
        elif kind not in _NOT_LISTED:
            self.later.append(event)
            del self.later[:-_LATER_KEPT]

    def _fold_step(self, event: Event) -> None:
        step = whole(event.get("step"))
        if step is None:
            return
        self.step = step
        self.epoch = number(event.get("epoch"))
        self.tokens = whole(event.get("tokens"))
        self._note_pace(step, number(event.get("mono")))
        for name, value in metrics_of(event).items():
            self._add(name, step, value)
        self._add("step_seconds", step, event.get("seconds"))
        memory = event.get("memory")
        if isinstance(memory, dict):
            self._add("memory_bytes", step, memory.get("reserved") or memory.get("rss"))
        gpus = event.get("gpus")
        if isinstance(gpus, list) and gpus:
            self.gpus = [gpu for gpu in gpus if isinstance(gpu, dict)]
            if not (self._hurried and step % _HURRIED_STEPS):
                self._fold_gpus(step)

    def _fold_gpus(self, step: int) -> None:
        for gpu in self.gpus:
            index = whole(gpu.get("index"))
            for name, curve in _GPU_CURVES.items():
                self._add(f"{curve}:{index}", step, gpu.get(name))

    def _add(self, name: str, step: int | None, value: object) -> None:
        figure = value if type(value) is float else number(value)
        if step is None or figure is None:
            return
        series = self.series.get(name)
        if series is None:
            if len(self.series) >= _MOST_SERIES:
                return
            series = self.series[name] = Series()
        series.add(step, figure)

    def _note_pace(self, step: int, mono: float | None) -> None:
        if mono is None:
            return
        if self._pace and (step <= self._pace[-1][0] or mono < self._pace[-1][1]):
            self._pace.clear()
        self._pace.append((step, mono))

    def _fold_state(self, event: Event) -> None:
        state = event["state"]
        if state == "created":
            self.id = str(event.get("id") or "")
        last = self.states[-1] if self.states else {}
        if state == "preparing":
            self._begin(event)
        elif last.get("state") in {"paused", "preparing"}:
            # The time spent on a pause or a start says nothing about the pace of steps.
            self._pace.clear()
        if (last.get("state"), last.get("phase")) == (state, event.get("phase")):
            self.states[-1] = event
        else:
            self.states.append(event)

    def _begin(self, event: Event) -> None:
        """A start or a new start: the end of the attempt before no longer counts."""
        self.started = self.started if self.started is not None else moment(event.get("t"))
        self.end = None
        self._pace.clear()
        step = whole(event.get("step"))
        if step is not None:
            self._go_back(step)

    def _go_back(self, step: int) -> None:
        """Forget what an earlier attempt did after `step`: it is done again."""
        for series in self.series.values():
            series.cut(step + 1)
        for events in (self.samples, self.checkpoints, self.evals):
            events[:] = [event for event in events if (whole(event.get("step")) or 0) <= step]
        if step < self.step:
            self.step, self.epoch, self.tokens = step, None, None

    def _fold_plan(self, event: Event) -> None:
        self._plan_event = _without_envelope(event) or {}
        self.total = whole(event.get("total_steps"))
        self.memory_total = whole(event.get("memory_total"))
        self.price_per_hour = number(event.get("price_per_hour"))

    @property
    def loss(self) -> float | None:
        """The newest training loss."""
        losses = self.series.get("loss")
        return losses.values[-1] if losses and losses.values else None

    @property
    def eta_seconds(self) -> float | None:
        """Seconds of training left at the pace of the last 50 steps, evaluations and checkpoints among them included.

        None when not known, or when the run is not training.
        """
        if self.state not in {"training", "evaluating"} or not self.total or len(self._pace) < 2:
            return None
        (first, began), (last, ended) = self._pace[0], self._pace[-1]
        return max(0.0, (ended - began) / (last - first) * (self.total - self.step))

    def cost(self, now: float) -> tuple[float, float | None] | None:
        """What the run has cost until `now` (unix seconds), and will have at the pace of its steps.

        In the currency of the recipe's price of an hour; None without a price, the second while the pace is unknown.
        """
        worked = self.worked_seconds(now)
        if self.price_per_hour is None or worked is None:
            return None
        left = 0.0 if self.state not in ACTIVE else self.eta_seconds
        each = self.price_per_hour / 3600
        return each * worked, None if left is None else each * (worked + left)

    def load_sample(self, event: Event) -> SampleSet:
        """The answers a `sample` event stands for. Raises FtError when the file is missing or damaged."""
        return load_samples(self.run, event)

    @property
    def cause(self) -> str | None:
        """Why the run ended, or what is known of that; None when it goes on, or ended well."""
        said = (self.end or {}).get("cause") or self.status.cause
        return str(said) if said else _LOST if self.state == CRASHED else None

    @property
    def remedy(self) -> str | None:
        """What a user can do about the end; None where nothing needs doing."""
        said = (self.end or {}).get("remedy") or self.status.remedy
        if said or self.state != CRASHED:
            return str(said) if said else None
        if self.checkpoints:
            return f"go on from its last checkpoint: `ft-tui resume {self.run.name}`"
        return f"no checkpoint had been written; begin it again: `ft-tui resume {self.run.name}`"

    @property
    def ended(self) -> float | None:
        """When the run ended, in unix seconds; of a crashed one its last sign of life, None of one at work."""
        said = moment((self.end or {}).get("t")) or self.status.ended
        return said or (self.status.updated or None if self.state == CRASHED else None)

    @property
    def result_is_earlier(self) -> bool:
        """Whether the result was saved before the run was started again the last time."""
        starts = [event["seq"] for event in self.states if event["state"] == "preparing"]
        return self.result is not None and bool(starts) and self.result["seq"] < starts[-1]

    def worked_seconds(self, now: float) -> float | None:
        """Seconds worked on the run until `now` (unix seconds), or to its end; None when it never started.

        Pauses do not count, nor does the time between an end and a new start.
        """
        if self.state not in ACTIVE:
            now = self.ended or self.status.updated or now
        if self.started is not None:
            return self._work.seconds(now)
        # A damaged journal may lack its start.
        return max(0.0, now - self.status.started) if self.status.started else None

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints of the run: plain values, NaN as None."""
        return {
            "run": self.run.name,
            "directory": str(self.run.path),
            "state": self.state,
            "phase": self.status.phase,
            "step": self.step or self.status.step,
            "total": self.total if self.total is not None else self.status.total,
            "epoch": self.epoch,
            "loss": _finite(self.loss),
            "eta_seconds": self.eta_seconds,
            "cost": (self.cost(time.time()) or (None,))[0],
            "started": self.started,
            "ended": self.ended,
            "verdict": _without_envelope(self.verdict),
            "result": _without_envelope(self.result, keep="kind"),
            "cause": self.cause,
            "remedy": self.remedy,
            "damage": self.damage,
        }


def _without_envelope(event: Event | None, *, keep: str = "") -> Event | None:
    if event is None:
        return None
    return {name: value for name, value in event.items() if name == keep or name not in ENVELOPE}


def _finite(value: float | None) -> float | None:
    return value if value is not None and abs(value) < float("inf") else None
