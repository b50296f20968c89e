from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from finetune_core.hardware import installed_torch as installed_module
from finetune_core.hardware.installed_torch import TorchBuild, read_torch
from finetune_core.hardware.look import Gpu, look
from finetune_core.hardware.torch_builds import WHEELS, advised, cards_of, driver_number, holds_code, needed_driver
from finetune_core.hardware.torch_fit import Tried, fits, unfit
from tests.fakes import FakeGpu, FakeNvml

CU130 = TorchBuild("2.13.0+cu130", "13.0", None)
CU126 = TorchBuild("2.13.0+cu126", "12.6", None)
OLD_CU128 = TorchBuild("2.11.0+cu128", "12.8", None)
OLD_CU130 = TorchBuild("2.11.0+cu130", "13.0", None)
CPU = TorchBuild("2.13.0+cpu", None, None)

V100, P100, PASCAL, T4, RTX2080 = (7, 0), (6, 0), (6, 1), (7, 5), (7, 5)
A100, RTX3090, ADA, H100, B200, RTX5090 = (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)

# Card, capability, driver, processor, the build that is there, and the build to install: "" where the one that is there
# computes, None where none does.
PAIRS = [
    ("Tesla V100-SXM2-32GB", V100, "535.183.01", "x86_64", CU130, "2.13.0+cu126"),
    ("Tesla V100-PCIE-16GB", V100, "580.65.06", "x86_64", CU130, "2.13.0+cu126"),
    ("Tesla V100-SXM2-32GB", V100, "580.65.06", "x86_64", OLD_CU128, "2.13.0+cu126"),
    ("Tesla V100-SXM2-32GB", V100, "525.60.13", "x86_64", CU126, ""),
    ("NVIDIA GeForce GTX 1080 Ti", PASCAL, "580.82.07", "x86_64", CU130, "2.13.0+cu126"),
    ("Tesla P100-PCIE-16GB", P100, "470.256.02", "x86_64", CU126, None),
    ("Tesla P100-PCIE-16GB", P100, "550.54.15", "x86_64", CU126, ""),
    ("Tesla T4", T4, "580.65.06", "x86_64", CU130, ""),
    ("Tesla T4", T4, "550.54.15", "x86_64", CU130, "2.13.0+cu126"),
    ("NVIDIA GeForce RTX 2080", RTX2080, "535.183.01", "x86_64", CU126, ""),
    ("NVIDIA A100-SXM4-80GB", A100, "470.256.02", "x86_64", CU130, None),
    ("NVIDIA A100-SXM4-80GB", A100, "525.147.05", "x86_64", CU130, "2.13.0+cu126"),
    ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", A100, "535.183.01", "x86_64", CU130, "2.13.0+cu126"),
    ("NVIDIA GeForce RTX 3090", RTX3090, "570.133.20", "x86_64", CU130, "2.13.0+cu126"),
    ("NVIDIA GeForce RTX 3090", RTX3090, "590.44.01", "x86_64", CU126, ""),
    ("NVIDIA GeForce RTX 4090", ADA, "570.195.03", "x86_64", OLD_CU128, ""),
    ("NVIDIA GeForce RTX 4090", ADA, "550.127.05", "x86_64", CPU, "2.13.0+cu126"),
    ("NVIDIA L4", ADA, "590.44.01", "x86_64", CU130, ""),
    ("NVIDIA H100 80GB HBM3", H100, "550.54.15", "x86_64", OLD_CU130, "2.13.0+cu126"),
    ("NVIDIA H100 80GB HBM3", H100, "580.65.06", "x86_64", CPU, "2.13.0+cu130"),
    ("NVIDIA GH200 480GB", H100, "580.65.06", "aarch64", CU130, ""),
    ("NVIDIA GH200 480GB", H100, "550.90.07", "aarch64", CU130, "2.13.0+cu126"),
    ("NVIDIA B200", B200, "570.133.20", "x86_64", CU130, "2.11.0+cu128"),
    ("NVIDIA B200", B200, "580.65.06", "x86_64", CU126, "2.13.0+cu130"),
    ("NVIDIA B300", (10, 3), "590.44.01", "x86_64", CU130, ""),
    ("NVIDIA GeForce RTX 5090", RTX5090, "570.195.03", "x86_64", OLD_CU128, ""),
    ("NVIDIA GeForce RTX 5090", RTX5090, "550.127.05", "x86_64", CU126, None),
    ("NVIDIA GeForce RTX 5090", RTX5090, "590.44.01", "x86_64", CU130, ""),
    ("NVIDIA GB10", (12, 1), "580.95.05", "aarch64", CU130, ""),
    ("Tesla K80", (3, 7), "470.256.02", "x86_64", CU126, None),
]


