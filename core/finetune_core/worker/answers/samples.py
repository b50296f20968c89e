"""Answers written during the run: the base's beside the tuned model's."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from peft import PeftModel

from finetune_core.data.rows import Message, Text, TrainingRow
from finetune_core.files import write_atomic
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.events import SampleEvent
from finetune_core.worker.answers.generate import Generator, Reply, question, reference, shown, untold, untuned
from finetune_core.worker.report import Reporter
from finetune_core.worker.rows.inputs import Data
from finetune_core.worker.types import Model


@dataclass(frozen=True)
class Question:
    """A prompt to be answered: its turns, whether it is plain text without a chat template, and the row's answer."""

    messages: tuple[Message, ...]
    plain: bool
    reference: str | None
    fact: str | None = None
    tools: tuple[dict[str, object], ...] = ()

    @classmethod
    def of_row(cls, row: TrainingRow, fact_field: str | None = None) -> Question:
        """The question a row asks with its last answer."""
        fact = row.extra.get(fact_field) if fact_field else None
        plain, tools = (True, ()) if isinstance(row, Text) else (row.completion_only, row.tools)
        return cls(question(row), plain, reference(row), str(fact) if fact is not None else None, tools)

    @classmethod
    def typed(cls, prompt: str, *, plain: bool) -> Question:
        """The question a person typed."""
        return cls((Message("user", prompt),), plain, None)

    @property
    def shown(self) -> str:
        """The question as people read it."""
        return shown(self.messages)


def replies(
    generator: Generator,
    questions: Sequence[Question],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    progress: Callable[[int], None] = untold,
) -> list[Reply]:
    """One answer a question, in their order."""
    prompts = [generator.prompt(asked.messages, plain=asked.plain, tools=asked.tools) for asked in questions]
    return generator.reply(prompts, max_new_tokens=max_new_tokens, temperature=temperature, progress=progress)


class Samples:
    """The questions of a run's samples, and the files their answers are written to."""

    def __init__(
        self,
        recipe: Recipe,
        model: Model,
        generator: Generator,
        reporter: Reporter,
        data: Data,
    ) -> None:
        self._settings = recipe.samples
        self._model = model
        self._generator = generator
        self._reporter = reporter
        self._plain = data.plain
        self.source = "prompts" if recipe.samples.prompts else "held_out"
        if recipe.samples.prompts:
            self.questions = [Question.typed(prompt, plain=self._plain) for prompt in recipe.samples.prompts]
        else:
            self.questions = [Question.of_row(row) for row in data.held_out_rows[: recipe.samples.count]]
        self.base: list[str] = []

    def asked(self) -> list[Any]:
        """What decides about the answers beside the weights, as plain values."""
        settings = self._settings
        return [[astuple(asked) for asked in self.questions], settings.max_new_tokens, settings.temperature]

    def ask_base(self) -> list[str]:
        """The untouched base's answers; must come before step 1 of full fine-tuning."""
        with untuned(self._model):
            return self._ask(self.questions)

    def write(self, step: int, *, current: list[str] | None = None) -> None:
        """Let the present model answer (unless `current` is given) and write the set beside the base's answers."""
        if self.questions:
            now = current if current is not None else self._ask(self.questions)
            self._save(step, self.source, self.questions, self.base, now)

    def user(self, step: int, prompt: str) -> str:
        """Answer a prompt typed by the user; gives the words for the control answer."""
        asked = [Question.typed(prompt, plain=self._plain)]
        kept = isinstance(self._model, PeftModel)
        base = [""]
        if kept:
            with untuned(self._model):
                base = self._ask(asked)
        self._save(step, "user", asked, base, self._ask(asked))
        return "answered" if kept else "answered; full fine-tuning keeps no base to compare with"

    def _ask(self, questions: Sequence[Question]) -> list[str]:
        found = replies(
            self._generator,
            questions,
            max_new_tokens=self._settings.max_new_tokens,
            temperature=self._settings.temperature,
        )
        return [reply.text for reply in found]

    def _save(
        self, step: int, source: str, questions: Sequence[Question], base: Sequence[str], current: Sequence[str]
    ) -> None:
        items = [
            {"prompt": asked.shown, "reference": asked.reference, "base": before, "current": now}
            for asked, before, now in zip(questions, base, current, strict=True)
        ]
        folder = self._reporter.run.samples
        folder.mkdir(mode=0o700, exist_ok=True)
        name = f"step-{step:06d}"
        if source == "user":
            name += f"-user-{1 + len(list(folder.glob(f'{name}-user-*.json')))}"
        path = folder / f"{name}.json"
        write_atomic(path, json.dumps({"step": step, "source": source, "items": items}, indent=1))
        relative = str(path.relative_to(self._reporter.run.path))
        self._reporter.event(SampleEvent(step=step, path=relative, count=len(items), source=source))
