"""What makes steps faster without changing what is trained; what cannot be had is left out, with its reason."""

from __future__ import annotations

import importlib.util
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

import torch
from peft.tuners.lora.layer import LoraLayer
from transformers import PreTrainedModel

from finetune_core.plan.memory.attention import attention_used
from finetune_core.recipe.schema import Recipe
from finetune_core.text import one_line
from finetune_core.worker.failures import ran_out_of_memory
from finetune_core.worker.model.attention import VARLEN, register
from finetune_core.worker.model.device import Device
from finetune_core.worker.model.row_isolation import Autocast, packed_otherwise, rows_alone

ON: Final = "on"
_FLASH: Final = "flash_attention_2"


@dataclass(frozen=True)
class Attention:
    """How attention is computed: `on` as asked for, or why it is another. `together`: why rows cannot be packed."""

    how: str
    together: str | None = None


def set_attention(
    model: PreTrainedModel, recipe: Recipe, device: Device, autocast: Autocast = nullcontext, longest: int = 0
) -> Attention:
    """Choose how attention is computed, before adapters are put on.

    Where rows of up to `longest` tokens are packed, what is asked for is tried with rows packed and alone, and after it
    the model's own: no other than one under which they come out the same is taken.
    """
    wanted = attention_used(recipe, model.config.model_type, device.kind)
    if recipe.data.packing == "none":
        # Without packed rows there is nothing that varlen would do otherwise.
        return Attention(_said(model, _use(model, "sdpa" if wanted == "varlen" else wanted, device)))
    own = model.config._attn_implementation
    try:
        alone = rows_alone(model, longest, autocast)
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        return Attention(ON, one_line(f"{type(error).__name__}: {error}", 200))
    why = _use(model, wanted, device) or packed_otherwise(model, alone, autocast)
    if why is None:
        return Attention(ON)
    model.set_attn_implementation(own)
    return Attention(_said(model, why), packed_otherwise(model, alone, autocast))


def _use(model: PreTrainedModel, wanted: str, device: Device) -> str | None:
    """Switch to this attention; why not, where it cannot be had."""
    if wanted == "varlen":
        return _no_kernel(device) or _switch_to_varlen(model)
    if wanted == "flash":
        return _no_flash(device) or _switch(model, _FLASH)
    return _switch(model, wanted)


def _said(model: PreTrainedModel, why: str | None) -> str:
    return ON if why is None else one_line(f"{why}; {model.config._attn_implementation} instead", 300)


def _switch_to_varlen(model: PreTrainedModel) -> str | None:
    register()
    try:
        model.set_attn_implementation(VARLEN)
    except Exception as error:  # noqa: BLE001 - whatever the architecture cannot do is a reason to leave it out
        return one_line(f"{type(error).__name__}: {error}", 200)
    return None


def dropped(model: PreTrainedModel) -> str | None:
    """That attention drops nothing although the base's config asks for it; None where nothing is asked for."""
    values = {**vars(model.config), **vars(model.config.get_text_config())}
    rates = [v for name, v in values.items() if "drop" in name and "att" in name and isinstance(v, float) and v > 0]
    if not rates or model.config._attn_implementation != VARLEN:
        return None
    return f"0 where the base's config has {max(rates):g}: the kernel for packed rows drops nothing"


def _no_kernel(device: Device) -> str | None:
    """Why torch's variable-length kernel cannot be used here; on a CPU rows are computed one by one."""
    if device.kind == "cpu":
        return None
    if (device.autocast or device.dtype) == torch.float32:
        return "the kernel for packed rows computes in 16 bits only"
    if torch.cuda.get_device_capability(0) < (8, 0):
        return "the kernel for packed rows needs compute capability 8.0 or newer"
    return None


def _no_flash(device: Device) -> str | None:
    if device.kind == "cpu":
        return "flash-attn computes on GPUs only"
    return None if importlib.util.find_spec("flash_attn") else "flash-attn is not installed"


def _switch(model: PreTrainedModel, name: str) -> str | None:
    now = model.config._attn_implementation
    if now == name:
        return None
    if now == "eager" and name == "sdpa":
        # transformers takes sdpa wherever an architecture has it; forced on another it fails at the first step.
        return "the architecture computes its attention itself"
    try:
        model.set_attn_implementation(name)
    except (ValueError, ImportError, KeyError) as error:
        return one_line(str(error), 200)
    return None


def set_precision(device: Device) -> None:
    """Let float32 products of a GPU use its tensor cores (TF32): 10 bits of mantissa, as bfloat16 has 7."""
    if device.kind == "cuda":
        torch.set_float32_matmul_precision("high")


def spare_casts(model: torch.nn.Module, device: Device) -> str | None:
    """Let adapters take their inputs as they are where autocast casts them anyway: bit for bit the same, and faster.

    Gives `on`, or None where there is nothing to spare.
    """
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    if device.autocast is None or not layers:
        return None
    for layer in layers:
        layer.cast_input_dtype_enabled = False
    return ON


def compile_layers(model: torch.nn.Module, recipe: Recipe, no_triton: str | None) -> str | None:
    """Compile each decoder layer in place; gives `on`, or why not, or None when it is not asked for.

    What cannot be compiled after all runs as it is: compilers fail at the first step, when it is too late to choose.
    """
    if not recipe.training.compile:
        return None
    if no_triton is not None:
        return no_triton
    found = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module) > 1]
    if not found:
        return "its layers were not found"
    torch._dynamo.config.suppress_errors = True
    for layer in found[0]:
        # Packed rows come in many lengths; a program for each would be compiled for longer than it runs.
        layer.compile(dynamic=True)
    return ON