def seen(name: str, capability: tuple[int, int], driver: str) -> tuple[Gpu, str | None]:
    hardware = look(FakeNvml(FakeGpu(name=name, compute_capability=capability), driver=driver))
    return hardware.gpus[0], hardware.driver


@pytest.mark.parametrize(
    ("name", "capability", "driver", "processor", "build", "wanted"),
    PAIRS,
    ids=[f"{pair[0]}, {pair[2]}, {pair[4].version}" for pair in PAIRS],
)
def test_driver_card_and_build_are_compared_and_one_command_is_named(
    name: str, capability: tuple[int, int], driver: str, processor: str, build: TorchBuild, wanted: str | None
) -> None:
    gpu, version = seen(name, capability, driver)
    fit = fits(gpu, version, build, machine=processor)
    assert fit.ok == (wanted == "")
    remedy = fit.remedy or ""
    if wanted:
        tag = wanted.partition("+")[2]
        assert f"install 'torch=={wanted}' --index-url https://download.pytorch.org/whl/{tag}" in remedy
    elif wanted is None:
        assert "no build of torch from 2.11 on" in remedy
        assert "whl" not in remedy
        assert "take a host" in remedy or "take another GPU" in remedy
    else:
        assert fit.remedy is None


@pytest.mark.parametrize("processor", ["x86_64", "aarch64"])
@pytest.mark.parametrize("driver", ["470.1", "525.60.13", "535.1", "550.1", "570.1", "580.1", "590.1", None])
@pytest.mark.parametrize("card", [(3, 7), (5, 2), (6, 1), (7, 0), (7, 5), (8, 6), (8, 9), (9, 0), (10, 3), (12, 1)])
def test_what_is_advised_always_fits_the_driver_and_the_card(
    card: tuple[int, int], driver: str | None, processor: str
) -> None:
    wheel = advised(card, driver, processor)
    runs = [one for one in WHEELS if holds_code(cards_of(one, processor), card)]
    branch = driver_number(driver) or 10_000
    runs = [one for one in runs if branch >= needed_driver(one, card)]
    assert (wheel is None) == (not runs)
    if wheel is None:
        return
    there = TorchBuild(f"{wheel.torch}+cu{wheel.cuda.replace('.', '')}", wheel.cuda, None)
    gpu, _ = seen("card", card, "1")
    assert fits(gpu, driver, there, machine=processor).ok


def test_a_gpu_that_computed_is_never_called_unfit() -> None:
    gpu, _ = seen("NVIDIA A100-SXM4-80GB", A100, "535.183.01")
    forward_compatible = Tried({gpu.uuid: None})
    assert fits(gpu, "535.183.01", CU130, forward_compatible).ok


def test_a_slice_that_torch_names_by_its_gpu_goes_by_what_was_computed() -> None:
    gpu, _ = seen("NVIDIA A100 MIG 1g.5gb", A100, "535.183.01")
    assert fits(gpu, "535.183.01", CU130, Tried({"GPU-of-the-slice": None})).ok


def test_a_gpu_that_fits_by_its_versions_and_did_not_compute_says_why() -> None:
    gpu, _ = seen("NVIDIA H100", H100, "580.65.06")
    fit = fits(gpu, "580.65.06", CU130, Tried({gpu.uuid: "CUDA error: an illegal memory access"}))
    assert not fit.ok
    assert "illegal memory access" in fit.text
    assert "nvidia-smi" in (fit.remedy or "")


