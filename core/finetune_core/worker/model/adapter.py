"""The adapter of a recipe in the terms of PEFT."""

from __future__ import annotations

import torch
from peft import LoraConfig

from finetune_core.errors import FtError
from finetune_core.plan.advice.targets import experts_drop_nothing, unknown_targets
from finetune_core.recipe.schema import ALL_LINEAR, Recipe
from finetune_core.worker.model.adapter_targets import all_linear, named, stacked_experts
from finetune_core.worker.types import Model


def lora_config(recipe: Recipe, model: Model) -> LoraConfig | None:
    """The adapter of the recipe on this model; None for full fine-tuning."""
    adapter = recipe.adapter
    if adapter.kind == "none":
        return None
    targets = adapter.target_modules
    alpha = adapter.alpha or float(adapter.rank_or_usual)
    return LoraConfig(
        r=adapter.rank_or_usual,
        # PEFT types it as a whole number, yet only ever divides it by the rank.
        lora_alpha=int(alpha) if alpha == int(alpha) else alpha,  # type: ignore[arg-type]
        lora_dropout=adapter.dropout,
        **(all_linear(model) if targets == ALL_LINEAR else {"target_modules": _listed(targets)}),
        bias="none",
        task_type="CAUSAL_LM",
    )


def refuse_dropped_experts(recipe: Recipe, model: Model) -> None:
    """Raise FtError where stacked experts would get an adapter with dropout, which PEFT refuses in its own words."""
    adapter = recipe.adapter
    if adapter.kind == "none" or not adapter.dropout:
        return
    targets = adapter.target_modules
    wanted = all_linear(model)["target_modules"] if targets == ALL_LINEAR else _listed(targets)
    if stacked_experts(model) & {str(name).rpartition(".")[2] for name in _listed(wanted)}:
        raise FtError(experts_drop_nothing(adapter.dropout))


def _listed(targets: str | list[str]) -> list[str]:
    return targets if isinstance(targets, list) else [targets]


def check_targets(recipe: Recipe, model: torch.nn.Module) -> None:
    """Raises FtError when a layer named for the adapter is none of the model's that can take one.

    PEFT passes over such a name as long as another one fits, and otherwise fails without naming what there is.
    """
    targets = recipe.adapter.target_modules
    if recipe.adapter.kind == "none" or not isinstance(targets, list):
        return
    names = list(named(model))
    unknown = [target for target in targets if not any(f".{name}".endswith(f".{target}") for name in names)]
    if (found := unknown_targets(unknown, (name.rpartition(".")[2] for name in names))) is not None:
        raise FtError(found)
