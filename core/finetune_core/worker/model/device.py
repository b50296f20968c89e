"""Where this process computes: the device, its number formats, and how many CPU threads it takes."""

from __future__ import annotations

import os
from dataclasses import dataclass

import psutil
import torch

from finetune_core.errors import FtError, problem
from finetune_core.hardware.meter import host_memory
from finetune_core.recipe.schema import Recipe
from finetune_core.text import one_line

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
_SMALL = 5_000_000


@dataclass(frozen=True)
class Device:
    """The device of the run.

    `dtype` is the format of the weights in memory; `autocast` is the format matrix products are computed in
    (None: that of the weights). `memory_total` is in bytes: the GPU's, or the host's on a CPU run.
    """

    kind: str
    name: str
    dtype: torch.dtype
    autocast: torch.dtype | None
    gpu_uuids: tuple[str, ...]
    memory_total: int

    @property
    def torch(self) -> torch.device:
        """The device as torch names it."""
        return torch.device("cuda", 0) if self.kind == "cuda" else torch.device("cpu")


def choose(recipe: Recipe) -> Device:
    """The device the recipe asks for, checked against what torch sees in this process. Raises FtError."""
    kind = recipe.hardware.device
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = _dtype(recipe, kind)
    return _cuda(recipe, dtype) if kind == "cuda" else _cpu(recipe, dtype)


def _dtype(recipe: Recipe, kind: str) -> torch.dtype:
    if recipe.model.dtype != "auto":
        return _DTYPES[recipe.model.dtype]
    if kind == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_available() and torch.cuda.is_bf16_supported(False) else torch.float16


def _cuda(recipe: Recipe, dtype: torch.dtype) -> Device:
    if not torch.cuda.is_available():
        raise problem(
            "no CUDA device can be used",
            where="hardware.device",
            why=f"torch {torch.__version__} sees none{_asked()} (built for CUDA {torch.version.cuda or 'none'})",
            remedy="run `ft-tui doctor`, or set hardware.device to cpu",
        )
    if torch.cuda.device_count() > 1:
        raise problem(
            f"{torch.cuda.device_count()} GPUs are visible to one process",
            where="hardware.gpus",
            why="this version trains on one GPU",
            remedy="name one GPU in hardware.gpus",
        )
    if dtype == torch.bfloat16 and not torch.cuda.is_bf16_supported(False):
        raise _no_bfloat16(torch.cuda.get_device_name(0))
    properties = torch.cuda.get_device_properties(0)
    return Device(
        kind="cuda",
        name=properties.name,
        dtype=_kept_in(recipe, dtype),
        autocast=None if dtype == torch.float32 else dtype,
        gpu_uuids=(_uuid(recipe, str(properties.uuid)),),
        memory_total=properties.total_memory,
    )


def _kept_in(recipe: Recipe, dtype: torch.dtype) -> torch.dtype:
    """The format of the weights in memory where products are computed in `dtype`.

    Those of a fully tuned float16 model are float32 always: their gradients could not be unscaled otherwise.
    """
    if recipe.adapter.kind != "none":
        return dtype
    return torch.float32 if dtype == torch.float16 or recipe.training.float32_weights else dtype


def _asked() -> str:
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if named is None else f" of `{one_line(named, 80)}`, which CUDA_VISIBLE_DEVICES names"


def _uuid(recipe: Recipe, seen: str) -> str:
    """The name NVML knows the GPU by: the recipe's own, since torch does not distinguish a MIG slice from a GPU."""
    named = [gpu for gpu in recipe.hardware.gpus if gpu.startswith(("GPU-", "MIG-"))]
    return named[0] if named else f"GPU-{seen}"


def _no_bfloat16(name: str) -> FtError:
    return problem(
        f"{name} does not compute in bfloat16",
        where="model.dtype",
        why="bfloat16 needs compute capability 8.0 or newer",
        remedy="set model.dtype to float16",
    )


def _cpu(recipe: Recipe, dtype: torch.dtype) -> Device:
    if dtype == torch.float16:
        raise problem(
            "float16 cannot be trained on a CPU",
            where="model.dtype",
            why="its gradients underflow, and loss scaling exists on GPUs only",
            remedy="set model.dtype to float32 or bfloat16",
        )
    return Device(
        kind="cpu",
        name="CPU",
        dtype=_kept_in(recipe, dtype),
        autocast=dtype if dtype == torch.bfloat16 else None,
        gpu_uuids=(),
        memory_total=host_memory(os.getpid())[1],
    )


def set_threads(parameters: int | None) -> None:
    """Give torch a CPU thread for each physical core this process may use, or one for a small model.

    `parameters` is the base's number of parameters, None when unknown. A small model's products are so short that
    two threads mostly wait for each other: on a busy 2-core machine a step of the demo took 4 s instead of 0.05 s.
    OMP_NUM_THREADS, where set, is obeyed.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    allowed = len(os.sched_getaffinity(0))
    cores = max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))
    torch.set_num_threads(1 if parameters is not None and parameters < _SMALL else cores)
