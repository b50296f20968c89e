"""The form of the base where it is on auto: quantisation, and float32 weights of full fine-tuning."""

from __future__ import annotations

from typing import Final

from ft_core.plan.batching import SMALLEST
from ft_core.plan.facts import Choice, Situation
from ft_core.plan.memory import MemoryEstimate, estimate
from ft_core.recipe.check import with_values
from ft_core.text import memory_text, one_line

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
    recipe = with_values(now.recipe, {_WIDE: True, **_given(now)})
    need = estimate(now.model, recipe, now.device)
    if need is None:
        return False, f"the shapes of the model are unknown until it is on this machine; {lost}"
    words = f"{memory_text(need.total)} at least, and {memory_text(now.free_memory)} of {now.memory_name} are free"
    if need.total <= now.free_memory:
        return True, f"{lost}; float32 weights need {words}"
    return False, f"float32 weights need {words}; but {lost}: LoRA, or a smaller model, learns more surely"


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
    if whole is None or packed is None:
        return "none", "the shapes of the model are unknown until it is on this machine"
    free = f"{memory_text(now.free_memory)} of {now.memory_name} are free"
    need = memory_text(whole.total)
    if whole.total <= now.free_memory:
        return "none", f"the base fits as it is (it needs {need} at least, {free}), and steps are faster so"
    if packed.total <= now.free_memory:
        return (
            "nf4",
            f"as it is the base needs {need} at least, and {free}; in 4 bits {memory_text(packed.total)}{_KEPT}",
        )
    return "nf4", f"the smallest form, and even so {memory_text(packed.total)} are needed, where {free}"


def least_need(now: Situation, method: str) -> MemoryEstimate | None:
    """What the run needs with the base in this form and the smallest layout; None where that is unknown."""
    recipe = with_values(now.recipe, {_METHOD: method, **_given(now)})
    return estimate(now.model, recipe, now.device)


def _given(now: Situation) -> dict[str, object]:
    """The smallest layout, as far as the user has not chosen another."""
    return {field: value for field, value in SMALLEST.items() if now.recipe.get(field) is None}
