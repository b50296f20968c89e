"""What a recipe wants between two steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from finetune_core.recipe.schema import Recipe

DUE: Final = ("evaluation", "samples", "checkpoint")


def due(recipe: Recipe, step: int, done: Mapping[str, object]) -> list[str]:
    """Of `evaluation`, `samples` and `checkpoint`, in this order, those wanted after a step and not done there.

    `done` has the step at which each was done last.
    """
    every = {
        "evaluation": recipe.evaluation.every_steps,
        "samples": recipe.samples.every_steps,
        "checkpoint": recipe.saving.every_steps,
    }
    return [name for name, steps in every.items() if steps and step % steps == 0 and done.get(name) != step]
