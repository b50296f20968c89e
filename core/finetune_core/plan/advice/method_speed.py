"""How fast a method trains a model on a machine, before there is a recipe or a row."""

from __future__ import annotations

from typing import Final

from finetune_core.hardware.look import Gpu, Hardware
from finetune_core.models.facts import ModelFacts
from finetune_core.plan.advice.fits import METHODS, USUAL_LENGTH, Verdict
from finetune_core.plan.advice.float16 import demands_float32
from finetune_core.plan.situation import Situation
from finetune_core.plan.speed.calibration import remembered
from finetune_core.plan.speed.estimate import speed
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe

# In a step.
_SEQUENCES: Final = 8


def method_speed(model: ModelFacts, found: Verdict, hardware: Hardware, gpu: Gpu | None) -> float | None:
    """Tokens a second of a usual run: packed sequences of 2048 tokens, or of what fits, eight to a step.

    None where the method does not fit, or model or device are unknown. `gpu` is None on the CPU.
    """
    if found.length is None:
        return None
    values = {
        **METHODS[found.method],
        "model.dtype": _dtype(model, gpu),
        "data.max_length": min(USUAL_LENGTH, found.length),
        "data.packing": "bfd",
        "training.micro_batch": 1,
        "training.accumulation": _SEQUENCES,
        "training.activation_checkpointing": found.checkpointing,
    }
    device, gpus = ("cpu", ()) if gpu is None else ("cuda", (gpu,))
    now = Situation(with_values(Recipe(), values), hardware, model, None, device, gpus, "")
    expected = speed(now, None, remembered(now))
    return None if expected is None else expected.tokens_per_s.mid


def _dtype(model: ModelFacts, gpu: Gpu | None) -> str:
    if gpu is None:
        return "float32"
    if gpu.bf16:
        return "bfloat16"
    return "float32" if demands_float32(model.model_type) else "float16"
