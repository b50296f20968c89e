"""NVIDIA's management library (NVML) behind one small interface: what it does not report is None, not an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

# First compute capability whose tensor cores multiply bfloat16 (CUDA C Programming Guide, "Compute Capabilities").
FIRST_BF16_CAPABILITY = (8, 0)

_ON_CPU = "Until then training runs on the CPU."
_WORDS = {
    "NVMLError_LibraryNotFound": "No NVIDIA driver was found (libnvidia-ml.so.1 is missing). If this machine has an "
    f"NVIDIA GPU, install its driver; in a container, start it with `--gpus all`. {_ON_CPU}",
    "NVMLError_DriverNotLoaded": "The NVIDIA driver is installed but not loaded. Load it with `sudo modprobe nvidia`, "
    f"or restart the machine; `nvidia-smi` then lists the GPUs. {_ON_CPU}",
    "NVMLError_LibRmVersionMismatch": "The NVIDIA driver was updated while the old one is still running: its library "
    f"and its kernel module differ in version. Restart the machine. {_ON_CPU}",
    "NVMLError_NoPermission": "This user may not use the GPUs. Ask for the rights on /dev/nvidia* (often the group "
    f"`video` or `render`); in a container, start it with `--gpus all`. {_ON_CPU}",
    "NVMLError_Unknown": "The NVIDIA driver gives no sensible answer (unknown error). In a container this happens "
    f"after the host reloads its services: restart the container, else the machine. {_ON_CPU}",
    "NVMLError_GpuIsLost": "A GPU has fallen off the bus. Restart the machine; if it comes back, have the card and "
    f"its power checked. {_ON_CPU}",
    "NVMLError_FunctionNotFound": "The NVIDIA driver is too old for this program. Update the driver to 525 or "
    f"newer. {_ON_CPU}",
}
_NO_PACKAGE = (
    "The Python package that talks to the NVIDIA driver is missing. Install it with `pip install nvidia-ml-py`. "
    + _ON_CPU
)


# Bits of nvmlClocksThrottleReasons (nvml.h) that stand for a fault; a power cap set by its owner is none.
_SLOWED = {
    0x08: "hardware slowdown",
    0x20: "too hot",
    0x40: "too hot (hardware limit)",
    0x80: "power brake: its supply is short of power",
}


class NvmlUnavailable(Exception):  # noqa: N818 - a state of the machine, put into words, rather than an error
    """NVML cannot be used here; its text says why and what to do."""


@dataclass(frozen=True)
class DeviceIdentity:
    """What never changes of a GPU or MIG slice. `index` is the number nvidia-smi gives (a slice: its GPU's)."""

    index: int
    uuid: str
    name: str
    compute_capability: tuple[int, int] | None


@dataclass(frozen=True)
class DeviceLoad:
    """What changes from moment to moment: bytes, percent, degrees Celsius, watts; None where not reported."""

    memory_total: int | None
    memory_free: int | None
    utilisation: int | None
    temperature: int | None
    power_watts: float | None


class Nvml(Protocol):
    """The part of NVML this program uses. Only `open` raises, and only NvmlUnavailable."""

    def open(self) -> None:
        """Connect to the driver; NvmlUnavailable says in words why that fails."""

    def close(self) -> None:
        """Disconnect; never raises."""

    def driver(self) -> str | None:
        """Version of the driver, such as `570.86.15`."""

    def cuda(self) -> str | None:
        """Newest CUDA the driver supports, such as `12.8`."""

    def uuids(self) -> tuple[str, ...]:
        """Every device CUDA can use, in nvidia-smi's order; a GPU cut into MIG slices gives its slices instead."""

    def identity(self, uuid: str) -> DeviceIdentity | None:
        """Name and kind of a device; None when it is gone."""

    def load(self, uuid: str) -> DeviceLoad:
        """Memory, utilisation, temperature and power now."""

    def power_limit(self, uuid: str) -> float | None:
        """Enforced power limit in watts."""

    def throttled(self, uuid: str) -> str | None:
        """In words why the driver slows the GPU down below what its power limit allows; None when it does not."""

    def processes(self, uuid: str) -> tuple[tuple[int, int | None], ...]:
        """Pid and bytes of GPU memory of each process on the device."""


class PyNvml:
    """NVML through NVIDIA's own binding (nvidia-ml-py), imported when it is opened."""

    def __init__(self) -> None:
        self._lib: Any = None
        self._handles: dict[str, tuple[int, Any]] = {}
        self._parents: dict[str, Any] = {}
        self._errors: tuple[type[Exception], ...] = ()

    def open(self) -> None:  # noqa: D102 - see Nvml
        try:
            import pynvml
        except ImportError as error:
            raise NvmlUnavailable(_NO_PACKAGE) from error
        self._lib = pynvml
        # The binding decodes names itself (UnicodeDecodeError) and has an error of its own for old libraries.
        self._errors = (pynvml.NVMLError, pynvml.NVMLLibraryMismatchError, UnicodeDecodeError, OSError)
        try:
            pynvml.nvmlInit()
        except self._errors as error:
            raise NvmlUnavailable(_words_of(error)) from error
        self._find_devices()

    def close(self) -> None:  # noqa: D102
        if self._lib is not None:
            self._ask(self._lib.nvmlShutdown)

    def driver(self) -> str | None:  # noqa: D102
        return _text(self._ask(self._lib.nvmlSystemGetDriverVersion))

    def cuda(self) -> str | None:  # noqa: D102
        version = self._ask(self._lib.nvmlSystemGetCudaDriverVersion_v2)
        return None if version is None else f"{version // 1000}.{version % 1000 // 10}"

    def uuids(self) -> tuple[str, ...]:  # noqa: D102
        return tuple(self._handles)

    def identity(self, uuid: str) -> DeviceIdentity | None:  # noqa: D102
        if uuid not in self._handles:
            return None
        index, handle = self._handles[uuid]
        name = _text(self._ask(self._lib.nvmlDeviceGetName, handle)) or "NVIDIA GPU"
        capability = self._ask(self._lib.nvmlDeviceGetCudaComputeCapability, handle) or self._ask(
            self._lib.nvmlDeviceGetCudaComputeCapability, self._parents.get(uuid, handle)
        )
        return DeviceIdentity(index, uuid, name, capability)

    def load(self, uuid: str) -> DeviceLoad:  # noqa: D102
        handle = self._handle(uuid)
        lib = self._lib
        memory = self._ask(lib.nvmlDeviceGetMemoryInfo, handle)
        rates = self._ask(lib.nvmlDeviceGetUtilizationRates, handle)
        power = self._ask(lib.nvmlDeviceGetPowerUsage, handle)
        return DeviceLoad(
            memory_total=memory and int(memory.total),
            memory_free=None if memory is None else int(memory.free),
            utilisation=None if rates is None else int(rates.gpu),
            temperature=self._ask(lib.nvmlDeviceGetTemperature, handle, lib.NVML_TEMPERATURE_GPU),
            power_watts=None if power is None else power / 1000,
        )

    def power_limit(self, uuid: str) -> float | None:  # noqa: D102
        limit = self._ask(self._lib.nvmlDeviceGetEnforcedPowerLimit, self._handle(uuid))
        return None if limit is None else limit / 1000

    def throttled(self, uuid: str) -> str | None:  # noqa: D102
        handle = self._handle(uuid)
        bits = self._ask(self._lib.nvmlDeviceGetCurrentClocksThrottleReasons, handle) or 0
        return ", ".join(words for bit, words in _SLOWED.items() if bits & bit) or None

    def processes(self, uuid: str) -> tuple[tuple[int, int | None], ...]:  # noqa: D102
        handle = self._handle(uuid)
        found: dict[int, int | None] = {}
        for list_them in (
            self._lib.nvmlDeviceGetComputeRunningProcesses,
            self._lib.nvmlDeviceGetGraphicsRunningProcesses,
        ):
            for process in self._ask(list_them, handle) or ():
                found.setdefault(int(process.pid), process.usedGpuMemory)
        return tuple(found.items())

    def _find_devices(self) -> None:
        for index in range(self._ask(self._lib.nvmlDeviceGetCount) or 0):
            handle = self._ask(self._lib.nvmlDeviceGetHandleByIndex, index)
            if handle is None:
                continue
            slices = self._slices(handle)
            for device in slices or [handle]:
                uuid = _text(self._ask(self._lib.nvmlDeviceGetUUID, device))
                if uuid:
                    self._handles[uuid] = (index, device)
                    self._parents[uuid] = handle

    def _slices(self, handle: Any) -> list[Any]:  # noqa: ANN401 - an opaque ctypes pointer
        mode = self._ask(self._lib.nvmlDeviceGetMigMode, handle)
        if not mode or not mode[0]:
            return []
        count = self._ask(self._lib.nvmlDeviceGetMaxMigDeviceCount, handle) or 0
        slices = (self._ask(self._lib.nvmlDeviceGetMigDeviceHandleByIndex, handle, number) for number in range(count))
        return [device for device in slices if device is not None]

    def _handle(self, uuid: str) -> Any:  # noqa: ANN401 - an opaque ctypes pointer
        return self._handles[uuid][1] if uuid in self._handles else None

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401 - any answer of NVML
        """NVML's answer, or None: one reading a device lacks (MIG, vGPU, no rights) must not hide the others."""
        if any(argument is None for argument in arguments):
            return None
        try:
            return question(*arguments)
        except self._errors:
            return None


def _words_of(error: Exception) -> str:
    known = _WORDS.get(type(error).__name__)
    return known or f"The NVIDIA driver does not answer ({error}). Run `nvidia-smi` to see what it says. {_ON_CPU}"


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else None
