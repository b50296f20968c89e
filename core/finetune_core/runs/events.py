"""What a run's journal holds: one record for each kind of event.

Whoever writes a journal writes one of these (`Journal.record`); readers take what they know of and pass over the rest,
so that each version reads the runs of every other. A field is left out of an event while it is None where
`Record.OMITTED` names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Final

from finetune_core.runs.metrics import EVAL_LOSS, FIRST_METRICS, ROUTER_LOSS, Metrics


@dataclass(frozen=True, kw_only=True)
class Record:
    """One event, before the journal numbers and dates it."""

    KIND: ClassVar[str] = ""
    OMITTED: ClassVar[frozenset[str]] = frozenset()

    def values(self) -> dict[str, Any]:
        """The event's fields by name."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in found.items() if value is not None or name not in self.OMITTED}


@dataclass(frozen=True, kw_only=True)
class StateEvent(Record):
    """What the run does now: `done` of `total` `unit` within a phase, where that is known.

    `step` is the step a resumed run goes on from: readers forget what an earlier attempt did after it. `model`, `data`,
    `id`, `title` and `apart` are those of a run's first event, whose state is `created`.
    """

    KIND = "state"
    OMITTED = frozenset({"step", "model", "data", "id", "title", "apart"})

    state: str
    phase: str = ""
    done: int | None = None
    total: int | None = None
    unit: str | None = None
    step: int | None = None
    model: str | None = None
    data: str | None = None
    id: str | None = None
    title: str | None = None
    apart: str | None = None


@dataclass(frozen=True, kw_only=True)
class SettledEvent(Record):
    """Fields of the recipe that were on auto until the rows were counted, and the steps the run comes to."""

    KIND = "settled"
    OMITTED = frozenset({"total_steps", "sequences", "rows"})

    fields: Mapping[str, Any]
    total_steps: int | None = None
    sequences: int | None = None
    rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class GateEvent(Record):
    """What the template gate found, as `GateReport.to_json` gives it."""

    KIND = "gate"

    passed: bool
    rows: int
    checks: list[dict[str, Any]]
    keep_all: int
    keep_most: int
    tokens: int
    tokens_most: int
    tokens_all: int
    compared: int
    overridden: bool


@dataclass(frozen=True, kw_only=True)
class PlanEvent(Record):
    """Everything known before the first step; memory in bytes."""

    KIND = "plan"

    total_steps: int
    model_commit: str | None
    model_code: str | None
    price_per_hour: float | None
    steps_per_epoch: int
    epochs: float
    rows: int
    held_out_rows: int
    sequences: int
    effective_batch: int
    parameters: int
    trainable_parameters: int
    device: str
    dtype: str
    tokens: int
    memory_total: int | None
    levers: Mapping[str, Any]
    adapters: Any
    no_adapter: Any


@dataclass(frozen=True, kw_only=True)
class ProbeEvent(Record):
    """What a pass over the longest batch took: bytes (None where the device does not say), tokens and seconds."""

    KIND = "probe"

    peak: int
    reserved: int | None
    device_used: int | None
    evaluation_peak: int | None
    tokens: int
    seconds: float
    tokens_per_s: float


@dataclass(frozen=True, kw_only=True)
class StepEvent(Record):
    """One optimiser step; its figures are `metrics`.

    `tokens` are those of all steps so far, `seconds` this step's; `memory` in bytes and `gpus` are readings. Programs
    that read runs of the first versions look for `loss`, `learning_rate`, `grad_norm` and `tokens_per_s` beside them.
    """

    KIND = "step"

    step: int
    epoch: float | None
    metrics: Metrics
    tokens: int
    seconds: float
    memory: Mapping[str, int | None]
    gpus: list[dict[str, Any]]

    def values(self) -> dict[str, Any]:
        """The event's fields, with the metrics of the first versions where those had them."""
        router = {ROUTER_LOSS: self.metrics[ROUTER_LOSS]} if ROUTER_LOSS in self.metrics else {}
        return super().values() | {name: self.metrics.get(name) for name in FIRST_METRICS} | router


@dataclass(frozen=True, kw_only=True)
class EvalEvent(Record):
    """Measured on the held-out rows at a step (0 is the base); `path` holds the loss of each row."""

    KIND = "eval"

    step: int
    metrics: Metrics
    rows: int
    seconds: float
    path: str | None

    def values(self) -> dict[str, Any]:
        """The event's fields, with the loss where the first versions had it."""
        return super().values() | {"loss": self.metrics.get(EVAL_LOSS)}


@dataclass(frozen=True, kw_only=True)
class SampleEvent(Record):
    """Answers to `count` prompts at a step, in the file `path`; `source` says where the prompts are from."""

    KIND = "sample"

    step: int
    path: str
    count: int
    source: str


@dataclass(frozen=True, kw_only=True)
class CheckpointEvent(Record):
    """A sealed checkpoint: its folder, bytes, and the seconds it took."""

    KIND = "checkpoint"

    step: int
    path: str
    bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ControlEvent(Record):
    """The answer to a request that somebody left for the run."""

    KIND = "control"

    id: str
    request: str
    ok: bool
    text: str


@dataclass(frozen=True, kw_only=True)
class AlarmEvent(Record):
    """What a person should know of although the run goes on.

    Of an alarm named `restarted`, `reason` is the cause's name; the other fields are the batch the run goes on with,
    where that is another.
    """

    KIND = "alarm"
    OMITTED = frozenset({"reason", "micro_batch", "accumulation", "activation_checkpointing"})

    name: str
    text: str
    reason: str | None = None
    micro_batch: int | None = None
    accumulation: int | None = None
    activation_checkpointing: bool | None = None


@dataclass(frozen=True, kw_only=True)
class FailureEvent(Record):
    """Why a trainer's process ends; the supervisor decides whether the run does."""

    KIND = "failure"

    reason: str
    cause: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class ResultEvent(Record):
    """The result on the disk: its folder, bytes, whether it is an adapter or a model, and what it was tuned from."""

    KIND = "result"

    step: int
    path: str
    bytes: int
    kind: str
    base: str
    revision: str | None


@dataclass(frozen=True, kw_only=True)
class VerdictEvent(Record):
    """Base and tuned model compared; `found` are the fields of the verdict, which stand in the event itself."""

    KIND = "verdict"

    path: str
    found: Mapping[str, Any] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """The path, and each field of the verdict."""
        return {"path": self.path, **self.found}


@dataclass(frozen=True, kw_only=True)
class EndEvent(Record):
    """How the run ended; `reason` is the cause's name, `last_lines` those of the log where it said nothing itself."""

    KIND = "end"

    state: str
    cause: str | None = None
    remedy: str | None = None
    last_lines: list[str] | None = None
    reason: str = ""


RECORDS: Final[dict[str, type[Record]]] = {
    record.KIND: record
    for record in (
        StateEvent, SettledEvent, GateEvent, PlanEvent, ProbeEvent, StepEvent, EvalEvent, SampleEvent, CheckpointEvent,
        ControlEvent, AlarmEvent, FailureEvent, ResultEvent, VerdictEvent, EndEvent,
    )
}  # fmt: skip
