"""A tiny computation on each GPU, in a process of its own that is started once."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_core.hardware.installed_torch import TorchBuild
from finetune_core.hardware.look import Hardware, look
from finetune_core.hardware.torch_fit import NOT_TRIED, fits
from finetune_core.plan import gpu_check
from finetune_core.plan.gpu_check import try_kernel
from tests.fakes import FakeGpu, FakeNvml

CU130 = TorchBuild("2.13.0+cu130", "13.0", None)

# A torch whose two GPUs are a card it has code for, and one it has none for.
TORCH = """
import os
__version__ = "2.13.0+cu130"
open(os.environ["STARTS"], "a").write("started\\n")
NO_CODE = "CUDA error: no kernel image is available for execution on the device\\nSearch for it"
class Uuid:
    def __init__(self, number): self.number = number
    def __str__(self): return f"{self.number:08d}-fake"
class Properties:
    def __init__(self, number): self.uuid = Uuid(number)
class Tensor:
    def __init__(self, number): self.number = number
    def __matmul__(self, other): return self
    def __add__(self, other):
        if self.number == 1: raise RuntimeError(NO_CODE)
        return self
    def sum(self): return 64**2 * 65
def zeros(*shape, device): return Tensor(0)
def ones(*shape, device): return Tensor(int(device.partition(":")[2]))
class cuda:
    @staticmethod
    def device_count(): return 2
    @staticmethod
    def get_device_properties(number): return Properties(number)
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known yet, and torch says it was built for CUDA."""
    monkeypatch.setattr(gpu_check, "installed_torch", lambda: CU130)
    monkeypatch.setattr(gpu_check, "_known", {})


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The helper imports a torch of this test's, which notes each import in this file."""
    (tmp_path / "site" / "torch").mkdir(parents=True)
    (tmp_path / "site" / "torch" / "__init__.py").write_text(TORCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("STARTS", str(tmp_path / "starts"))
    return tmp_path / "starts"


def machine(*gpus: FakeGpu) -> Hardware:
    return look(FakeNvml(*gpus, driver="580.65.06"))


def test_each_gpu_computes_or_says_why_not_and_is_asked_once(starts: Path) -> None:
    hardware = machine(FakeGpu(), FakeGpu(1, "Tesla V100-SXM2-32GB", compute_capability=(7, 0)))
    found = try_kernel(hardware)
    good, old = (fits(gpu, hardware.driver, CU130, found) for gpu in hardware.gpus)
    assert good.ok
    assert good.text.endswith("computes on it")
    assert not old.ok
    assert "V100" in old.text
    assert "'torch==2.13.0+cu126'" in (old.remedy or "")
    assert try_kernel(hardware) is found
    assert starts.read_text() == "started\n"


def test_a_torch_for_the_cpu_or_no_gpu_starts_nothing(starts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert try_kernel(look(FakeNvml(broken="none"))) is NOT_TRIED
    monkeypatch.setattr(gpu_check, "installed_torch", lambda: TorchBuild("2.13.0+cpu", None, None))
    assert try_kernel(machine(FakeGpu())) is NOT_TRIED
    assert not starts.exists()


@pytest.mark.parametrize(
    ("torch", "words"),
    [
        ("raise ImportError('libcudart.so.13: cannot open shared object file')", "libcudart.so.13"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
    ],
)
def test_a_torch_that_cannot_be_imported_is_told(starts: Path, torch: str, words: str) -> None:
    (starts.parent / "site" / "torch" / "__init__.py").write_text(torch)
    hardware = machine(FakeGpu())
    fit = fits(hardware.gpus[0], hardware.driver, CU130, try_kernel(hardware))
    assert not fit.ok
    assert words in fit.text


def test_a_torch_that_never_answers_is_given_up(starts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (starts.parent / "site" / "torch" / "__init__.py").write_text("import time; time.sleep(1000)")
    monkeypatch.setattr(gpu_check, "_PATIENCE_SECONDS", 0.5)
    assert "gave no answer" in (try_kernel(machine(FakeGpu())).problem or "")
