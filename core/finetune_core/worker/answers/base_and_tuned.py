"""The verdict: base and tuned model answer the same held-out rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple
from math import isclose
from typing import Any

from finetune_core.data.rows import Conversation
from finetune_core.evaluation import losses
from finetune_core.evaluation.faults import Answer
from finetune_core.evaluation.losses import RowLosses
from finetune_core.evaluation.measure_names import HELD_OUT_LOSS
from finetune_core.evaluation.next_change import next_change
from finetune_core.evaluation.verdict import Verdict, judge
from finetune_core.evaluation.words import words
from finetune_core.files import write_atomic
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.worker.answers.baseline import SAME_MEAN
from finetune_core.worker.answers.generate import Generator, Reply, untuned
from finetune_core.worker.answers.run_facts import run_facts
from finetune_core.worker.answers.samples import Question, replies
from finetune_core.worker.controls import Controls
from finetune_core.worker.model.adapter_targets import has_stacked_adapters
from finetune_core.worker.report import Reporter
from finetune_core.worker.rows.inputs import Data
from finetune_core.worker.types import Model


class Jury:
    """The questions of the verdict, their answers by either model, and the comparison."""

    def __init__(
        self,
        recipe: Recipe,
        model: Model,
        generator: Generator,
        controls: Controls,
        data: Data,
    ) -> None:
        self._recipe = recipe
        self._settings = recipe.evaluation
        self._model = model
        self._generator = generator
        self._controls = controls
        self._data = data
        # How a text goes on is no question with an answer: raw text is judged by its held-out loss.
        asked = [row for row in data.held_out_rows if isinstance(row, Conversation)][: recipe.evaluation.questions]
        self.questions = [Question.of_row(row, recipe.evaluation.fact_field) for row in asked]

    def asked(self) -> list[Any]:
        """What decides about the answers beside the weights, as plain values."""
        return [[astuple(asked) for asked in self.questions], self._settings.max_new_tokens]

    def ask_base(self, state: str) -> list[Reply]:
        """The untouched base's answers; of a fully tuned model only before step 1. Raises Stopped."""
        with untuned(self._model):
            return self._ask(state, "answers of the base")

    def ask_tuned(self) -> list[Reply]:
        """The present model's answers. Raises Stopped."""
        return self._ask("evaluating", "answers of the tuned model")

    def _ask(self, state: str, phase: str) -> list[Reply]:
        tell = self._controls.progress(state, phase, "answers")
        count = len(self.questions)
        if count:
            tell(0, count)
        return replies(
            self._generator,
            self.questions,
            max_new_tokens=self._settings.max_new_tokens,
            progress=lambda done: tell(done, count),
        )

    def judge(
        self,
        reporter: Reporter,
        base: Sequence[Reply],
        tuned: Sequence[Reply],
        base_loss: float | None,
        tuned_loss: float | None,
        step: int,
        losses_of: Callable[[int], str] = lambda _step: "",
    ) -> None:
        """Compare, write eval/verdict.json with every answer, and report the verdict.

        The losses are those of the whole; `step` names the measurement that holds the tuned model's, row by row, and
        `losses_of` gives a hash of what a measurement has to be of.
        """
        run = reporter.run

        def by_row(step: int, mean: float | None) -> RowLosses | float | None:
            return _by_row(run, step, mean, losses_of(step))

        before, after = ([self._answer(*pair) for pair in self._pairs(side)] for side in (base, tuned))
        verdict = judge(before, after, by_row(0, base_loss), by_row(step, tuned_loss))
        unfitting = sum(answer.ended is False and not answer.fits for answer in after)
        facts = run_facts(run, self._data, unfitting, droppable=not has_stacked_adapters(self._model))
        change = next_change(verdict, self._recipe, facts)
        found = as_event(verdict) | {"next": change.to_json() if change else None}
        given = [
            {
                "prompt": asked.shown,
                "reference": asked.reference,
                "fact": asked.fact,
                "base": old.text,
                "tuned": new.text,
                "base_ended": old.ended,
                "tuned_ended": new.ended,
            }
            for asked, old, new in zip(self.questions, base, tuned, strict=True)
        ]
        run.eval.mkdir(mode=0o700, exist_ok=True)
        path = run.eval / "verdict.json"
        write_atomic(path, json.dumps(found | {"answers": given}, indent=1))
        reporter.verdict(str(path.relative_to(run.path)), found)

    def _pairs(self, said: Sequence[Reply]) -> list[tuple[Question, Reply]]:
        return list(zip(self.questions, said, strict=True))

    def _answer(self, asked: Question, reply: Reply) -> Answer:
        reference = asked.reference or ""
        # Only of an answer that was cut off does it matter.
        fits = reply.ended is not False or self._generator.fits(reference, self._settings.max_new_tokens)
        return Answer(asked.shown, reference, asked.fact, reply.text, reply.ended, fits)


def as_event(verdict: Verdict) -> dict[str, Any]:
    """The verdict as plain values.

    `base`, `tuned` and `changes` give each measure's two figures and its sign, `measures` all that is known of it:
    intervals, p values, and the smallest change that would have been called.
    """
    shown = [one for one in verdict.measures if one.decides or one.name == HELD_OUT_LOSS]
    return {
        "outcome": verdict.outcome,
        "better": verdict.better,
        "words": words(verdict),
        "rows": verdict.rows,
        "base": {one.name: one.base for one in shown},
        "tuned": {one.name: one.tuned for one in shown},
        "changes": {one.name: one.sign for one in shown},
        "measures": [asdict(one) for one in verdict.measures],
        "faults": {"base": verdict.base_faults, "tuned": verdict.tuned_faults},
        "identical": verdict.identical,
        "unrelated": verdict.unrelated,
    }


def _by_row(run: RunDir, step: int, mean: float | None, of: str) -> RowLosses | float | None:
    """The losses row by row where they were kept and fit, else their mean; None where the model was not measured."""
    found = None if mean is None else losses.load(run.losses_file(step), of)
    return mean if found is None or mean is None or not isclose(found.mean, mean, rel_tol=SAME_MEAN) else found
