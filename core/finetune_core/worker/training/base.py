"""The untouched base before the first step: its held-out loss, its samples, and where training loses it its answers."""

from __future__ import annotations

import os
from dataclasses import replace
from math import isclose
from pathlib import Path

from finetune_core.evaluation import losses
from finetune_core.worker.answers import baseline
from finetune_core.worker.answers.base_and_tuned import Jury
from finetune_core.worker.answers.baseline import SAME_MEAN, Baseline
from finetune_core.worker.answers.generate import Reply, untuned
from finetune_core.worker.answers.samples import Samples
from finetune_core.worker.controls import Controls
from finetune_core.worker.disk_space import when_there_is_room
from finetune_core.worker.memory.preflight import Probed, meter
from finetune_core.worker.report import Reporter
from finetune_core.worker.training.between_steps import BetweenSteps
from finetune_core.worker.training.setup import Setup


class Base:
    """What the base does on the held-out rows: measured once, kept in the run, measured again where it no longer fits.

    `again` says that the run goes on, so that something may be kept.
    """

    def __init__(
        self,
        ready: Setup,
        report: Reporter,
        controls: Controls,
        between: BetweenSteps,
        samples: Samples,
        jury: Jury,
        *,
        again: bool,
    ) -> None:
        self._ready = ready
        self._report = report
        self._controls = controls
        self._between = between
        self._samples = samples
        self._jury = jury
        self._again = again
        self._file: Path = report.run.eval / "base.json"
        self._kept = baseline.load(self._file) if again else Baseline()

    @property
    def loss(self) -> float | None:
        """Its held-out loss in nats a token; None where that could not be measured."""
        return self._kept.loss

    @property
    def is_lost(self) -> bool:
        """Whether only before the first step there is a base to be asked: an adapter can be taken off."""
        return self._ready.recipe.adapter.kind == "none"

    def measure(self, probed: Probed | None) -> Probed | None:
        """Measure the held-out loss unless it is kept; gives the preflight with the memory that this took."""
        self._forget_other()
        found = [probed]
        if self._kept.loss is None and len(self._ready.data.held_out):
            self._between.attempt("evaluation", lambda: found.append(self._measure(probed)))
        return found[-1]

    def ask(self) -> None:
        """Ask for what else is not kept; what of it fails is reported, and the run trains all the same."""
        kept, attempt = self._kept, self._between.attempt
        if kept.samples is None and self._samples.questions:
            self._report.state("preparing", "base samples")
            attempt("samples", self._sample)
        self._samples.base = kept.samples or [""] * len(self._samples.questions)
        if kept.answers is None and self.is_lost:
            attempt("answers", lambda: self._answer("preparing"))
        self._keep()

    def answers(self) -> list[Reply] | None:
        """Its answers to the verdict's questions, asked now where they are not kept; None where it is lost."""
        if self._kept.answers is None and not self.is_lost:
            self._answer("evaluating")
            self._keep()
        return self._kept.answers

    def first_samples(self) -> None:
        """Write the base's samples as those of step 0, before any training."""
        if self._kept.samples is not None:
            self._samples.write(0, current=self._kept.samples)

    def _forget_other(self) -> None:
        """Forget, and report, what was measured of the base on other rows, settings or weights."""
        kept, of, noted = self._kept, self._between.base_of, bool(self._kept.of)
        asked = {baseline.SAMPLES: self._samples.asked(), baseline.ANSWERS: self._jury.asked()}
        gone = kept.drop_others({baseline.LOSS: of, **{name: baseline.digest(of, asked[name]) for name in asked}})
        if kept.loss is not None and not self._rows_fit(of, kept.loss):
            kept.loss, gone = None, [*gone, baseline.LOSS]
        damaged = self._again and not gone and kept.empty and self._file.exists()
        if gone or damaged:
            other = "of other rows, settings or weights" if noted else "of what, an earlier version did not note"
            why = "it was changed since" if damaged else f"{', '.join(gone)}: {other}"
            text = f"what was kept of the base ({self._file.name}) does not fit ({why}): it is measured again"
            self._report.alarm("base_measured_again", text)

    def _rows_fit(self, of: str, loss: float) -> bool:
        """Whether the base's loss row by row is that of its mean; without it, as before, that stands."""
        path = self._report.run.losses_file(0)
        found = losses.load(path, of)
        return not os.path.lexists(path) if found is None else isclose(found.mean, loss, rel_tol=SAME_MEAN)

    def _measure(self, probed: Probed | None) -> Probed | None:
        progress = self._controls.progress("preparing", "held-out loss of the base", "rows")
        with untuned(self._ready.model), meter(self._ready.device) as most:
            self._kept.loss = self._between.measure(0, progress)
            return probed if probed is None else replace(probed, evaluation_peak=most.peak())

    def _sample(self) -> None:
        self._kept.samples = self._samples.ask_base()

    def _answer(self, state: str) -> None:
        self._kept.answers = self._jury.ask_base(state)

    def _keep(self) -> None:
        when_there_is_room(lambda: self._kept.save(self._file), self._report, self._controls)
