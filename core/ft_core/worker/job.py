"""One training run, phase by phase: prepare, ask the base, fit, judge, save."""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import TrainerState
from transformers.trainer_callback import PrinterCallback

from ft_core.errors import FtError, problem
from ft_core.files import write_atomic
from ft_core.hardware.look import look
from ft_core.models.inspect import inspect_folder
from ft_core.plan.advice import situation
from ft_core.plan.calibration import remember
from ft_core.plan.facts import DataFacts
from ft_core.recipe.schema import Recipe
from ft_core.runs.directory import read_plan
from ft_core.runs.ending import NOT_FINITE
from ft_core.worker import baseline, device, levers, origin
from ft_core.worker.arguments import check_targets, lora_config, sft_config
from ft_core.worker.best import Best
from ft_core.worker.callbacks import StepEnd, Telemetry
from ft_core.worker.chat_template import use_template
from ft_core.worker.checkpoints import Checkpoint
from ft_core.worker.controls import TERMINATED, Controls, Signals, Stopped
from ft_core.worker.dataset import Progress, to_dataset
from ft_core.worker.due import due
from ft_core.worker.evaluate import held_out_loss
from ft_core.worker.failures import explain, ran_out_of_memory
from ft_core.worker.generate import Generator, untuned
from ft_core.worker.judging import Jury
from ft_core.worker.keeping import Keeper
from ft_core.worker.load import load_model, load_tokenizer, parameter_counts
from ft_core.worker.prepare import find_base, kept_template, read_data
from ft_core.worker.probe import Probed, evaluation_peak, meter, probe
from ft_core.worker.report import Reporter
from ft_core.worker.room import when_there_is_room
from ft_core.worker.sampling import Samples
from ft_core.worker.save import save_result
from ft_core.worker.trainer import Trainer, all_numbers, keep_in_float32, without_triton

T = TypeVar("T")
# A measurement shorter than this does not change the state people see.
_DISK_SECONDS = 10.0


