"""What a GPU is too old for, of what bitsandbytes computes: said before the start rather than by a failing kernel."""

from __future__ import annotations

from finetune_core.errors import Problem
from finetune_core.hardware.torch_builds import INT8_CAPABILITY, NF4_CAPABILITY
from finetune_core.plan.situation import Situation


def floor_warning(now: Situation) -> Problem | None:
    """The setting that the run's GPU cannot compute; None where it can, or where that is not known."""
    recipe = now.recipe
    field, value = "quantization.method", str(recipe.quantization.method)
    if value not in {"int8", "nf4"}:
        field, value = "training.optimizer", str(recipe.training.optimizer)
    if value not in {"int8", "nf4", "adamw_8bit"}:
        return None
    floor = INT8_CAPABILITY if value == "int8" else NF4_CAPABILITY
    old = next((gpu for gpu in now.gpus if gpu.compute_capability is not None and gpu.compute_capability < floor), None)
    if old is None:
        return None
    wanted, there = (".".join(map(str, version)) for version in (floor, old.compute_capability or ()))
    return Problem(
        f"{value} does not compute on {old.name}",
        where=field,
        why=f"bitsandbytes computes it from compute capability {wanted} on, and this GPU has {there}",
        remedy="set another value, or name another GPU in hardware.gpus",
    )