@pytest.mark.parametrize("words", ["CUDA out of memory. Tried", "CUDA-capable device(s) is/are busy or unavailable"])
def test_a_gpu_that_somebody_fills_is_not_called_unfit(words: str) -> None:
    gpu, _ = seen("NVIDIA H100", H100, "580.65.06")
    fit = fits(gpu, "580.65.06", CU130, Tried({gpu.uuid: words}))
    assert fit.ok
    assert "not tried" in fit.text


def test_a_torch_that_cannot_be_imported_is_told_with_its_words() -> None:
    gpu, _ = seen("NVIDIA H100", H100, "580.65.06")
    fit = fits(gpu, "580.65.06", CU130, Tried(problem="libcudart.so.13: cannot open shared object file"))
    assert not fit.ok
    assert "libcudart.so.13" in fit.text


@pytest.mark.parametrize(
    ("version", "cuda", "card", "ok"),
    [
        ("2.12.0a0+nv26.05", "13.1", (8, 0), True),
        ("2.12.0a0+nv26.05", "13.1", (7, 0), False),
        ("2.13.0a0+git1234567", "12.9", (12, 0), True),
        ("2.13.0a0+git1234567", "12.4", (12, 0), False),
        ("2.13.0a0+git1234567", "12.9", (7, 0), True),
    ],
)
def test_a_build_that_pytorch_does_not_publish_is_judged_by_what_its_cuda_compiles(
    version: str, cuda: str, card: tuple[int, int], ok: bool
) -> None:
    gpu, _ = seen("card", card, "590.1")
    assert fits(gpu, "590.1", TorchBuild(version, cuda, None)).ok == ok


def test_what_the_driver_does_not_tell_is_no_reason_to_call_a_gpu_unfit() -> None:
    gpu = look(FakeNvml(FakeGpu(compute_capability=None), driver=None)).gpus[0]
    assert fits(gpu, None, CU130).ok


def test_a_build_for_rocm_computes_on_no_nvidia_card_and_says_what_to_install() -> None:
    gpu, _ = seen("NVIDIA H100", H100, "580.65.06")
    fit = fits(gpu, "580.65.06", TorchBuild("2.13.0+rocm7.2", None, "7.2.1"))
    assert "ROCm 7.2.1" in fit.text
    assert "torch==2.13.0+cu130" in (fit.remedy or "")


def test_the_first_gpu_that_is_unfit_speaks_for_the_machine() -> None:
    hardware = look(FakeNvml(FakeGpu(), FakeGpu(1, "Tesla V100", compute_capability=(7, 0)), driver="580.1"))
    found = unfit(hardware, CU130)
    assert found is not None
    assert "V100" in found.text
    assert unfit(hardware, CU126) is None


@pytest.mark.parametrize(
    ("text", "build"),
    [
        ("__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", CU130),
        ("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip = None\n", CPU),
        ("__version__ = '2.13.0+rocm7.2'\ncuda = None\nhip = '7.2'\n", TorchBuild("2.13.0+rocm7.2", None, "7.2")),
        ("cuda = '12.8'\n", TorchBuild("unknown", "12.8", None)),
    ],
)
def test_the_build_of_torch_is_read_from_its_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, build: TorchBuild
) -> None:
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('torch must not be imported')")
    (package / "version.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert read_torch() == build


def test_an_environment_without_pip_is_given_uvs_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed_module.importlib.util, "find_spec", lambda _name: None)
    assert installed_module.install_command("2.13.0", "12.6").startswith("uv pip install --python ")


def test_the_tiny_computation_says_that_a_torch_for_the_cpu_sees_no_gpu() -> None:
    script = "import json; from finetune_core.worker.gpu_check import try_gpus; print(json.dumps(try_gpus()))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert '"failures": {}' in done.stdout
    assert '"problem": "' in done.stdout
