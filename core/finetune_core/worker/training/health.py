"""What looks wrong while a run trains: pure judgement over the figures of its steps, reported when it begins."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

from finetune_core.hardware.meter import GpuReading
from finetune_core.text import memory_text

BAD_LOSSES: Final = 5
# The first steps warm caches and compile kernels; then so many say what is usual, and so many what is now.
_WARM_STEPS, _USUAL_STEPS, _NOW_STEPS = 5, 30, 20
_COLLAPSED, _RECOVERED = 0.5, 0.8
# Memory creeps when the least of each so many steps rose this often in a row, and by this share and amount in all.
_CREEP_STEPS, _CREEP_TIMES, _CREEP_SHARE, _CREEP_BYTES = 50, 5, 0.2, 256 * 2**20
# Evaluations above the best, in a row, while the training loss went down.
_RISING: Final = 3
# A context of CUDA and its libraries takes less.
_OTHERS_BYTES: Final = 2**30


@dataclass(frozen=True)
class StepFigures:
    """One step, as health sees it; bytes are those the process keeps after the step."""

    loss: float
    grad_norm: float | None
    tokens_per_s: float
    trained_tokens: int | None
    memory_bytes: int | None


class Health:
    """Watches a run; `warn(name, words)` is called when something begins to look wrong.

    After it has looked right again the same alarm may come another time.
    """

    def __init__(self, warn: Callable[[str, str], None]) -> None:
        self._warn = warn
        self._wrong: set[str] = set()
        self._speeds: list[float] = []
        self._recent: deque[float] = deque(maxlen=_NOW_STEPS)
        self._memory: list[int] = []
        self._floors: list[int] = []
        self._losses: list[float] = []
        self._evaluations: list[tuple[float, float]] = []
        self._others: dict[str, int] = {}
        self.bad_in_a_row = 0

    def step(self, figures: StepFigures) -> None:
        """Take in one optimiser step."""
        self._numbers(figures)
        self._speed(figures.tokens_per_s)
        if figures.memory_bytes:
            self._creep(figures.memory_bytes)

    def _judge(self, name: str, words: str | None) -> None:
        if words is None:
            self._wrong.discard(name)
        elif name not in self._wrong:
            self._wrong.add(name)
            self._warn(name, words)

    def _numbers(self, figures: StepFigures) -> None:
        finite = math.isfinite(figures.loss)
        self.bad_in_a_row = 0 if finite else self.bad_in_a_row + 1
        if finite:
            self._losses.append(figures.loss)
        self._judge(
            "loss_not_finite", None if finite else "the loss is not a number; no checkpoint is written while it is so"
        )
        nothing = figures.trained_tokens == 0
        self._judge(
            "nothing_trained", "no token of this batch was trained on: every label is masked" if nothing else None
        )
        zero = figures.loss == 0 and not nothing
        self._judge("loss_zero", "the loss is exactly 0: no token may be trained" if zero else None)
        self._judge(
            "no_gradient",
            "the gradient is exactly 0: nothing is trained" if figures.grad_norm == 0 and not nothing else None,
        )

    def _speed(self, tokens_per_s: float) -> None:
        if len(self._speeds) < _WARM_STEPS + _USUAL_STEPS:
            self._speeds.append(tokens_per_s)
            return
        self._recent.append(tokens_per_s)
        usual, now = median(self._speeds[_WARM_STEPS:]), median(self._recent)
        if len(self._recent) == _NOW_STEPS and now < _COLLAPSED * usual:
            self._judge(
                "slow",
                f"training has become slow: {now:,.0f} tokens/s in the last {_NOW_STEPS} steps, {usual:,.0f} were "
                "usual; another program may use the GPU or the CPU, or the GPU is too hot",
            )
        elif now > _RECOVERED * usual:
            self._judge("slow", None)

    def _creep(self, memory_bytes: int) -> None:
        self._memory.append(memory_bytes)
        if len(self._memory) < _CREEP_STEPS:
            return
        self._floors = [*self._floors, min(self._memory)][-_CREEP_TIMES - 1 :]
        self._memory = []
        rose = len(self._floors) > _CREEP_TIMES and all(later > earlier for earlier, later in pairwise(self._floors))
        by = self._floors[-1] - self._floors[0]
        creeps = rose and by > max(_CREEP_BYTES, _CREEP_SHARE * self._floors[0])
        self._judge(
            "memory_creep",
            f"memory grows step by step: {memory_text(by)} more than {_CREEP_STEPS * _CREEP_TIMES} steps ago; it may "
            "run out before the end"
            if creeps
            else None,
        )

    def evaluated(self, held_out_loss: float) -> None:
        """Take in one measurement of the held-out loss."""
        trained = sum(self._losses) / len(self._losses) if self._losses else math.nan
        self._losses = []
        self._evaluations.append((held_out_loss, trained))
        best = min(range(len(self._evaluations)), key=lambda place: self._evaluations[place][0])
        since = len(self._evaluations) - 1 - best
        falling = trained < self._evaluations[best][1]
        self._judge(
            "overfitting",
            f"the held-out loss has been rising for {since} measurements (best {self._evaluations[best][0]:.4f}, now "
            f"{held_out_loss:.4f}) while the training loss falls: it begins to learn the rows by heart; fewer "
            "epochs, or evaluation.patience, keep the best"
            if since >= _RISING and falling
            else None,
        )

    def disk(self, words: str | None) -> None:
        """What `Keeper.short_of` says of the disk."""
        self._judge("disk_filling", words)

    def gpus(self, readings: Sequence[GpuReading], own_bytes: int) -> None:
        """Take in readings of the run's GPUs; `own_bytes` is what this process has reserved there."""
        for reading in readings:
            self._judge(f"throttled:{reading.index}", _throttled(reading))
            self._judge(f"gpu_shared:{reading.index}", self._shared(reading, own_bytes))

    def _shared(self, reading: GpuReading, own_bytes: int) -> str | None:
        if reading.memory_used is None or not own_bytes:
            return None
        others = reading.memory_used - own_bytes
        least = self._others[reading.uuid] = min(others, self._others.get(reading.uuid, others))
        if others - least < _OTHERS_BYTES:
            return None
        whose = f" ({reading.others})" if reading.others else ""
        return (
            f"another process{whose} has taken {memory_text(others - least)} of GPU {reading.index}: the run may run "
            "out of memory, or become slow"
        )


def _throttled(reading: GpuReading) -> str | None:
    if not reading.throttled:
        return None
    heat = "" if reading.temperature is None else f" at {reading.temperature} °C"
    return f"GPU {reading.index} is slowed down by its driver{heat}: {reading.throttled}"
