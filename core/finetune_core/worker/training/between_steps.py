"""Between two steps: one place decides what is done, from the clock, the disk and the requests; then it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from transformers import TrainerState

from finetune_core.errors import problem
from finetune_core.runs.control import Request
from finetune_core.runs.events import EvalEvent
from finetune_core.runs.metrics import EVAL_LOSS
from finetune_core.worker.answers.baseline import digest
from finetune_core.worker.answers.held_out_loss import RowLoss, held_out_loss, keep_rows
from finetune_core.worker.answers.samples import Samples
from finetune_core.worker.attempts import Attempts, if_it_fits
from finetune_core.worker.checkpoints.early_stopping import Best
from finetune_core.worker.checkpoints.manager import Keeper
from finetune_core.worker.checkpoints.sealed import Checkpoint
from finetune_core.worker.controls import TERMINATED, Controls, Signals
from finetune_core.worker.methods.trainer import all_numbers
from finetune_core.worker.report import Reporter
from finetune_core.worker.rows.dataset import Progress
from finetune_core.worker.training.schedule import DUE, due
from finetune_core.worker.training.setup import Setup
from finetune_core.worker.training.telemetry import Telemetry

_DISK_SECONDS = 10.0
_PAUSE_SECONDS = 0.2


@dataclass(frozen=True)
class Orders:
    """What is done next between two steps. With several processes the first decides, and all act on the same orders.

    `due` is `checkpoint`, `evaluation` or `samples`; `requests` are those of people, in their order. `terminated` says
    that the system wants the run to end.
    """

    due: str | None = None
    requests: tuple[Request, ...] = ()
    terminated: bool = False

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to do."""
        return self.due is None and not self.requests


