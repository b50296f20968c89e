"""What takes time to find out of the recipe's model before a plan can be made: what it is, how it uses memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from finetune_core.errors import FtError
from finetune_core.models.facts import ModelFacts
from finetune_core.models.find import find
from finetune_core.plan.describe import describe, undescribed, what_is_known
from finetune_core.plan.memory.traced import figures_of, untraced
from finetune_core.recipe.read_recipe import Given
from finetune_core.recipe.schema import Recipe
from finetune_core.text import one_line

# How long a command waits for the hub to describe a model; its tokenizer comes within that on a slow line.
_PATIENCE_SECONDS: Final = 90.0


def look_up(recipe: Recipe | Given, report: Callable[[str], None] = lambda _: None) -> None:
    """Ask the hub what the recipe's model is, and have the layers traced of an architecture that no formula knows.

    What was found stays, and every later look at the model has it, also what is wrong with it. `report` is called
    before it takes time, and with why nothing was found: the plan is then made without. A recipe with problems is
    refused anyway.
    """
    given = recipe if isinstance(recipe, Given) else Given(recipe)
    if given.problems:
        return
    with suppress(FtError):
        model = find(given.recipe.model.source, given.recipe.model.revision)
        if undescribed(model):
            model = _described(model, report)
        if untraced(model):
            report(f"tracing the layers of {one_line(model.model_type or model.source, 60)}, once: half a minute ...")
            figures_of(model)


def _described(model: ModelFacts, report: Callable[[str], None]) -> ModelFacts:
    name, start = one_line(model.source, 100), time.monotonic()
    report(f"asking the hub what {name} is ...")
    try:
        found = describe(model, lambda: time.monotonic() - start > _PATIENCE_SECONDS)
    except FtError as error:
        report(not_described(model, error))
        return model
    if found is None:
        report(f"the hub did not answer within {_PATIENCE_SECONDS:.0f} s: {what_is_known(model)}")
    return found or model


def not_described(model: ModelFacts, error: FtError) -> str:
    """Why the hub said nothing of a model, and what to do, in a few sentences."""
    found = error.problems[0]
    return f"{found.what}: {what_is_known(model)}. Why: {found.why}. To do: {found.remedy}"
