"""The recipe in the terms of TRL and PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from trl.trainer.sft_config import SFTConfig

from finetune_core.errors import FtError
from finetune_core.plan.advice.targets import experts_drop_nothing, unknown_targets
from finetune_core.recipe.schema import ALL_LINEAR, Recipe
from finetune_core.worker.model.adapter_targets import all_linear, named, stacked_experts
from finetune_core.worker.model.device import Device


def lora_config(recipe: Recipe, model: Any) -> LoraConfig | None:  # noqa: ANN401 - a transformers model
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


def refuse_dropped_experts(recipe: Recipe, model: Any) -> None:  # noqa: ANN401 - a transformers model
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


def sft_config(recipe: Recipe, device: Device, folder: Path) -> SFTConfig:
    """The trainer's arguments. Saving, evaluation and reports are ours, so the trainer's own are off."""
    return SFTConfig(
        output_dir=str(folder),
        **_batches(recipe),
        **_optimisation(recipe, device),
        **_precision(recipe, device),
        seed=recipe.training.seed,
        # A mixture's own loss for balance is for pretraining: unless asked for TRL would add it as its config says.
        router_aux_loss_coef=recipe.training.router_loss,
        dataloader_pin_memory=device.kind == "cuda",
        logging_strategy="steps",
        logging_steps=1,
        # The filter would replace a NaN loss by the mean of the others and so hide it.
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[],
        save_strategy="no",
        eval_strategy="no",
        push_to_hub=False,
    )


def _batches(recipe: Recipe) -> dict[str, Any]:
    training = recipe.training
    return {
        "per_device_train_batch_size": training.micro_batch or 1,
        "gradient_accumulation_steps": training.accumulation or 1,
        "num_train_epochs": training.epochs or 1.0,
        "max_steps": training.max_steps or -1,
        "packing": recipe.data.packing != "none",
        "packing_strategy": "bfd",
        # Rows come tokenised, cut, masked and packed; only the collator must know which kind they are.
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "max_length": recipe.data.max_length,
    }


def _optimisation(recipe: Recipe, device: Device) -> dict[str, Any]:
    training = recipe.training
    adamw = "adamw_torch_fused" if device.kind == "cuda" else "adamw_torch"
    return {
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": training.schedule,
        # Below 1 it is a share of the steps.
        "warmup_steps": training.warmup if training.schedule != "constant" else 0,
        "optim": {"adamw": adamw, "adamw_8bit": "adamw_bnb_8bit", "sgd": "sgd"}[training.optimizer],
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
    }


def _precision(recipe: Recipe, device: Device) -> dict[str, Any]:
    checkpointing = bool(recipe.training.activation_checkpointing)
    return {
        "use_cpu": device.kind == "cpu",
        "bf16": device.autocast == torch.bfloat16,
        "fp16": device.autocast == torch.float16,
        "gradient_checkpointing": checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if checkpointing else None,
    }
