"""Stand-ins for what a test machine lacks: GPUs, behind the one interface the program sees them through."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from finetune_core.hardware.look import Gpu, Hardware, Host
from finetune_core.hardware.nvml import DeviceIdentity, DeviceLoad, NvmlUnavailable

GIB = 2**30


@dataclass(frozen=True)
class FakeGpu:
    """A GPU as NVML would describe it; None is what it does not tell."""

    index: int = 0
    name: str = "NVIDIA H100 80GB HBM3"
    memory_total: int | None = 80 * GIB
    memory_free: int | None = 79 * GIB
    compute_capability: tuple[int, int] | None = (9, 0)
    utilisation: int | None = 3
    temperature: int | None = 41
    power_watts: float | None = 96.5
    power_limit_watts: float | None = 700.0
    processes: tuple[tuple[int, int | None], ...] = ()
    throttled: str | None = None

    @property
    def uuid(self) -> str:
        return f"GPU-{self.index:08d}-fake"


class FakeNvml:
    """An Nvml whose GPUs a test sets, and may change between readings; `broken` makes `open` fail with these words."""

    def __init__(
        self, *gpus: FakeGpu, broken: str | None = None, driver: str | None = "570.86.15", cuda: str | None = "12.8"
    ) -> None:
        self.versions = (driver, cuda)
        self.gpus = {gpu.uuid: gpu for gpu in gpus}
        self.broken = broken
        self.opened = 0

    def open(self) -> None:
        if self.broken is not None:
            raise NvmlUnavailable(self.broken)
        self.opened += 1

    def close(self) -> None:
        self.opened -= 1

    def driver(self) -> str | None:
        return self.versions[0]

    def cuda(self) -> str | None:
        return self.versions[1]

    def uuids(self) -> tuple[str, ...]:
        return tuple(self.gpus)

    def identity(self, uuid: str) -> DeviceIdentity | None:
        gpu = self.gpus.get(uuid)
        return DeviceIdentity(gpu.index, uuid, gpu.name, gpu.compute_capability) if gpu else None

    def load(self, uuid: str) -> DeviceLoad:
        gpu = self.gpus[uuid]
        return DeviceLoad(gpu.memory_total, gpu.memory_free, gpu.utilisation, gpu.temperature, gpu.power_watts)

    def power_limit(self, uuid: str) -> float | None:
        return self.gpus[uuid].power_limit_watts

    def throttled(self, uuid: str) -> str | None:
        return self.gpus[uuid].throttled

    def processes(self, uuid: str) -> tuple[tuple[int, int | None], ...]:
        return self.gpus[uuid].processes

    def change(self, uuid: str, **values: object) -> None:
        """Let a GPU read differently from now on."""
        self.gpus[uuid] = replace(self.gpus[uuid], **values)  # type: ignore[arg-type]


def host(memory_gib: float = 64, disk_gib: float = 500) -> Host:
    """A machine with this much memory, an eighth of it taken, and this much free disk."""
    total, disk = int(memory_gib * GIB), int(disk_gib * GIB)
    return Host("Some CPU", 8, total, total * 7 // 8, Path("/"), disk, 2 * disk)


def gpu(index: int = 0, free_gib: float = 79, capability: tuple[int, int] | None = (9, 0), name: str = "H100") -> Gpu:
    """A GPU with this much free memory."""
    free = int(free_gib * GIB)
    bf16 = capability is not None and capability >= (8, 0)
    return Gpu(index, f"GPU-{index}", name, free, 0, free, (), capability, bf16, 0, 40, 90.0, 700.0)


def machine(*gpus: Gpu, memory_gib: float = 64, disk_gib: float = 500) -> Hardware:
    """A machine with these GPUs; without any it says that no driver was found."""
    problem = None if gpus else "No NVIDIA driver was found."
    return Hardware(gpus, "570.86.15", "12.8", problem, host(memory_gib, disk_gib))
