"""Layers an adapter is asked for by name, and whether the model has them."""

from __future__ import annotations

from collections.abc import Iterable

from ft_core.errors import Problem
from ft_core.models.facts import ModelFacts
from ft_core.recipe.schema import Recipe
from ft_core.text import one_line

_HEADS = {"lm_head", "embed_out"}


def targets_in_files(recipe: Recipe, model: ModelFacts) -> Problem | None:
    """Layers of the recipe that the model's files lack; None too where its files do not tell the names.

    Only the last part of a name is compared: what stands before it differs between files and models in memory.
    """
    targets = recipe.adapter.target_modules
    if recipe.adapter.kind == "none" or not isinstance(targets, list) or not model.modules:
        return None
    return unknown_targets([name for name in targets if name.rpartition(".")[2] not in model.modules], model.modules)


def unknown_targets(unknown: list[str], known: Iterable[str]) -> Problem | None:
    """The problem of layers no model layer is called by; `known` are the last parts of the names there are."""
    if not unknown:
        return None
    shown = ", ".join(f"`{one_line(name, 60)}`" for name in unknown)
    listed = ", ".join(sorted(set(known) - _HEADS))
    return Problem(
        f"the model has no layer {one_line(shown, 200)}",
        "adapter.target_modules",
        f"layers of this model that can take an adapter: {one_line(listed, 400) or 'none'}",
        "choose among these, or set adapter.target_modules to all-linear",
    )
