from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from finetune_core.hardware.nvml import NvmlUnavailable, PyNvml


def failing(code: int) -> Any:
    def function(*_: object, **__: object) -> None:
        raise pynvml.NVMLError(code)

    return function


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """NVIDIA's binding with a driver of one A100 behind it; each test takes away what it wants to be missing."""
    answers: dict[str, Any] = {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlSystemGetDriverVersion": "570.86.15",
        "nvmlSystemGetCudaDriverVersion_v2": 12080,
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": "gpu-handle",
        "nvmlDeviceGetMigMode": [0, 0],
        "nvmlDeviceGetUUID": "GPU-1234",
        "nvmlDeviceGetName": "NVIDIA A100-SXM4-80GB",
        "nvmlDeviceGetCudaComputeCapability": (8, 0),
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=80, free=60, used=20),
        "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=97, memory=50),
        "nvmlDeviceGetTemperature": 66,
        "nvmlDeviceGetPowerUsage": 301_500,
        "nvmlDeviceGetEnforcedPowerLimit": 400_000,
        "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=7, usedGpuMemory=11)],
        "nvmlDeviceGetGraphicsRunningProcesses": [
            SimpleNamespace(pid=7, usedGpuMemory=11),
            SimpleNamespace(pid=8, usedGpuMemory=None),
        ],
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, lambda *_, answer=answer: answer)
    return monkeypatch


def opened() -> PyNvml:
    nvml = PyNvml()
    nvml.open()
    return nvml


def test_a_whole_gpu_is_read_in_watts_percent_and_bytes(library: pytest.MonkeyPatch) -> None:
    nvml = opened()
    assert nvml.uuids() == ("GPU-1234",)
    assert (nvml.driver(), nvml.cuda()) == ("570.86.15", "12.8")
    identity = nvml.identity("GPU-1234")
    assert identity is not None
    assert (identity.name, identity.compute_capability) == ("NVIDIA A100-SXM4-80GB", (8, 0))
    load = nvml.load("GPU-1234")
    assert (load.memory_total, load.memory_free, load.utilisation) == (80, 60, 97)
    assert (load.temperature, load.power_watts, nvml.power_limit("GPU-1234")) == (66, 301.5, 400.0)


def test_a_process_that_computes_and_draws_is_listed_once(library: pytest.MonkeyPatch) -> None:
    assert opened().processes("GPU-1234") == ((7, 11), (8, None))


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NO_PERMISSION])
def test_a_reading_the_gpu_does_not_give_is_none_and_hides_no_other(library: pytest.MonkeyPatch, code: int) -> None:
    for name in ("nvmlDeviceGetUtilizationRates", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetComputeRunningProcesses"):
        library.setattr(pynvml, name, failing(code))
    nvml = opened()
    load = nvml.load("GPU-1234")
    assert (load.utilisation, load.power_watts, load.temperature, load.memory_total) == (None, None, 66, 80)
    assert nvml.processes("GPU-1234") == ((7, 11), (8, None))


def test_a_library_older_than_the_binding_costs_the_processes_only(library: pytest.MonkeyPatch) -> None:
    def mismatch(_: object) -> None:
        raise pynvml.NVMLLibraryMismatchError("too old")

    library.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses", mismatch)
    library.setattr(pynvml, "nvmlDeviceGetGraphicsRunningProcesses", mismatch)
    nvml = opened()
    assert nvml.processes("GPU-1234") == ()
    assert nvml.load("GPU-1234").temperature == 66


def test_names_given_as_bytes_are_text(library: pytest.MonkeyPatch) -> None:
    library.setattr(pynvml, "nvmlDeviceGetName", lambda _: b"Tesla T4")
    library.setattr(pynvml, "nvmlDeviceGetUUID", lambda _: b"GPU-9")
    identity = opened().identity("GPU-9")
    assert identity is not None
    assert identity.name == "Tesla T4"


def test_a_gpu_cut_into_slices_gives_its_slices(library: pytest.MonkeyPatch) -> None:
    def slice_at(_: object, number: int) -> str:
        if number == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return f"slice-{number}"

    library.setattr(pynvml, "nvmlDeviceGetMigMode", lambda _: [1, 1])
    library.setattr(pynvml, "nvmlDeviceGetMaxMigDeviceCount", lambda _: 3)
    library.setattr(pynvml, "nvmlDeviceGetMigDeviceHandleByIndex", slice_at)
    library.setattr(pynvml, "nvmlDeviceGetUUID", lambda handle: f"MIG-{handle}")
    nvml = opened()
    assert nvml.uuids() == ("MIG-slice-0", "MIG-slice-2")
    identity = nvml.identity("MIG-slice-2")
    assert identity is not None
    assert identity.index == 0


def test_a_gpu_that_is_lost_leaves_the_others(library: pytest.MonkeyPatch) -> None:
    def handle(index: int) -> str:
        if index == 0:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return "gpu-handle"

    library.setattr(pynvml, "nvmlDeviceGetCount", lambda: 2)
    library.setattr(pynvml, "nvmlDeviceGetHandleByIndex", handle)
    nvml = opened()
    identity = nvml.identity("GPU-1234")
    assert identity is not None
    assert identity.index == 1


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "--gpus all"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "modprobe nvidia"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "Restart the machine"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "/dev/nvidia"),
        (pynvml.NVML_ERROR_UNKNOWN, "restart the container"),
        (pynvml.NVML_ERROR_IRQ_ISSUE, "nvidia-smi"),
    ],
)
def test_each_way_a_driver_fails_is_told_with_what_to_do(library: pytest.MonkeyPatch, code: int, remedy: str) -> None:
    library.setattr(pynvml, "nvmlInit", failing(code))
    with pytest.raises(NvmlUnavailable, match=remedy):
        PyNvml().open()


def test_closing_what_was_never_opened_is_harmless() -> None:
    PyNvml().close()


def test_a_gpu_that_is_not_there_reads_nothing(library: pytest.MonkeyPatch) -> None:
    nvml = opened()
    assert nvml.identity("GPU-other") is None
    assert nvml.load("GPU-other").memory_total is None
    assert nvml.processes("GPU-other") == ()