class BetweenSteps:
    """Checkpoints, measurements and samples of one training, each with the step it was last done after."""

    def __init__(
        self,
        ready: Setup,
        report: Reporter,
        controls: Controls,
        signals: Signals,
        keeper: Keeper,
        telemetry: Telemetry,
        samples: Samples,
        resumed: Checkpoint | None,
    ) -> None:
        self._ready = ready
        self._recipe = ready.recipe
        self._report = report
        self._controls = controls
        self._signals = signals
        self._keeper = keeper
        self._telemetry = telemetry
        self._samples = samples
        self._resumed = resumed
        self._attempts = Attempts(report)
        self._disk_looked = float("-inf")
        self._sampled_step = 0
        self.saved_step = resumed.step if resumed else 0
        self.measured: tuple[int, float] | None = None
        self._taken: int | None = None
        self.best = Best(ready.recipe.evaluation.patience)
        self.best.restore((resumed.notes if resumed else {}).get("best"))
        keeper.spare = {self.best.step}

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return int(self._ready.trainer.state.global_step)

    @property
    def weights_of(self) -> int:
        """The step after which the model's weights were as they are: the last, unless the best ones were taken."""
        return self.step if self._taken is None else self._taken

    # ---- called by the trainer ----

    def catch_up(self) -> None:
        """What was due at the step of the checkpoint, and was broken off when the run had to end there."""
        looked = self._resumed.notes.get("looked") if self._resumed else None
        if isinstance(looked, dict):
            # The state of the random numbers is restored only afterwards: this is no moment to seal one.
            done = {**looked, "checkpoint": self.step}
            while (name := self._due(self.step, done)) is not None:
                self.act(Orders(due=name))
                done[name] = self.step

    def after_step(self, state: TrainerState) -> bool:
        """Do everything due or asked for between two steps; True ends the training."""
        step, last = int(state.global_step), state.global_step >= state.max_steps
        self._look_at_disk()
        # What is due after the last step is done when the training has ended.
        self._work_off(step, dict.fromkeys(DUE, step) if last else {**self._looked, "checkpoint": self.saved_step})
        if self.best.used_up and not last:
            self._report.alarm(
                "stopped_early",
                f"the held-out loss has not got better in {self.best.since} measurements: training ends here",
            )
            return True
        return self._controls.stopping is not None

    def decide(self, step: int, done: Mapping[str, object]) -> Orders:
        """The next orders after a step; `done` has the step at which each of what can be due was done last."""
        if (name := self._due(step, done)) is not None:
            return Orders(due=name)
        return Orders(requests=self._controls.take(), terminated=self._signals.terminated.is_set())

    def act(self, orders: Orders) -> None:
        """Do what is ordered."""
        if orders.due is not None:
            self.attempt(orders.due, self._ways[orders.due])
        self._controls.carry_out(orders.requests, self)
        if orders.terminated:
            self._controls.stopping = TERMINATED

    def _due(self, step: int, done: Mapping[str, object]) -> str | None:
        terminated = self._signals.terminated.is_set()
        for name in due(self._recipe, step, done):
            # What has to end soon seals first; the rest is caught up on when it goes on.
            if name in self._ways and (name == "checkpoint" or not terminated):
                return name
        return None

    def _work_off(self, step: int, done: Mapping[str, object]) -> None:
        """Decide and act until nothing is left; stays here while the run is paused."""
        tried = dict(done)
        while True:
            orders = self.decide(step, tried)
            self.act(orders)
            if orders.due is not None:
                # Also where it failed: it is tried again when it is due the next time.
                tried[orders.due] = step
            if orders.nothing:
                if not self._controls.paused or self._controls.stopping is not None:
                    return
                self._signals.terminated.wait(_PAUSE_SECONDS)

    def _look_at_disk(self) -> None:
        if time.monotonic() - self._disk_looked > _DISK_SECONDS:
            self._disk_looked = time.monotonic()
            self._telemetry.health.disk(self._keeper.short_of(self._ready.model))

    @cached_property
    def _ways(self) -> dict[str, Callable[[], object]]:
        """How each is done of what can be due in this run."""
        ways: dict[str, Callable[[], object]] = {"checkpoint": self.checkpoint}
        if len(self._ready.data.held_out):
            ways["evaluation"] = self.evaluate
        if self._samples.questions:
            ways["samples"] = self._write_samples
        return ways

    @property
    def _looked(self) -> dict[str, int]:
        return {"evaluation": self.measured[0] if self.measured else 0, "samples": self._sampled_step}

    # ---- after the last step ----

    def seal_last(self) -> None:
        """A checkpoint of the last step, unless there is one."""
        if self.saved_step != self.step:
            self.attempt("checkpoint", self.checkpoint)

    def take_best(self) -> None:
        """Go back to the weights with the best held-out loss, if those at the end are worse."""
        if self._controls.stopping is None:
            self._measure_last()
        found = self._keeper.at(self.best.step) if self.best.step not in {0, self.step} else None
        if found is None:
            return
        self._ready.trainer._load_from_checkpoint(str(found.path))
        self.measured, self._taken = (self.step, self.best.loss), found.step
        self._report.alarm(
            "best_kept",
            f"the result is that of step {found.step}, whose held-out loss {self.best.loss:.4f} was the best",
        )

    def last_look(self) -> None:
        """The held-out loss and the samples of the trained model, unless they are there."""
        self._measure_last()
        if self._samples.questions and self._sampled_step != self.step:
            self.attempt("samples", self._write_samples)

    def _measure_last(self) -> None:
        if len(self._ready.data.held_out) and (self.measured is None or self.measured[0] != self.step):
            self.attempt("evaluation", self.evaluate)

    # ---- actions, due or asked for ----

    def attempt(self, name: str, action: Callable[[], object]) -> bool:
        """Do it; that it cannot be done is said, and no reason to lose the training. Gives whether it was done."""
        return self._attempts.attempt(name, action)

    def evaluate(self) -> str:
        """Measure the held-out loss now. Raises FtError when there are no held-out rows."""
        if not len(self._ready.data.held_out):
            raise problem(
                "nothing to evaluate on",
                where="data.held_out_share",
                why="no rows are held out",
                remedy="set data.held_out or data.held_out_share in the next run",
            )
        with if_it_fits(self.step), self._controls.shown_if_long() as progress:
            loss = self.measure(self.step, progress)
        self._telemetry.health.evaluated(loss)
        if self.best.measured(self.step, loss):
            self._keeper.spare = {self.step}
            self.seal_last()
        return f"held-out loss {loss:.4f}"

    def measure(self, step: int, progress: Progress) -> float:
        """The held-out loss of the model as it is, reported as that of `step`. `progress` may raise Stopped."""
        ready, rows = self._ready, list[RowLoss]()
        begun, held_out = time.monotonic(), ready.data.held_out
        loss = held_out_loss(
            ready.model, held_out, pad=ready.pad, autocast=ready.autocast, progress=progress, rows=rows
        )
        path = keep_rows(self._report, step, rows, held_out, ready.tokenizer, of=self.losses_of(step))
        seconds = time.monotonic() - begun
        metrics = {EVAL_LOSS: loss}
        self._report.event(EvalEvent(step=step, metrics=metrics, rows=len(held_out), seconds=seconds, path=path))
        self.measured = (step, loss)
        return loss

    @cached_property
    def base_of(self) -> str:
        """A hash of what the base is measured on: the held-out tokens, its weights, and how it computes."""
        ready = self._ready
        tokens, recipe = ready.data.held_out, ready.recipe
        how = (recipe.model.dtype, recipe.quantization.method, str(ready.device.autocast), ready.device.kind)
        return digest(tokens.input_ids, tokens.labels, tokens.of, ready.provenance["base"], how)

    def losses_of(self, step: int) -> str:
        """A hash of what the losses after a step are measured on; step 0 is the base."""
        return digest(self.base_of, step) if step else self.base_of

    def sample(self, prompt: str) -> str:
        """Let base and tuned model answer a prompt."""
        with if_it_fits(self.step):
            return self._samples.user(self.step, prompt)

    def _write_samples(self) -> None:
        with if_it_fits(self.step):
            self._samples.write(self.step)
        self._sampled_step = self.step

    def checkpoint(self) -> str:
        """Save a checkpoint of this step. Raises FtError when it cannot be written."""
        if not self._telemetry.finite or not all_numbers(self._ready.model):
            raise problem(
                "no checkpoint is written now",
                where="checkpoints",
                why="a trained weight is not a number" if self._telemetry.finite else "the loss is not a number",
                remedy="resume from the last good checkpoint with a lower learning rate",
            )
        said = self._keeper.seal(self._ready.trainer, self._notes())
        self.saved_step = self.step
        return said

    def _notes(self) -> dict[str, Any]:
        return {
            "tokens": self._telemetry.tokens,
            "seconds": self._telemetry.seconds,
            "data": self._ready.data.hashes,
            "best": self.best.notes(),
            "looked": self._looked,
            "events": self._report.events,
            **self._ready.provenance,
        }
