"""The verdict: base and tuned model answer the same held-out rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ft_core.data.rows import Conversation, TrainingRow
from ft_core.evaluation.verdict import Answer, judge
from ft_core.files import write_atomic
from ft_core.recipe.schema import Recipe
from ft_core.worker.controls import Controls
from ft_core.worker.generate import Generator, untuned
from ft_core.worker.report import Reporter
from ft_core.worker.sampling import Question, answers


class Jury:
    """The questions of the verdict, their answers by either model, and the comparison."""

    def __init__(
        self,
        recipe: Recipe,
        model: Any,  # noqa: ANN401 - a transformers model or a PEFT wrapper around one
        generator: Generator,
        controls: Controls,
        rows: Sequence[TrainingRow],
    ) -> None:
        self._settings = recipe.evaluation
        self._model = model
        self._generator = generator
        self._controls = controls
        # How a text goes on is no question with an answer: raw text is judged by its held-out loss.
        asked = [row for row in rows if isinstance(row, Conversation)][: recipe.evaluation.questions]
        self.questions = [Question.of_row(row, recipe.evaluation.fact_field) for row in asked]

    def ask_base(self, state: str) -> list[str]:
        """The untouched base's answers; of a fully tuned model only before step 1. Raises Stopped."""
        with untuned(self._model):
            return self._ask(state, "answers of the base")

    def ask_tuned(self) -> list[str]:
        """The present model's answers. Raises Stopped."""
        return self._ask("evaluating", "answers of the tuned model")

    def _ask(self, state: str, phase: str) -> list[str]:
        tell = self._controls.progress(state, phase, "answers")
        count = len(self.questions)
        if count:
            tell(0, count)
        return answers(
            self._generator,
            self.questions,
            max_new_tokens=self._settings.max_new_tokens,
            progress=lambda done: tell(done, count),
        )

    def judge(
        self,
        reporter: Reporter,
        base: Sequence[str],
        tuned: Sequence[str],
        base_loss: float | None,
        tuned_loss: float | None,
    ) -> None:
        """Compare, write eval/verdict.json with every answer, and tell the verdict."""
        pairs = list(zip(self.questions, base, tuned, strict=True))
        verdict = judge(
            [_answer(asked, text) for asked, text, _ in pairs],
            [_answer(asked, text) for asked, _, text in pairs],
            base_loss,
            tuned_loss,
        )
        found = {
            "base": verdict.base,
            "tuned": verdict.tuned,
            "rows": verdict.rows,
            "better": verdict.better,
            "words": verdict.words,
            "changes": verdict.changes,
        }
        given = [
            {"prompt": asked.shown, "reference": asked.reference, "fact": asked.fact, "base": before, "tuned": after}
            for asked, before, after in pairs
        ]
        run = reporter.run
        run.eval.mkdir(mode=0o700, exist_ok=True)
        path = run.eval / "verdict.json"
        write_atomic(path, json.dumps(found | {"answers": given}, indent=1))
        reporter.event("verdict", path=str(path.relative_to(run.path)), **found)


def _answer(asked: Question, text: str) -> Answer:
    return Answer(prompt=asked.shown, reference=asked.reference or "", fact=asked.fact, text=text)
