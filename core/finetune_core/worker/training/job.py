"""One training run, phase by phase: prepare, probe, ask the base, fit, save, judge."""

from __future__ import annotations

from dataclasses import dataclass, replace

from transformers import TrainerState

from finetune_core.errors import problem
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.watch.end_causes import NOT_FINITE
from finetune_core.worker.answers.base_and_tuned import Jury
from finetune_core.worker.answers.generate import Generator
from finetune_core.worker.answers.samples import Samples
from finetune_core.worker.checkpoints.manager import Keeper
from finetune_core.worker.checkpoints.sealed import Checkpoint
from finetune_core.worker.controls import TERMINATED, Controls, Signals
from finetune_core.worker.memory.preflight import Probed, evaluation_peak, probe
from finetune_core.worker.methods.trainer import all_numbers
from finetune_core.worker.report import Reporter
from finetune_core.worker.training import outcome
from finetune_core.worker.training.announcement import report_plan, report_probe
from finetune_core.worker.training.base import Base
from finetune_core.worker.training.between_steps import BetweenSteps
from finetune_core.worker.training.setup import Setup, set_up
from finetune_core.worker.training.telemetry import StepEnd, Telemetry


@dataclass(frozen=True)
class Job:
    """A run that is ready for its first step. `resumed` is the checkpoint it goes on from, `total` its steps.

    `again` says that the run was started before, with or without a checkpoint.
    """

    report: Reporter
    controls: Controls
    signals: Signals
    ready: Setup
    telemetry: Telemetry
    between: BetweenSteps
    base: Base
    jury: Jury
    resumed: Checkpoint | None
    again: bool
    total: int

    def work(self) -> str | None:
        """Do everything; gives why the run was stopped, None when it came to its end. Raises on failure."""
        self.ask_base(None if self.again else self.probe())
        self.signals.at_once = False
        self.fit()
        if self.controls.stopping == TERMINATED:
            return TERMINATED
        # Before anything that may fail after it: an evening's work hangs on the result, and on nothing else.
        outcome.save(self.ready, self.between.step, self.report, self.controls)
        stopped = self.controls.stopping or self.judge()
        if stopped in {TERMINATED, None}:
            return stopped
        return f"{stopped} after step {self.between.step}; base and tuned model were not compared"

    def only_probe(self) -> None:
        """Measure the longest batch; nothing is trained."""
        ready, found = self.ready, self.probe()
        if found is not None:
            peak = evaluation_peak(ready.model, ready.data.held_out, ready.pad, ready.autocast, ready.device)
            report_probe(ready, replace(found, evaluation_peak=peak), self.report)

    def probe(self) -> Probed | None:
        """Measure memory and speed on the longest batch."""
        self.report.state("preparing", "measuring memory and speed")
        return probe(self.ready.trainer, self.ready.device, self.ready.autocast)

    def ask_base(self, probed: Probed | None) -> None:
        """Ask the untouched base what it does on the held-out rows."""
        found = self.base.measure(probed)
        if found is not None:
            report_probe(self.ready, found, self.report)
        self.base.ask()
        if self.resumed is None:
            self.base.first_samples()

    def fit(self) -> None:
        """Train to the end, or until asked to stop; then a last checkpoint, and the weights that are kept."""
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

    def judge(self) -> str | None:
        """Compare base and tuned model; gives why that was broken off, None when it was not."""
        return outcome.judge(self.base, self.between, self.jury, self.report, self.controls)

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


def prepare(recipe: Recipe, report: Reporter, controls: Controls, signals: Signals, *, resume: bool) -> Job:
    """Everything a first step needs; then the plan is reported. Raises FtError."""
    keeper = Keeper(recipe, report)
    if not resume:
        keeper.refuse_sealed()
    resumed = keeper.find() if resume else None
    step = resumed.step if resumed else 0
    if resume:
        words = f"going on from step {step}" if resumed else "beginning again: there is no checkpoint"
        report.state("preparing", words, step=step)
    ready = set_up(recipe, report, controls, resumed)
    keeper.recipe = ready.recipe
    telemetry = Telemetry(report, ready.device, ready.recipe.training.router_loss, lambda: ready.trainer.trained_tokens)
    generator = Generator(ready.model, ready.tokenizer, ready.stops, ready.autocast)
    samples = Samples(ready.recipe, ready.model, generator, report, ready.data)
    jury = Jury(ready.recipe, ready.model, generator, controls, ready.data)
    between = BetweenSteps(ready, report, controls, signals, keeper, telemetry, samples, resumed)
    base = Base(ready, report, controls, between, samples, jury, again=resume)
    ready.trainer.add_callback(StepEnd(telemetry, between.catch_up, between.after_step))
    total = report_plan(ready, report)
    report.position(total=total, step=step)
    return Job(report, controls, signals, ready, telemetry, between, base, jury, resumed, resume, total)
