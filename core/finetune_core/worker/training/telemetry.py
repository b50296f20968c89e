"""Between two steps: the step's figures are reported, and what is due is done."""

from __future__ import annotations

import math
import os
import resource
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finetune_core.errors import problem
from finetune_core.hardware.meter import GpuMeter, host_memory
from finetune_core.runs.events import StepEvent
from finetune_core.runs.metrics import ROUTER_LOSS, as_metrics
from finetune_core.runs.watch.end_causes import NOT_FINITE
from finetune_core.worker.model.device import Device
from finetune_core.worker.report import Reporter
from finetune_core.worker.training.health import BAD_LOSSES, Health, StepFigures

_GPU_SECONDS = 1.0
# Positions and sums that transformers and TRL log beside the figures of a step.
_NO_METRICS: Final = frozenset({"epoch", "num_tokens", "total_flos", "num_input_tokens_seen", "step"})
_OURS: Final = {"aux_loss": ROUTER_LOSS}


class Telemetry:
    """One `step` event an optimiser step. Counts real tokens (no padding) and the seconds spent on steps alone.

    The loss of a mixture's router is multiplied by `router_weight` before it is added to the tokens', which alone is
    called the loss. `trained_tokens` gives those the loss of the present step was taken on, None where nobody counts.
    """

    def __init__(
        self,
        reporter: Reporter,
        device: Device,
        router_weight: float = 0.0,
        trained_tokens: Callable[[], torch.Tensor | int | None] = lambda: None,
    ) -> None:
        self._reporter = reporter
        self._device = device
        self._meter = GpuMeter(device.gpu_uuids)
        self._gpus: list[dict[str, Any]] = []
        self._gpus_at = float("-inf")
        self._mark = time.monotonic()
        self._earlier_tokens = 0
        self.health = Health(reporter.alarm)
        self.tokens = 0
        self.seconds = 0.0
        self.finite = True
        self._router_weight = router_weight
        self._trained_tokens = trained_tokens

    def restore(self, tokens: int, seconds: float) -> None:
        """Go on counting where a checkpoint left off."""
        self._earlier_tokens = self.tokens = tokens
        self.seconds = seconds

    def start_clock(self) -> None:
        """The next step's time and peak begin now: evaluations, samples and pauses before it do not count."""
        self._mark = time.monotonic()
        if self._device.kind == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def step(self, state: TrainerState, logs: dict[str, Any]) -> None:
        """Report one step; raises FtError after five losses in a row that are no numbers."""
        seconds = max(time.monotonic() - self._mark, 1e-9)
        # TRL counts since the start of this process.
        tokens = self._earlier_tokens + int(logs.get("num_tokens", 0))
        self.seconds += seconds
        router = logs.get("aux_loss")
        loss = float(logs["loss"]) - self._router_weight * (router or 0.0)
        speed = {"tokens_per_s": (tokens - self.tokens) / seconds}
        self._reporter.event(
            StepEvent(
                step=state.global_step,
                epoch=state.epoch,
                metrics=_metrics(logs) | {"loss": loss} | speed,
                tokens=tokens,
                seconds=seconds,
                memory=self._memory(),
                gpus=self._read_gpus(),
            )
        )
        self._watch(loss, logs.get("grad_norm"), (tokens - self.tokens) / seconds)
        self.tokens = tokens
        self._reporter.position(step=state.global_step, total=state.max_steps, epoch=state.epoch, loss=loss)
        self._refuse_no_numbers()

    def _memory(self) -> dict[str, int | None]:
        """Bytes: of torch's allocator on a GPU, of the process on a CPU (`rss` in both).

        `peak` is that of the step on a GPU, and that of the process so far on a CPU.
        """
        rss, _ = host_memory(os.getpid())
        if self._device.kind == "cpu":
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            return {"allocated": None, "reserved": None, "peak": peak, "rss": rss}
        return {
            "allocated": torch.cuda.memory_allocated(),
            "reserved": torch.cuda.memory_reserved(),
            "peak": torch.cuda.max_memory_allocated(),
            "rss": rss,
        }

    def _read_gpus(self) -> list[dict[str, Any]]:
        now = time.monotonic()
        if now - self._gpus_at >= _GPU_SECONDS:
            readings = self._meter.read()
            self._gpus, self._gpus_at = [asdict(reading) for reading in readings], now
            self.health.gpus(readings, torch.cuda.memory_reserved() if self._device.kind == "cuda" else 0)
        return self._gpus

    def _watch(self, loss: float, grad_norm: float | None, speed: float) -> None:
        memory, trained = self._memory(), self._trained_tokens()
        self.finite = math.isfinite(loss)
        kept = memory["allocated"] or memory["rss"]
        self.health.step(StepFigures(loss, grad_norm, speed, None if trained is None else int(trained), kept))

    def _refuse_no_numbers(self) -> None:
        bad = self.health.bad_in_a_row
        if bad >= BAD_LOSSES:
            raise problem(
                f"the loss was no number in {bad} steps in a row",
                where="training",
                why="the weights have overflowed; most often the learning rate is too high",
                remedy="lower training.learning_rate to a third and start again, or resume from the last checkpoint",
                kind=NOT_FINITE,
            )


def _metrics(logs: dict[str, Any]) -> dict[str, float]:
    """What the trainer logs of a step, by our names."""
    return {_OURS.get(name, name): value for name, value in as_metrics(logs, _NO_METRICS).items()}


class StepEnd(TrainerCallback):
    """Calls `begin()` before the first step, and `after_step(state)` once the figures of a step are reported.

    A True from the latter ends the training.

    It hangs on the log of the step, which comes after the optimiser, the schedule and the step count have moved
    on: the state that a checkpoint must hold.
    """

    def __init__(
        self, telemetry: Telemetry, begin: Callable[[], None], after_step: Callable[[TrainerState], bool]
    ) -> None:
        self._telemetry = telemetry
        self._begin = begin
        self._after_step = after_step

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Do what is owed from before; start the clock of the first step."""
        del args, state, control
        self._begin()
        self._telemetry.start_clock()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: object,
    ) -> TrainerControl:
        """Report the step, do what is due, begin the next."""
        del args
        if logs is None or "loss" not in logs:
            return control
        self._telemetry.step(state, logs)
        # The journal keeps every step; a checkpoint need not keep them again.
        state.log_history.clear()
        if self._after_step(state):
            control.should_training_stop = True
        self._telemetry.start_clock()
        return control
