"""Where a recipe runs: on which GPUs, or on the CPU, and why."""

from __future__ import annotations

from finetune_core.errors import FtError, Problem
from finetune_core.hardware.look import Gpu, Hardware
from finetune_core.recipe.schema import Recipe
from finetune_core.text import memory_text, one_line


def choose_device(recipe: Recipe, hardware: Hardware) -> tuple[str, tuple[Gpu, ...], str]:
    """Device (`cuda` or `cpu`), its GPUs (none on the CPU), and the reason in words.

    Raises FtError when a GPU is asked for and there is none, or when GPUs are named that are not there.
    """
    asked = recipe.hardware
    if asked.device == "cpu":
        return "cpu", (), "the recipe asks for the CPU"
    if not hardware.gpus:
        if asked.device == "cuda" or asked.gpus:
            raise FtError(_no_gpu(hardware))
        # The first sentence says why; what to do about it is shown with the hardware.
        return "cpu", (), f"no GPU can be used: {(hardware.problem or 'none was found').partition('. ')[0].rstrip('.')}"
    if asked.gpus:
        return "cuda", _named(asked.gpus, hardware.gpus), "the recipe names the GPUs"
    if hardware.elsewhere:
        gpu = hardware.gpus[0]
        return "cuda", (gpu,), f"planned for {gpu.name}, with {memory_text(gpu.memory_free)} of memory free"
    freest = max(hardware.gpus, key=lambda gpu: (gpu.memory_free, -gpu.index))
    why = f"GPU {freest.index} ({freest.name}) has the most free memory: {memory_text(freest.memory_free)}"
    return "cuda", (freest,), why


def _no_gpu(hardware: Hardware) -> Problem:
    return Problem(
        "the recipe asks for a GPU, and none can be used",
        where="hardware.device",
        why=hardware.problem or "no GPU was found",
        remedy="Make the GPU visible (`nvidia-smi` must list it), or set `hardware: {device: cpu, gpus: []}`.",
    )


def _named(names: list[str], gpus: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    found: list[Gpu] = []
    problems: list[Problem] = []
    for name in names:
        matches = [gpu for gpu in gpus if name in {str(gpu.index), gpu.uuid}]
        if len(matches) == 1:
            found += [gpu for gpu in matches if gpu not in found]
        else:
            problems.append(_bad_name(name, matches, gpus))
    if problems:
        raise FtError(problems)
    return tuple(found)


def _bad_name(name: str, matches: list[Gpu], gpus: tuple[Gpu, ...]) -> Problem:
    shown = one_line(name, 60)
    what = f"`{shown}` names several MIG slices" if matches else f"there is no GPU `{shown}`"
    listed = "; ".join(f"{gpu.index} = {gpu.name}, {gpu.uuid}" for gpu in matches or gpus)
    return Problem(
        what,
        where="hardware.gpus",
        why=f"This machine has: {listed}",
        remedy="Give an index or a UUID from this list, or leave `gpus` empty for the freest one.",
    )
