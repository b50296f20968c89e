"""Layers that get an adapter: by name where they are known, and whether the model has those it is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from finetune_core.errors import Problem
from finetune_core.models.facts import ModelFacts
from finetune_core.plan.memory.layer_activations import block_of, known
from finetune_core.plan.situation import Choice, Situation
from finetune_core.recipe.schema import ALL_LINEAR, Recipe
from finetune_core.text import one_line

_TARGETS: Final = "adapter.target_modules"
_HEADS = {"lm_head", "embed_out"}


def advise_targets(now: Situation) -> list[Choice]:
    """What an adapter on all linear layers comes to, by name as far as the files name them."""
    adapter = now.recipe.adapter
    # The value is no other than before: without its reason nothing would show that it was looked at already.
    if adapter.kind == "none" or adapter.target_modules != ALL_LINEAR or _TARGETS in now.recipe.reasons:
        return []
    return [Choice(_TARGETS, ALL_LINEAR, _reached(now.model))]


def _reached(model: ModelFacts) -> str:
    block = block_of(model.model_type) if known(model.model_type) else None
    mixture = bool(model.experts)
    if block is None:
        words = "every linear layer that rows reach; the run names them when it begins"
    else:
        words = ", ".join(block.modules) + (" and the experts" if mixture and block.adapted else "")
    none = ["the experts"] if block is not None and mixture and not block.adapted else []
    none += ["the router, which only an adapter asked for by name would change"] if mixture else []
    none += [f"the {sense} part, which rows of text do not reach" for sense in model.senses]
    return f"{words}; none on {', nor on '.join(none)}" if none else words


def dropout_on_experts(recipe: Recipe, model: ModelFacts) -> Problem | None:
    """That the experts' adapters can have no dropout, where they get one; None where that is not known beforehand."""
    adapter = recipe.adapter
    on_all = adapter.kind == "lora" and adapter.target_modules == ALL_LINEAR and model.experts
    if not adapter.dropout or not on_all or not known(model.model_type) or not block_of(model.model_type).adapted:
        return None
    return experts_drop_nothing(adapter.dropout)


def experts_drop_nothing(dropout: float) -> Problem:
    """That adapters on stacked experts, which PEFT writes out in full, have no input that could be dropped."""
    return Problem(
        f"the experts' adapters cannot have a dropout of {dropout:g}",
        "adapter.dropout",
        "PEFT adds them to the experts' weights, where there is no input to drop",
        "set adapter.dropout to 0, or name the layers of attention in adapter.target_modules",
    )


def targets_in_files(recipe: Recipe, model: ModelFacts) -> Problem | None:
    """Layers of the recipe that the model's files lack; None too where its files do not hold the names.

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
