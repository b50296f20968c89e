"""One training run, phase by phase: prepare, ask the base, fit, save, judge."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from dataclasses import replace
from math import isclose
from pathlib import Path
from typing import TypeVar

from transformers import TrainerState

from finetune_core.errors import problem
from finetune_core.evaluation import losses
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.watch.end_causes import GPU_LOST, NOT_FINITE
from finetune_core.worker.answers import baseline
from finetune_core.worker.answers.base_and_tuned import Jury
from finetune_core.worker.answers.baseline import SAME_MEAN
from finetune_core.worker.answers.generate import Generator, untuned
from finetune_core.worker.answers.samples import Samples
from finetune_core.worker.checkpoints.manager import Keeper
from finetune_core.worker.checkpoints.sealed import Checkpoint
from finetune_core.worker.controls import TERMINATED, Controls, Signals, Stopped
from finetune_core.worker.disk_space import when_there_is_room
from finetune_core.worker.failures import explain, reason_of
from finetune_core.worker.memory.preflight import Probed, evaluation_peak, meter, probe
from finetune_core.worker.model.save import save_result
from finetune_core.worker.report import Reporter
from finetune_core.worker.training.announcement import tell_plan, tell_probe
from finetune_core.worker.training.between_steps import BetweenSteps
from finetune_core.worker.training.setup import set_up
from finetune_core.worker.training.telemetry import StepEnd, Telemetry
from finetune_core.worker.training.trainer import all_numbers

T = TypeVar("T")


class Job:
    """A run from its recipe to its result. `work` goes through the phases."""

    def __init__(
        self, recipe: Recipe, reporter: Reporter, controls: Controls, signals: Signals, *, resume: bool
    ) -> None:
        self.recipe = recipe
        self.report = reporter
        self.run = reporter.run
        self.controls = controls
        self.signals = signals
        self.again = resume
        self.keeper = Keeper(recipe, reporter)
        if not resume:
            self.keeper.refuse_sealed()
        self.resumed = self.keeper.find() if resume else None
        self.kept = baseline.load(self._baseline_file) if resume else baseline.Baseline()
        self.probed: Probed | None = None

    def work(self) -> str | None:
        """Do everything; gives why the run was stopped, None when it came to its end. Raises on failure."""
        self.prepare()
        if not self.again:
            self.probe()
        self.ask_base()
        self.signals.at_once = False
        self.fit()
        if self.controls.stopping == TERMINATED:
            return TERMINATED
        # Before anything that may fail after it: an evening's work hangs on the result, and on nothing else.
        self.save()
        stopped = self.controls.stopping or self.judge()
        if stopped in {TERMINATED, None}:
            return stopped
        return f"{stopped} after step {self.between.step}; base and tuned model were not compared"

    def only_probe(self) -> None:
        """Prepare everything and measure the longest batch; nothing is trained."""
        self.prepare()
        self.probe()
        if self.probed is not None:
            ready = self.ready
            peak = evaluation_peak(ready.model, ready.data.held_out, ready.pad, ready.autocast, ready.device)
            tell_probe(ready, replace(self.probed, evaluation_peak=peak), self.report)

    # ---- prepare ----

    def prepare(self) -> None:
        """Everything a first step needs; then the plan is told."""
        step = self.resumed.step if self.resumed else 0
        if self.again:
            words = f"going on from step {step}" if self.resumed else "beginning again: there is no checkpoint"
            self.report.state("preparing", words, step=step)
        self.ready = ready = set_up(self.recipe, self.report, self.controls, self.resumed)
        self.recipe = self.keeper.recipe = ready.recipe
        self.telemetry = Telemetry(self.report, ready.device)
        self.telemetry.router_weight = ready.recipe.training.router_loss
        self.telemetry.trained_tokens = lambda: ready.trainer.trained_tokens
        generator = Generator(ready.model, ready.tokenizer, ready.stops, ready.autocast)
        self.samples = Samples(self.recipe, ready.model, generator, self.report, ready.data)
        self.jury = Jury(self.recipe, ready.model, generator, self.controls, ready.data)
        self.between = BetweenSteps(
            ready,
            self.report,
            self.controls,
            self.signals,
            self.keeper,
            self.telemetry,
            self.samples,
            self.resumed,
        )
        ready.trainer.add_callback(StepEnd(self.telemetry, self.between.catch_up, self.between.after_step))
        self.total = tell_plan(ready, self.report)
        self.report.position(total=self.total, step=step)

    def probe(self) -> None:
        """Measure memory and speed on the longest batch."""
        self.report.state("preparing", "measuring memory and speed")
        self.probed = probe(self.ready.trainer, self.ready.device, self.ready.autocast)

    # ---- the base ----

    @property
    def _baseline_file(self) -> Path:
        return self.run.eval / "base.json"

    def ask_base(self) -> None:
        """The untouched base: its held-out loss, its samples, and before full fine-tuning all its answers.

        What of it fails is said, and the run trains all the same.
        """
        kept, attempt = self.kept, self.between.attempt
        self._forget_other_base()
        if kept.loss is None and len(self.ready.data.held_out):
            attempt("evaluation", self._measure_base)
        if self.probed is not None:
            tell_probe(self.ready, self.probed, self.report)
        if kept.samples is None and self.samples.questions:
            self.report.state("preparing", "base samples")
            attempt("samples", self._sample_base)
        self.samples.base = kept.samples or [""] * len(self.samples.questions)
        if kept.answers is None and self._base_is_lost_by_training:
            attempt("answers", self._answer_as_base)
        self._with_room(lambda: kept.save(self._baseline_file))
        if self.resumed is None and kept.samples is not None:
            self.samples.write(0, current=kept.samples)

    def _forget_other_base(self) -> None:
        """Measure again, and say so, what was measured of the base on other rows, settings or weights."""
        kept, of, noted = self.kept, self.between.base_of, bool(self.kept.of)
        asked = {baseline.SAMPLES: self.samples.asked(), baseline.ANSWERS: self.jury.asked()}
        gone = kept.drop_others({baseline.LOSS: of, **{name: baseline.digest(of, asked[name]) for name in asked}})
        if kept.loss is not None and not self._rows_fit(of, kept.loss):
            kept.loss, gone = None, [*gone, baseline.LOSS]
        damaged = self.again and not gone and kept.empty and self._baseline_file.exists()
        if gone or damaged:
            other = "of other rows, settings or weights" if noted else "of what, an earlier version did not note"
            why = "it was changed since" if damaged else f"{', '.join(gone)}: {other}"
            text = f"what was kept of the base ({self._baseline_file.name}) does not fit ({why}): it is measured again"
            self.report.alarm("base_measured_again", text)

    def _rows_fit(self, of: str, loss: float) -> bool:
        """Whether the base's loss row by row is that of its mean; without it, as before, that stands."""
        path = self.run.losses_file(0)
        found = losses.load(path, of)
        return not os.path.lexists(path) if found is None else isclose(found.mean, loss, rel_tol=SAME_MEAN)

    def _measure_base(self) -> None:
        telling = self.controls.progress("preparing", "held-out loss of the base", "rows")
        with untuned(self.ready.model), meter(self.ready.device) as most:
            self.kept.loss = self.between.measure(0, telling)
            if self.probed is not None:
                self.probed = replace(self.probed, evaluation_peak=most.peak())

    def _sample_base(self) -> None:
        self.kept.samples = self.samples.ask_base()

    def _answer_as_base(self) -> None:
        self.kept.answers = self.jury.ask_base("preparing")

    @property
    def _base_is_lost_by_training(self) -> bool:
        """Whether only before the first step there is a base to be asked: an adapter can be taken off."""
        return self.recipe.adapter.kind == "none"

    # ---- fit ----

    def fit(self) -> None:
        """Train to the end, or until told to stop; then a last checkpoint, and the weights that are kept."""
        self.report.state("training", "training")
        self.report.begun()
        if self.resumed is None:
            self.ready.trainer.train()
        else:
            self._continue(self.resumed)
        self.between.seal_last()
        if self.controls.stopping != TERMINATED and self.between.best.wanted:
            self.between.take_best()
        if self.controls.stopping != TERMINATED:
            self._refuse_spoilt()

    def _refuse_spoilt(self) -> None:
        if not all_numbers(self.ready.model):
            raise problem(
                "the trained weights are no numbers any more",
                where="training",
                why="they overflowed in the last steps; most often the learning rate is too high",
                remedy="lower training.learning_rate to a third and start again, or resume from the last checkpoint",
                kind=NOT_FINITE,
            )

    def _continue(self, found: Checkpoint) -> None:
        trainer = self.ready.trainer
        self.telemetry.restore(int(found.notes.get("tokens", 0)), float(found.notes.get("seconds", 0.0)))
        path = str(found.path)
        if found.step < self.total:
            trainer.train(resume_from_checkpoint=path)
            return
        # Nothing is left to train, and the trainer would begin one more step before it noticed.
        trainer._load_from_checkpoint(path)
        trainer.state = TrainerState.load_from_json(str(found.path / "trainer_state.json"))

    # ---- save and judge ----

    def save(self) -> None:
        """Write the result; where the disk is full, wait for room: an evening's work hangs on it."""
        self.report.state("saving", "writing the result")
        ready = self.ready
        base, revision = ready.base.name, ready.base.revision
        kind, size = self._with_room(
            lambda: save_result(
                self.run,
                ready.model,
                ready.tokenizer,
                base=base,
                revision=revision,
                config=ready.trainer.own_config,
                stops=ready.stops,
            )
        )
        known = {"path": self.run.result.name, "bytes": size, "kind": kind, "base": base, "revision": revision}
        self.report.event("result", step=self.between.step, **known)

    def judge(self) -> str | None:
        """Last samples and loss, and the verdict; gives why that was broken off, None when it was not.

        The result is saved already: what fails here is said, and costs nothing else.
        """
        self.report.state("evaluating", "held-out loss and samples of the tuned model")
        for name, action in (("samples", self.between.last_look), ("verdict", self._compare)):
            try:
                action()
            except Stopped as stop:
                return str(stop)
            except Exception as error:
                if reason_of(error) == GPU_LOST:
                    raise
                traceback.print_exception(error)
                cause, remedy = explain(error)
                self.report.alarm(f"{name}_failed", f"{name} failed, the result is saved: {cause}; {remedy}")
        return None

    def _compare(self) -> None:
        """Compare base and tuned model on the held-out rows, and tell the verdict."""
        kept, measured = self.kept, self.between.measured
        if not self.jury.questions and measured is None:
            self.report.state("evaluating", "nothing is held out: base and tuned model cannot be compared")
            return
        if kept.answers is None and self._base_is_lost_by_training:
            self.report.alarm("verdict_failed", "the base did not answer before the training: there is no verdict")
            return
        if kept.answers is None:
            kept.answers = self.jury.ask_base("evaluating")
            self._with_room(lambda: kept.save(self._baseline_file))
        base, tuned = kept.answers, self.jury.ask_tuned()
        now = measured[1] if measured and measured[0] == self.between.step else None
        of = self.between.weights_of
        self._with_room(lambda: self.jury.judge(self.report, base, tuned, kept.loss, now, of, self.between.losses_of))

    def _with_room(self, write: Callable[[], T]) -> T:
        return when_there_is_room(write, self.report, self.controls)
