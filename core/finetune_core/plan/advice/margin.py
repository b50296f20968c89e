"""How much of the free memory a plan leaves free before it takes the faster of two ways."""

from __future__ import annotations

from typing import Final

from finetune_core.recipe.schema import Recipe

_GIB: Final = 2**30
# What the allocator cannot use of its gaps was 6-32 % of the peak in runs that others published (fitcheck-llm, five
# runs on a T4), of which the estimate reserves 7 %; reserved memory on the nearest stack was 4-17 % above the estimate
# (Axolotl's examples of 24B and 31B). On a card with a desktop a window takes 0.1 GiB.
_SHARE: Final = 0.05
_LEAST: Final = _GIB // 2
# NF4 that keeps its activations has not been measured on a GPU in this stack. Lightning's published figures for it
# (litgpt, tutorials/resource-tables.md and config_hub/finetune/README.md) lie 2-3 GB above the estimate on cards of
# 12 to 48 GB; with micro-batch and layers the difference grows, and so does the margin on a larger card.
_UNMEASURED_SHARE: Final = 0.12
_UNMEASURED_LEAST: Final = 3 * _GIB


def margin(free: int) -> int:
    """Bytes of `free` ones that a plan leaves free: 5 % or 0.5 GiB, whichever is more."""
    return max(int(_SHARE * free), _LEAST)


def margin_of(recipe: Recipe, free: int, device: str) -> int:
    """The margin of a recipe's layout: 12 % or 3 GiB for NF4 that keeps its activations on a GPU."""
    if unmeasured(recipe, device):
        return max(int(_UNMEASURED_SHARE * free), _UNMEASURED_LEAST)
    return margin(free)


def unmeasured(recipe: Recipe, device: str) -> bool:
    """Whether the layout is one whose memory no run on a GPU has confirmed: NF4 without activation checkpointing."""
    kept = recipe.training.activation_checkpointing is False
    return device == "cuda" and kept and recipe.quantization.method == "nf4"


def tight(need: int, free: int) -> bool:
    """Whether a run that fits leaves less than the margin free."""
    return free - margin(free) < need <= free
