"""A GPU that others compute on, by NVML's list of processes: seen where no lock is shared, as from a container."""

from __future__ import annotations

from typing import Final

from finetune_core.errors import Problem
from finetune_core.hardware.look import GpuProcess
from finetune_core.plan.situation import Situation
from finetune_core.text import memory_text

# A desktop and its windows take less.
_WORTH_NAMING: Final = 2**29
_SHOWN: Final = 3


def occupied_warning(now: Situation) -> Problem | None:
    """Who takes memory of the GPUs a run is for; None when nobody takes much."""
    found = [(gpu, one) for gpu in now.gpus for one in gpu.processes if _much(one)]
    if not found:
        return None
    gpu = found[0][0]
    users = "; ".join(_words(one) for _, one in found[:_SHOWN])
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return Problem(
        f"others compute on GPU {gpu.index}",
        where="hardware.gpus",
        why=f"{users}{more}",
        remedy="wait for them, or name another GPU in hardware.gpus: what they take later, this run lacks",
    )


def _much(process: GpuProcess) -> bool:
    return process.memory_bytes is None or process.memory_bytes >= _WORTH_NAMING


def _words(process: GpuProcess) -> str:
    """`user ada, train.py (pid 4711), 12 GiB`; of another container only the number is known."""
    who = f"user {process.user}" if process.user else "a user outside this container"
    name = f", {process.name}" if process.name else ""
    memory = f", {memory_text(process.memory_bytes)}" if process.memory_bytes is not None else ""
    return f"{who}{name} (pid {process.pid}){memory}"
