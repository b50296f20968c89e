"""Families of models whose numbers leave float16's range, and what is done about it where a GPU has no bfloat16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from finetune_core.errors import Problem
from finetune_core.hardware.look import Gpu
from finetune_core.plan.situation import Situation
from finetune_core.text import one_line

# Cards that compute in bfloat16 and are easy to rent or buy; compute capability 8.0 and newer (see `hardware.nvml`).
_CARDS: Final = "an RTX 3060, L4 or A10, or any card of the RTX 30 series or newer"


@dataclass(frozen=True)
class Overflow:
    """What is known of a family in float16, whose largest number is 65,504.

    `families` are beginnings of `model_type` in a model's config; with `exact`, whole ones. `measured` says that
    training was seen to fail with activations or gradients that are infinite or no numbers; else people report it, and
    others train the same family without a fault.
    """

    families: tuple[str, ...]
    measured: bool
    why: str
    source: str
    exact: bool = False


OVERFLOWS: Final = (
    Overflow(("gemma3",), True, "activations reach 800,000", "transformers issue 36822, unsloth pull request 4014"),
    Overflow(("gemma4", "qwen3_moe", "glm4_moe"), True, "gradients overflow", "unsloth-zoo pull request 866"),
    Overflow(("gpt_oss", "qwen3_5"), True, "activations or gradients overflow", "unsloth's list FORCE_FLOAT32"),
    Overflow(("qwen2",), False, "losses became NaN for some", "QwenLM/Qwen3 issues 670 and 868", exact=True),
    Overflow(("gemma", "gemma2"), False, "losses became NaN for some", "gemma_pytorch issues 10 and 24", exact=True),
)  # fmt: skip


def overflow(model_type: str | None) -> Overflow | None:
    """What is known of models of this type in float16; None where nothing speaks against it."""
    if not model_type:
        return None
    return next((one for one in OVERFLOWS if _is_of(model_type, one)), None)


def _is_of(model_type: str, found: Overflow) -> bool:
    return model_type in found.families if found.exact else model_type.startswith(found.families)


def without_bfloat16(now: Situation) -> Gpu | None:
    """The first of the run's GPUs that does not compute in bfloat16; None where all do, and on a CPU."""
    return next((gpu for gpu in now.gpus if not gpu.bf16), None)


def demands_float32(model_type: str | None) -> bool:
    """Whether models of this type need float32 on a GPU without bfloat16."""
    found = overflow(model_type)
    return found is not None and found.measured


def float32_reason(now: Situation, gpu: Gpu) -> str | None:
    """Why this model is computed in float32 on a GPU without bfloat16; None where float16 holds its numbers."""
    found = overflow(now.model.model_type)
    if found is None or not demands_float32(now.model.model_type):
        return None
    return (
        f"{gpu.name} does not compute in bfloat16, and in float16 {_family(now)} overflows: {found.why}"
        f" ({found.source})"
    )


def overflow_warning(now: Situation) -> Problem | None:
    """What float16, or float32 in its place, means for this model; None where nothing speaks against the format."""
    found, gpu = overflow(now.model.model_type), without_bfloat16(now)
    if found is None or now.device != "cuda":
        return None
    if now.recipe.model.dtype == "float16":
        return _in_float16(now, found, gpu)
    if now.recipe.model.dtype == "float32" and gpu is not None and found.measured:
        return Problem(
            f"{_family(now)} is computed in float32 on {gpu.name}, several times slower than in 16 bits",
            "model.dtype",
            f"the GPU has no bfloat16, and in float16 {found.why} ({found.source})",
            f"to train it in 16 bits, take {_CARDS}",
        )
    return None


def _in_float16(now: Situation, found: Overflow, gpu: Gpu | None) -> Problem:
    fault = "overflows in float16" if found.measured else "is reported to overflow in float16"
    if gpu is None:
        remedy = "set it to auto: this GPU computes in bfloat16"
    elif found.measured:
        remedy = f"set it to auto, which computes in float32 here, or take {_CARDS}"
    else:
        remedy = f"watch the loss: where it becomes NaN, set model.dtype to float32, or take {_CARDS}"
    return Problem(f"{_family(now)} {fault}", "model.dtype", f"{found.why} ({found.source})", remedy)


def _family(now: Situation) -> str:
    return f"a model of type {one_line(now.model.model_type or '', 40)}"
