"""The first step: the machine and its GPUs."""

from __future__ import annotations

import os

import pytest

from finetune_core.hardware.installed_torch import TorchBuild
from finetune_core.hardware.torch_fit import NOT_TRIED, Tried
from finetune_tui.widgets.gpu_table import GpuCard
from finetune_tui.widgets.words import Words
from tests.fakes import GIB, FakeGpu, FakeNvml
from tests.tui.sizes import SIZES, assert_inside, plain
from tests.tui.wizard_driver import (
    WizardApp,
    ready,
    sees,
    session,
    until,
    use_gpus,
    use_torch,
)

SIZE_NAMES = [f"{width}x{height}" for width, height in SIZES]


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
async def test_the_first_step_says_that_torch_does_not_fit_the_driver_and_what_to_type(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    use_gpus(monkeypatch, FakeNvml(FakeGpu(), driver="550.54.15", cuda="12.4"))
    use_torch(monkeypatch, TorchBuild("2.13.0+cu130", "13.0", None), NOT_TRIED)
    app = WizardApp("wizard")
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        await until(pilot, lambda: "cu126" in app.screen.query_one("#torch-fit", Words).plain, "the command")
        words = app.screen.query_one("#torch-fit", Words).plain
        assert "needs driver 580 or newer; this one is 550.54.15" in words
        assert "'torch==2.13.0+cu126' --index-url https://download.pytorch.org/whl/cu126" in words
        laid_out = lambda: all(widget.region.area for widget in app.screen.focus_chain)  # noqa: E731
        await until(pilot, laid_out, "everything is laid out")
        assert_inside(app)


async def test_a_gpu_that_computed_is_not_called_unfit_in_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """With NVIDIA's compatibility package an old driver runs a newer CUDA."""
    nvml = FakeNvml(FakeGpu(), driver="550.54.15", cuda="12.4")
    use_gpus(monkeypatch, nvml)
    use_torch(monkeypatch, TorchBuild("2.13.0+cu130", "13.0", None), Tried({FakeGpu().uuid: None}))
    app = WizardApp("wizard")
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await sees(pilot, "NVIDIA driver 550.54.15")
        await until(pilot, lambda: not app.screen.query_one("#torch-fit", Words).plain, "no caution")


async def test_a_gpu_is_chosen_and_given_back_by_keys_and_by_mouse(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = FakeGpu(0, memory_free=20 * GIB, processes=((os.getpid(), 60 * GIB),))
    nvml = FakeNvml(busy, FakeGpu(1, "NVIDIA A100-SXM4-80GB", compute_capability=(8, 0)))
    use_gpus(monkeypatch, nvml)
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await sees(pilot, "GPU 0 NVIDIA H100")
        await sees(pilot, "60.0 GiB")
        await sees(pilot, "GPU 1 (NVIDIA A100-SXM4-80GB) has the most free memory")
        await pilot.press("tab", "space")
        await sees(pilot, "[x] GPU 0")
        await until(pilot, lambda: session(pilot).device_memory()[0] == "GPU 0")
        await pilot.click(app.screen.query(GpuCard).last())
        await sees(pilot, "[x] GPU 1")
        assert "[x] GPU 0" not in plain(app)
        await pilot.press("space")
        await until(pilot, lambda: "[x]" not in plain(app))
        assert session(pilot).recipe.hardware.gpus == []
        nvml.gpus[busy.uuid] = FakeGpu(0, memory_free=79 * GIB, utilisation=77)
        await sees(pilot, "77 % busy")


async def test_no_gpu_is_a_message_with_what_to_expect_of_the_cpu() -> None:
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await sees(pilot, "No GPU. No NVIDIA driver was found.")
        await sees(pilot, "Training on the CPU works, and is slow")
        await pilot.press("right")
        await sees(pilot, "! the recipe asks for a GPU, and none can be used")
        await sees(pilot, "!1 Hardware")
