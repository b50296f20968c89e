"""Whether torch computes on the GPUs of this machine, tried once by each program in a process of its own."""

from __future__ import annotations

import threading
import time
from typing import Final

from finetune_core.child_messages import run_child
from finetune_core.errors import FtError
from finetune_core.hardware.installed_torch import TorchBuild, installed_torch
from finetune_core.hardware.look import Hardware
from finetune_core.hardware.torch_fit import NOT_TRIED, Tried

# Importing torch from a slow disk takes most of it.
_PATIENCE_SECONDS: Final = 90.0
_lock = threading.Lock()
_known: dict[tuple[object, ...], Tried] = {}


def try_kernel(hardware: Hardware) -> Tried:
    """Compute something tiny on each GPU; takes seconds the first time, and gives what was found then afterwards.

    Nothing is tried without GPUs, or with a torch that was built for the CPU alone.
    """
    build = installed_torch()
    if not hardware.gpus or build is None or (build.cuda is None and build.hip is None):
        return NOT_TRIED
    key = (hardware.driver, *sorted(gpu.uuid for gpu in hardware.gpus))
    with _lock:
        if key not in _known:
            _known[key] = _tried(build)
        return _known[key]


def _tried(build: TorchBuild) -> Tried:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    try:
        found = run_child(
            "finetune_core.worker.gpu_check", (), lambda _message: None, lambda: time.monotonic() > deadline
        )
    except FtError as error:
        return Tried(problem=f"torch {build.version} cannot be asked: {error.problems[0].why}")
    if found is None:
        return Tried(problem=f"torch {build.version} gave no answer within {_PATIENCE_SECONDS:.0f} s")
    return Tried(failures=found["failures"], problem=found["problem"])
