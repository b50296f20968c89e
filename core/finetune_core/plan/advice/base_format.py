"""The form of the base where it is on auto: quantisation, and float32 weights of full fine-tuning."""

from __future__ import annotations

from typing import Final

from finetune_core.plan.advice.batch import busy, smallest
from finetune_core.plan.advice.margin import margin
from finetune_core.plan.memory.estimate import MemoryEstimate, estimate
from finetune_core.plan.situation import Choice, Situation
from finetune_core.recipe.check import with_values
from finetune_core.text import memory_text, one_line

_METHOD: Final = "quantization.method"
_WIDE: Final = "training.float32_weights"
_KEPT: Final = ", the adapter and its optimiser's states in float32 included"


def advise_weights(now: Situation) -> list[Choice]:
    """Whether full fine-tuning keeps float32 weights beside 16-bit products: where they fit."""
    recipe = now.recipe
    if recipe.training.float32_weights is not None:
        return []
    if recipe.adapter.kind != "none":
        return [Choice(_WIDE, False, "the base is frozen, and only full fine-tuning trains its weights")]
    if recipe.model.dtype == "float32":
        return [Choice(_WIDE, False, "nothing is in 16 bits here")]
    return [Choice(_WIDE, *_wide(now))]


def _wide(now: Situation) -> tuple[bool, str]:
    lost = "in 16 bits an update of less than a 512th of a weight is rounded away"
    recipe = with_values(now.recipe, {_WIDE: True, **smallest(now)})
    need = estimate(now.model, recipe, now.device)
    if need is None:
        return False, f"the shapes of the model are unknown until it is on this machine; {lost}"
    words = f"{memory_text(need.total)} at least, and {memory_text(now.free_memory)} of {now.memory_name} are free"
    if need.total <= now.free_memory - margin(now.free_memory):
        return True, f"{lost}; float32 weights need {words}"
    spare = memory_text(margin(now.free_memory))
    tight = f", of which {spare} should stay free" if need.total <= now.free_memory else ""
    return False, f"float32 weights need {words}{tight}; but {lost}: LoRA, or a smaller model, learns more surely"


def advise_quantisation(now: Situation) -> list[Choice]:
    """Whether the base is compressed: only where it does not fit otherwise."""
    if now.recipe.quantization.method != "auto":
        return []
    value, reason = _method(now)
    return [Choice(_METHOD, value, reason)]


def _method(now: Situation) -> tuple[str, str]:
    if now.recipe.adapter.kind == "none":
        return "none", "compressed weights are frozen, and every weight is trained"
    if now.model.quantized is not None:
        return "none", f"the model comes compressed already ({one_line(now.model.quantized, 40)})"
    whole, packed = least_need(now, "none"), least_need(now, "nf4")
    at_work = _need(now, "none", busy(now))
    if whole is None or packed is None or at_work is None:
        return "none", "the shapes of the model are unknown until it is on this machine"
    free = f"{memory_text(now.free_memory)} of {now.memory_name} are free"
    spare = memory_text(margin(now.free_memory))
    if has_room(now, "none"):
        words = f"it needs {memory_text(at_work.total)}, {free}, and {spare} should stay free"
        return "none", f"the base fits as it is ({words}), and steps are faster so"
    need, fits = memory_text(whole.total), whole.total <= now.free_memory
    if packed.total >= whole.total:
        return "none", f"in 4 bits it would need no less: {need} at least, and {free}"
    if packed.total > now.free_memory:
        return "nf4", f"the smallest form, and even so {memory_text(packed.total)} are needed, where {free}"
    in_4_bits = f"in 4 bits {memory_text(packed.total)}{_KEPT}"
    if not fits:
        return "nf4", f"as it is the base needs {need} at least, and {free}; {in_4_bits}"
    roomy = f"as it is the base needs {memory_text(at_work.total)} with micro-batches that keep the device busy"
    return "nf4", f"{roomy}, {free}, and {spare} should stay free; {in_4_bits}"


def least_need(now: Situation, method: str) -> MemoryEstimate | None:
    """What the run needs with the base in this form and the smallest layout; None where that is unknown."""
    return _need(now, method, smallest(now))


def has_room(now: Situation, method: str) -> bool:
    """Whether the base in this form leaves the margin free: in 16 bits with micro-batches that keep the device busy."""
    need = _need(now, method, busy(now) if method == "none" else smallest(now))
    return need is None or need.total <= now.free_memory - margin(now.free_memory)


def _need(now: Situation, method: str, layout: dict[str, object]) -> MemoryEstimate | None:
    return estimate(now.model, with_values(now.recipe, {_METHOD: method, **layout}), now.device)