class Job:
    """A run from its recipe to its result. `work` goes through the phases; the other methods are its actions."""

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
        self.resumed = self.keeper.find() if resume else None
        self.kept = baseline.load(self._baseline_file) if resume else baseline.Baseline()
        self.saved_step = self.resumed.step if self.resumed else 0
        self.sampled_step = 0
        self.failing: set[str] = set()
        self._disk_looked = float("-inf")
        self.best = Best(recipe.evaluation.patience)
        self.best.restore((self.resumed.notes if self.resumed else {}).get("best"))
        self.keeper.spare = {self.best.step}
        self.measured: tuple[int, float] | None = None
        self.probed: Probed | None = None

    def work(self) -> str | None:
        """Do everything; gives why the run was stopped, None when it came to its end. Raises on failure."""
        self.prepare()
        if not self.again:
            self.probe()
        self.ask_base()
        self.signals.at_once = False
        self.fit()
        stopped = self.controls.stopping or self.judge()
        if stopped == TERMINATED:
            return TERMINATED
        self.save()
        return f"{stopped} after step {self.step}; base and tuned model were not compared" if stopped else None

    def only_probe(self) -> None:
        """Prepare everything and measure the longest batch; nothing is trained."""
        self.prepare()
        self.probe()
        if self.probed is not None:
            pad = int(self.tokenizer.pad_token_id)
            peak = evaluation_peak(self.model, self.data.held_out, pad, self._autocast, self.device)
            self.tell_probe(replace(self.probed, evaluation_peak=peak))

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return int(self.trainer.state.global_step)

    # ---- prepare ----

    def prepare(self) -> None:
        """Data first, whose faults are found within seconds; then model and trainer."""
        if self.again:
            words = (
                f"going on from step {self.saved_step}" if self.resumed else "beginning again: there is no checkpoint"
            )
            self.report.state("preparing", words, step=self.saved_step)
        self.report.state("preparing", "looking for the model")
        self.device = device.choose(self.recipe)
        self.telemetry = Telemetry(self.report, self.device)
        self.base = find_base(self.recipe, self.controls, self.run)
        origin.check_base(self.base.path, self.resumed.notes if self.resumed else {})
        self.origin = origin.notes(self.recipe, self.run, self.base.path)
        self.code = origin.code_used(self.base.path, self.report.log)
        device.set_threads(self.base.parameters)
        template = kept_template(self.run, self.recipe.model.chat_template)
        self.tokenizer = use_template(load_tokenizer(self.base.path), template)
        earlier = self.resumed.notes.get("data") if self.resumed else None
        self.data = read_data(self.recipe, self.tokenizer, self.report, self.controls, earlier)
        self.no_triton = without_triton() if self.device.kind == "cuda" else None
        if self.no_triton:
            self.report.log(f"the loss is computed without Triton, which takes a little longer: {self.no_triton}")
        method = self.recipe.quantization.method
        self.report.state(
            "preparing", "loading model" if not self.recipe.quantization.packed else f"quantising the model to {method}"
        )
        self._build_trainer(load_model(self.base.path, self.recipe, self.device))
        if self.device.autocast == torch.float16:
            keep_in_float32(self.model)
        self._tell_plan()

    def _build_trainer(self, model: Any) -> None:  # noqa: ANN401 - a transformers model
        check_targets(self.recipe, model)
        levers.set_precision(self.device)
        self.levers = {"attention": levers.set_attention(model, self.recipe, self.device)}
        self.trainer: Any = Trainer(
            model=model,
            args=sft_config(self.recipe, self.device, self.run.checkpoints),
            train_dataset=to_dataset(self.data.train, self.recipe.data),
            processing_class=self.tokenizer,
            peft_config=lora_config(self.recipe),
            callbacks=[StepEnd(self.telemetry, self._catch_up, self._after_step)],
        )
        self.trainer.remove_callback(PrinterCallback)
        self.telemetry.trained_tokens = lambda: self.trainer.trained_tokens
        self.model: Any = self.trainer.model
        self._take_levers()
        # The token that ends a trained turn ends an answer too, even where the model names another.
        self.stops = self.data.train.stops & set(self.tokenizer.get_added_vocab().values())
        self.generator = Generator(self.model, self.tokenizer, self.stops, self._autocast)
        self.samples = Samples(self.recipe, self.model, self.generator, self.report, self.data)
        self.jury = Jury(self.recipe, self.model, self.generator, self.controls, self.data.held_out_rows)

    def _take_levers(self) -> None:
        taken = {
            "casts spared": levers.spare_casts(self.model, self.device),
            "compiled layers": levers.compile_layers(self.model, self.recipe, self.no_triton),
        }
        self.levers |= {name: how for name, how in taken.items() if how is not None}
        for name, how in self.levers.items():
            if how != levers.ON:
                self.report.log(f"{name}: {how}")

    def _autocast(self) -> AbstractContextManager[Any]:
        enabled = self.device.autocast is not None
        return torch.autocast(self.device.kind, dtype=self.device.autocast or torch.bfloat16, enabled=enabled)

    def _tell_plan(self) -> None:
        training = self.recipe.training
        micro, accumulation = training.micro_batch or 1, training.accumulation or 1
        sequences = len(self.trainer.train_dataset)
        per_epoch = math.ceil(math.ceil(sequences / micro) / accumulation)
        self.total = training.max_steps or math.ceil((training.epochs or 1.0) * per_epoch)
        parameters, trainable = parameter_counts(self.model)
        self.report.event(
            "plan",
            total_steps=self.total,
            model_commit=self.base.revision,
            model_code=self.code,
            price_per_hour=self.recipe.hardware.price_per_hour,
            steps_per_epoch=per_epoch,
            epochs=self.total / per_epoch,
            rows=len(self.data.train),
            held_out_rows=len(self.data.held_out),
            sequences=sequences,
            effective_batch=micro * accumulation,
            parameters=parameters,
            trainable_parameters=trainable,
            device=self.device.name,
            dtype=str(self.device.dtype).removeprefix("torch."),
            tokens=self.data.train.total,
            memory_total=self.device.memory_total,
            levers=self.levers,
        )
        self.report.position(total=self.total, step=self.saved_step)

    def probe(self) -> None:
        """Measure memory and speed on the longest batch."""
        self.report.state("preparing", "measuring memory and speed")
        self.probed = probe(self.trainer, self.device, self._autocast)

    def tell_probe(self, found: Probed) -> None:
        """Put what was measured beside the plan, and keep the speed for later plans on this device."""
        measured = {**asdict(found), "tokens_per_s": found.tokens_per_s}
        self.report.event("probe", **measured)
        predicted = read_plan(self.run)
        write_atomic(self.run.plan_file, json.dumps({**predicted, "measured": measured}, indent=1))
        facts = inspect_folder(self.base.path, source=self.base.name, kind="folder")
        lengths = tuple(map(len, self.data.train.input_ids))
        known = DataFacts(len(lengths), len(self.data.held_out), lengths, max(lengths))
        remember(situation(self.recipe, look(), facts, known), found.tokens_per_s)

    # ---- the base ----

    @property
    def _baseline_file(self) -> Path:
        return self.run.eval / "base.json"

    def ask_base(self) -> None:
        """The untouched base: its held-out loss, its samples, and before full fine-tuning all its answers."""
        kept = self.kept
        if kept.loss is None and len(self.data.held_out):
            telling = self.controls.progress("preparing", "held-out loss of the base", "rows")
            with untuned(self.model), meter(self.device) as most:
                kept.loss = self._measure_loss(0, telling)
                if self.probed is not None:
                    self.probed = replace(self.probed, evaluation_peak=most.peak())
        if self.probed is not None:
            self.tell_probe(self.probed)
        if kept.samples is None and self.samples.questions:
            self.report.state("preparing", "base samples")
            kept.samples = self.samples.ask_base()
        self.samples.base = kept.samples or []
        if kept.answers is None and self.recipe.adapter.kind == "none":
            kept.answers = self.jury.ask_base("preparing")
        self._with_room(lambda: kept.save(self._baseline_file))
        if self.resumed is None and kept.samples is not None:
            self.samples.write(0, current=kept.samples)

    # ---- fit ----

    def fit(self) -> None:
        """Train to the end, or until told to stop; then a last checkpoint, loss and samples."""
        self.report.state("training", "training")
        self.report.begun()
        if self.resumed is None:
            self.trainer.train()
        else:
            self._continue(self.resumed)
        if self.saved_step != self.step:
            self._try("checkpoint", self.checkpoint)
        if self.controls.stopping != TERMINATED and self.best.wanted:
            self._take_best()
        if self.controls.stopping != TERMINATED:
            self._refuse_spoilt()
        if self.controls.stopping is None:
            self._last_look()

    def _refuse_spoilt(self) -> None:
        if not all_numbers(self.model):
            raise problem(
                "the trained weights are no numbers any more",
                where="training",
                why="they overflowed in the last steps; most often the learning rate is too high",
                remedy="lower training.learning_rate to a third and start again, or resume from the last checkpoint",
                kind=NOT_FINITE,
            )

    def _continue(self, found: Checkpoint) -> None:
        self.telemetry.restore(int(found.notes.get("tokens", 0)), float(found.notes.get("seconds", 0.0)))
        path = str(found.path)
        if found.step < self.total:
            self.trainer.train(resume_from_checkpoint=path)
            return
        # Nothing is left to train, and the trainer would begin one more step before it noticed.
        self.trainer._load_from_checkpoint(path)
        self.trainer.state = TrainerState.load_from_json(str(found.path / "trainer_state.json"))

    def _take_best(self) -> None:
        """Go back to the weights with the best held-out loss, if those at the end are worse."""
        if self.controls.stopping is None and (self.measured is None or self.measured[0] != self.step):
            self._try("evaluation", self.evaluate)
        found = self.keeper.at(self.best.step) if self.best.step not in {0, self.step} else None
        if found is None:
            return
        self.trainer._load_from_checkpoint(str(found.path))
        self.measured = (self.step, self.best.loss)
        self.report.alarm(
            "best_kept",
            f"the result is that of step {found.step}, whose held-out loss {self.best.loss:.4f} was the best",
        )

    def _last_look(self) -> None:
        if len(self.data.held_out) and (self.measured is None or self.measured[0] != self.step):
            self._try("evaluation", self.evaluate)
        if self.samples.questions and self.sampled_step != self.step:
            self._try("samples", self._write_samples)

    def _after_step(self, state: TrainerState) -> bool:
        """Everything due between two steps; True ends the training."""
        if time.monotonic() - self._disk_looked > _DISK_SECONDS:
            self._disk_looked = time.monotonic()
            self.telemetry.health.disk(self.keeper.short_of(self.model))
        if state.global_step < state.max_steps:
            self._do_due(state.global_step, {**self._looked, "checkpoint": self.saved_step})
        self.controls.obey(self)
        if self.best.used_up and state.global_step < state.max_steps:
            self.report.alarm(
                "stopped_early",
                f"the held-out loss has not got better in {self.best.since} measurements: training ends here",
            )
            return True
        return self.controls.stopping is not None

    def _catch_up(self) -> None:
        """What was due at the step of the checkpoint, and was broken off when the run had to end there."""
        looked = self.resumed.notes.get("looked") if self.resumed else None
        if isinstance(looked, dict):
            # The state of the random numbers is restored only afterwards: this is no moment to seal one.
            self._do_due(self.step, {**looked, "checkpoint": self.step})

    def _do_due(self, step: int, done: Mapping[str, object]) -> None:
        ways: dict[str, Callable[[], object]] = {"checkpoint": self.checkpoint}
        if len(self.data.held_out):
            ways["evaluation"] = self.evaluate
        if self.samples.questions:
            ways["samples"] = self._write_samples
        for name in due(self.recipe, step, done):
            # What has to end soon seals first; the rest is caught up on when it goes on.
            if name in ways and (name == "checkpoint" or not self.signals.terminated.is_set()):
                self._try(name, ways[name])

    @property
    def _looked(self) -> dict[str, int]:
        return {"evaluation": self.measured[0] if self.measured else 0, "samples": self.sampled_step}

    def _try(self, name: str, action: Callable[[], object]) -> None:
        """Do what is due; that it cannot be done is told, and no reason to lose the training."""
        try:
            action()
        except Stopped:
            self.report.log(f"{name} broken off")
        except FtError as error:
            found = error.problems[0]
            self._failed(name, f"{found.what}: {found.why}; {found.remedy}")
        except Exception as error:
            if ran_out_of_memory(error):
                raise
            traceback.print_exception(error)
            cause, remedy = explain(error)
            self._failed(name, f"{name} failed, training goes on: {cause}; {remedy}")
        else:
            self.failing.discard(name)

    def _failed(self, name: str, words: str) -> None:
        """An alarm when something begins to fail; that it goes on failing stands in the log."""
        if name in self.failing:
            self.report.log(words)
        else:
            self.failing.add(name)
            self.report.alarm(f"{name}_failed", words)

    def _write_samples(self) -> None:
        with self._if_it_fits():
            self.samples.write(self.step)
        self.sampled_step = self.step

    @contextmanager
    def _if_it_fits(self) -> Iterator[None]:
        """Answers and measurements need memory beside the training's: that there is too little becomes an FtError."""
        try:
            yield
        except torch.cuda.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            cause, _ = explain(error)
            remedy = "training goes on; fewer or shorter samples, or a smaller training.micro_batch, leave more room"
            raise problem("left out", where=f"step {self.step}", why=cause, remedy=remedy) from error

    # ---- actions, due or asked for ----

    def evaluate(self) -> str:
        """Measure the held-out loss now. Raises FtError when there are no held-out rows."""
        if not len(self.data.held_out):
            raise problem(
                "nothing to evaluate on",
                where="data.held_out_share",
                why="no rows are held out",
                remedy="set data.held_out or data.held_out_share in the next run",
            )
        with self._if_it_fits(), self.controls.told_if_long() as progress:
            loss = self._measure_loss(self.step, progress)
        self.telemetry.health.evaluated(loss)
        if self.best.measured(self.step, loss):
            self.keeper.spare = {self.step}
            if self.saved_step != self.step:
                self._try("checkpoint", self.checkpoint)
        return f"held-out loss {loss:.4f}"

    def sample(self, prompt: str) -> str:
        """Let base and tuned model answer a prompt."""
        with self._if_it_fits():
            return self.samples.user(self.step, prompt)

    def checkpoint(self) -> str:
        """Save a checkpoint of this step. Raises FtError when it cannot be written."""
        if not self.telemetry.finite or not all_numbers(self.model):
            raise problem(
                "no checkpoint is written now",
                where="checkpoints",
                why="a trained weight is not a number" if self.telemetry.finite else "the loss is not a number",
                remedy="resume from the last good checkpoint with a lower learning rate",
            )
        said = self.keeper.seal(self.trainer, self._notes())
        self.saved_step = self.step
        return said

    def _notes(self) -> dict[str, Any]:
        return {
            "tokens": self.telemetry.tokens,
            "seconds": self.telemetry.seconds,
            "data": self.data.hashes,
            "best": self.best.notes(),
            "looked": self._looked,
            **self.origin,
        }

    # ---- judge and save ----

    def judge(self) -> str | None:
        """Compare base and tuned model on the held-out rows; gives why that was broken off, None when it was not."""
        if not self.jury.questions and self.measured is None:
            self.report.state("evaluating", "nothing is held out: base and tuned model cannot be compared")
            return None
        try:
            if self.kept.answers is None:
                self.kept.answers = self.jury.ask_base("evaluating")
                self._with_room(lambda: self.kept.save(self._baseline_file))
            tuned = self.jury.ask_tuned()
            self._tell_verdict(self.kept.answers, tuned)
        except Stopped as stop:
            return str(stop)
        return None

    def _tell_verdict(self, base: list[str], tuned: list[str]) -> None:
        step, loss = self.measured or (0, None)
        now = loss if step == self.step else None
        self._with_room(lambda: self.jury.judge(self.report, base, tuned, self.kept.loss, now))

    def _with_room(self, write: Callable[[], T]) -> T:
        return when_there_is_room(write, self.report, self.controls)

    def save(self) -> None:
        """Write the result; where the disk is full, wait for room: an evening's work hangs on it."""
        self.report.state("saving", "writing the result")
        base, revision = self.base.name, self.base.revision
        kind, size = self._with_room(
            lambda: save_result(self.run, self.model, self.tokenizer, base=base, revision=revision, stops=self.stops)
        )
        known = {"path": self.run.result.name, "bytes": size, "kind": kind, "base": base, "revision": revision}
        self.report.event("result", step=self.step, **known)

    # ---- measuring ----

    def _measure_loss(self, step: int, progress: Progress) -> float:
        begun = time.monotonic()
        loss = held_out_loss(
            self.model,
            self.data.held_out,
            pad=int(self.tokenizer.pad_token_id),
            autocast=self._autocast,
            progress=progress,
        )
        self.report.event("eval", step=step, loss=loss, rows=len(self.data.held_out), seconds=time.monotonic() - begun)
        self.measured = (step, loss)
        return loss
