"""The base model, in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from finetune_core.models.config import check_folder
from finetune_core.models.trust import is_trusted
from finetune_core.models.weights import read_weights
from finetune_core.recipe.schema import Recipe
from finetune_core.worker.foreign_code import use_private_modules
from finetune_core.worker.model.device import Device


def load_model(path: Path, recipe: Recipe, device: Device) -> PreTrainedModel:
    """The base model on its device, quantised where the recipe says so; no pickles, and no code without consent.

    Raises FtError for a folder that asks for either.
    """
    check_folder(path)
    # Looks at the headers only, and names a pickle or a file that is cut off.
    read_weights(path)
    use_private_modules()
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        str(path),
        dtype=device.dtype,
        device_map={"": device.torch},
        local_files_only=True,
        trust_remote_code=is_trusted(path),
        use_safetensors=True,
        **_quantization(recipe, device),
    )
    # Not only where the recipe quantises: a base may come in 4 bits.
    if getattr(model, "is_loaded_in_4bit", False):
        keep_packed(model, device.autocast or device.dtype)
    return model


def _quantization(recipe: Recipe, device: Device) -> dict[str, Any]:
    if not recipe.quantization.packed:
        return {}
    from transformers import BitsAndBytesConfig

    if recipe.quantization.method == "int8":
        settings: dict[str, Any] = {"load_in_8bit": True}
    else:
        settings = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": recipe.quantization.double,
            # bitsandbytes computes in float32 unless asked otherwise.
            "bnb_4bit_compute_dtype": device.autocast or device.dtype,
        }
    return {"quantization_config": BitsAndBytesConfig(**settings)}  # type: ignore[no-untyped-call]


def keep_packed(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Let 4-bit layers compute in `dtype`, whatever the base's config says, and forbid repacking for AVX512-BF16.

    That happens on the first forward pass in evaluation mode, and afterwards gradients through these layers are
    None without a word (bitsandbytes 0.50, CPU).
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
            module.compute_dtype, module.compute_type_is_set = dtype, True


def parameter_counts(model: torch.nn.Module) -> tuple[int, int]:
    """All parameters and the trainable ones; a packed 4-bit weight counts as what it stands for."""
    total = trainable = 0
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        count = state.shape.numel() if state is not None else parameter.numel()
        total += count
        trainable += count if parameter.requires_grad else 0
    return total, trainable
