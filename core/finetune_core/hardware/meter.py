"""Telemetry while training: a few figures of the GPUs in use and of one process, cheap enough for every step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from finetune_core.hardware.host import host_memory_now
from finetune_core.hardware.look import process_on_gpu
from finetune_core.hardware.nvml import DeviceIdentity, Nvml, NvmlUnavailable, PyNvml


@dataclass(frozen=True)
class GpuReading:
    """One GPU at one moment: bytes, percent, degrees Celsius, watts; None where the driver does not report it.

    `throttled` says why the driver slows it down, `others` which other processes are on it, and whose.
    """

    index: int
    uuid: str
    memory_used: int | None
    memory_total: int | None
    utilisation: int | None
    temperature: int | None
    power_watts: float | None
    throttled: str | None = None
    others: str = ""


class GpuMeter:
    """Reads the given GPUs again and again over one connection to NVML. Without NVML it reads nothing."""

    def __init__(self, uuids: Sequence[str], nvml: Nvml | None = None) -> None:
        self._nvml: Nvml = nvml or PyNvml()
        self._devices: list[DeviceIdentity] = []
        if not uuids:
            return
        try:
            self._nvml.open()
        except NvmlUnavailable:
            return
        found = (self._nvml.identity(uuid) for uuid in uuids)
        self._devices = [device for device in found if device is not None]

    def read(self) -> tuple[GpuReading, ...]:
        """One reading for each GPU that was found, in the order asked for; never raises."""
        return tuple(self._reading(device) for device in self._devices)

    def _reading(self, device: DeviceIdentity) -> GpuReading:
        load = self._nvml.load(device.uuid)
        known = load.memory_total is not None and load.memory_free is not None
        return GpuReading(
            index=device.index,
            uuid=device.uuid,
            memory_used=(load.memory_total or 0) - (load.memory_free or 0) if known else None,
            memory_total=load.memory_total,
            utilisation=load.utilisation,
            temperature=load.temperature,
            power_watts=load.power_watts,
            throttled=self._nvml.throttled(device.uuid),
            others=self._others(device.uuid),
        )

    def _others(self, uuid: str) -> str:
        """The processes of others; empty where the driver does not show our own, being outside of this container."""
        found = self._nvml.processes(uuid)
        if os.getpid() not in {pid for pid, _ in found}:
            return ""
        others = (process_on_gpu(pid, memory) for pid, memory in found if pid != os.getpid())
        return ", ".join(f"{other.name or 'pid'} {other.pid} of {other.user or '?'}" for other in others)


def host_memory(pid: int) -> tuple[int, int]:
    """Resident bytes of a process (0 when it is gone) and bytes of memory it may use."""
    import psutil

    try:
        resident = int(psutil.Process(pid).memory_info().rss)
    except (psutil.Error, OSError):
        resident = 0
    return resident, host_memory_now()[0]
