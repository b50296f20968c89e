"""What this machine has: GPUs through NVML, host, disk. "Not available" is a value, never an exception."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from finetune_core.hardware.host import Host, look_at_host
from finetune_core.hardware.installed_torch import installed_torch
from finetune_core.hardware.nvml import FIRST_BF16_CAPABILITY, Nvml, NvmlUnavailable, PyNvml
from finetune_core.hardware.other_cards import WSL_DRIVER, in_wsl, other_card
from finetune_core.text import one_line

__all__ = ["Gpu", "GpuProcess", "Hardware", "Host", "look"]

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_NAME_LIMIT = 80


@dataclass(frozen=True)
class GpuProcess:
    """A process on a GPU.

    User and name are None when it belongs to another container, memory where the driver does not report it.
    """

    pid: int
    user: str | None
    name: str | None
    memory_bytes: int | None


@dataclass(frozen=True)
class Gpu:
    """A GPU or MIG slice: bytes, percent, degrees Celsius, watts; None where the driver does not report it."""

    index: int
    uuid: str
    name: str
    memory_total: int
    memory_used: int
    memory_free: int
    processes: tuple[GpuProcess, ...]
    compute_capability: tuple[int, int] | None
    bf16: bool
    utilisation: int | None
    temperature: int | None
    power_watts: float | None
    power_limit_watts: float | None


@dataclass(frozen=True)
class Hardware:
    """The whole machine. `problem` says in words why no GPU is seen; `cuda` is the newest the driver supports.

    `elsewhere`: its GPU stands in another machine, of which host and disk say nothing.
    """

    gpus: tuple[Gpu, ...]
    driver: str | None
    cuda: str | None
    problem: str | None
    host: Host
    elsewhere: bool = False


def look(nvml: Nvml | None = None) -> Hardware:
    """Look at the machine; never raises. GPUs hidden by CUDA_VISIBLE_DEVICES are not listed: CUDA cannot use them."""
    host = look_at_host()
    library = nvml or PyNvml()
    try:
        library.open()
    except NvmlUnavailable as error:
        return Hardware((), None, None, _without_nvidia(str(error)), host)
    try:
        return _with_gpus(library, host)
    finally:
        library.close()


def _without_nvidia(why: str) -> str:
    """Why no GPU is seen: another maker's card is named first, and in WSL where its driver belongs."""
    other = other_card(installed_torch())
    if other is not None:
        return other
    return f"{why} {WSL_DRIVER}" if in_wsl() else why


def _with_gpus(nvml: Nvml, host: Host) -> Hardware:
    every = tuple(gpu for uuid in nvml.uuids() if (gpu := _gpu(nvml, uuid, host)) is not None)
    gpus = _visible(every, os.environ.get(_VISIBLE))
    problem = None
    if not every:
        problem = "The NVIDIA driver runs but sees no GPU. Check the card with `nvidia-smi`; training runs on the CPU."
    elif not gpus:
        problem = f"{_VISIBLE} hides every GPU of this machine. Unset it to train on a GPU; training runs on the CPU."
    return Hardware(gpus, nvml.driver(), nvml.cuda(), problem, host)


def _gpu(nvml: Nvml, uuid: str, host: Host) -> Gpu | None:
    identity = nvml.identity(uuid)
    if identity is None:
        return None
    load = nvml.load(uuid)
    # GPUs that share the host's memory (GB10, Jetson) report no figures of their own.
    total = host.memory_total if load.memory_total is None else load.memory_total
    free = host.memory_available if load.memory_free is None else load.memory_free
    capability = identity.compute_capability
    return Gpu(
        index=identity.index,
        uuid=uuid,
        name=one_line(identity.name, _NAME_LIMIT),
        memory_total=total,
        memory_used=max(0, total - free),
        memory_free=free,
        processes=tuple(process_on_gpu(pid, memory) for pid, memory in nvml.processes(uuid)),
        compute_capability=capability,
        bf16=capability is not None and capability >= FIRST_BF16_CAPABILITY,
        utilisation=load.utilisation,
        temperature=load.temperature,
        power_watts=load.power_watts,
        power_limit_watts=nvml.power_limit(uuid),
    )


def _visible(gpus: tuple[Gpu, ...], setting: str | None) -> tuple[Gpu, ...]:
    """Those CUDA would show: numbers or beginnings of UUIDs, up to the first one that is not there."""
    if setting is None:
        return gpus
    shown: list[Gpu] = []
    for word in (part.strip() for part in setting.split(",")):
        found = [gpu for gpu in gpus if word and (word == str(gpu.index) or gpu.uuid.startswith(word))]
        if not found:
            break
        shown += [gpu for gpu in found if gpu not in shown]
    return tuple(shown)


def process_on_gpu(pid: int, memory: int | None) -> GpuProcess:
    """A process with its user and its name, as far as this user may know them."""
    import psutil

    user = name = None
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        with contextlib.suppress(psutil.Error, OSError, KeyError):
            user = one_line(process.username(), _NAME_LIMIT)
        name = _short_name(process.cmdline()) or one_line(process.name(), _NAME_LIMIT)
    return GpuProcess(pid, user, name, memory)


def _short_name(command: list[str]) -> str | None:
    """`python train.py` rather than `python3.11`: people know their jobs by the script."""
    words = [Path(word).name if "/" in word else word for word in command[:3] if word]
    return one_line(" ".join(words), _NAME_LIMIT) if words else None
