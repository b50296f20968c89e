"""Supervised fine-tuning by TRL's trainer: its settings from the recipe, and the trainer itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers.trainer_callback import PrinterCallback
from trl.trainer.sft_config import SFTConfig

from finetune_core.recipe.schema import Recipe
from finetune_core.worker.methods.trainer import Parts, Trainer
from finetune_core.worker.model.adapter import lora_config
from finetune_core.worker.model.device import Device
from finetune_core.worker.rows.dataset import to_dataset
from finetune_core.worker.types import TrainerOfTrl


def trainer(parts: Parts) -> TrainerOfTrl:
    """The trainer around a model, an adapter and token rows."""
    made: Any = Trainer(
        model=parts.model,
        args=sft_config(parts.recipe, parts.device, parts.folder),
        train_dataset=to_dataset(parts.rows, parts.recipe.data),
        processing_class=parts.tokenizer,
        peft_config=lora_config(parts.recipe, parts.model),
    )
    made.remove_callback(PrinterCallback)
    return made


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
