"""Where a run computes, and what is refused in words before anything is loaded."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest
import torch

from finetune_core.errors import FtError
from finetune_core.recipe.schema import Recipe
from finetune_core.worker.model import device
from tests.core.worker import tiny


def recipe(**changes: object) -> Recipe:
    return tiny.make_recipe(Path("demo"), Path("demo"), **changes)


def test_a_cpu_run_computes_in_float32_unless_told() -> None:
    chosen = device.choose(recipe(model__dtype="auto"))
    assert (chosen.kind, chosen.dtype, chosen.autocast, chosen.gpu_uuids) == ("cpu", torch.float32, None, ())
    assert chosen.memory_total > 2**30


def test_bfloat16_on_a_cpu_computes_under_autocast() -> None:
    chosen = device.choose(recipe(model__dtype="bfloat16"))
    assert (chosen.dtype, chosen.autocast) == (torch.bfloat16, torch.bfloat16)


def test_float16_on_a_cpu_is_refused() -> None:
    with pytest.raises(FtError, match="float16 cannot be trained on a CPU"):
        device.choose(recipe(model__dtype="float16"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused_with_what_torch_sees() -> None:
    with pytest.raises(FtError, match="no CUDA device can be used"):
        device.choose(recipe(hardware__device="cuda"))


def test_a_gpu_that_is_gone_is_named_in_the_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-11111111-2222")
    with pytest.raises(FtError, match="sees none of `GPU-11111111-2222`"):
        device.choose(recipe(hardware__device="cuda"))


@pytest.mark.parametrize(
    ("capability", "full", "kept", "computed"),
    [
        ((9, 0), False, torch.bfloat16, torch.bfloat16),
        ((9, 0), True, torch.bfloat16, torch.bfloat16),
        ((7, 5), False, torch.float16, torch.float16),
        ((7, 5), True, torch.float32, torch.float16),
    ],
)
def test_a_gpu_computes_in_what_it_can(
    capability: tuple[int, int], full: bool, kept: object, computed: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = SimpleNamespace(name="a card", uuid="1111", total_memory=2**34)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda _emulated: capability >= (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _index: card)
    changes: dict[str, object] = {"hardware__device": "cuda", "model__dtype": "auto"}
    if full:
        changes["adapter__kind"] = "none"
    chosen = device.choose(recipe(**changes))
    assert (chosen.dtype, chosen.autocast) == (kept, computed)
    assert chosen.gpu_uuids == ("GPU-1111",)
    sliced = device.choose(recipe(**changes, hardware__gpus=["MIG-2222"]))
    assert sliced.gpu_uuids == ("MIG-2222",)


def test_a_small_model_gets_one_thread_and_the_users_choice_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        device.set_threads(1_000_000)
        assert torch.get_num_threads() == 3, "OMP_NUM_THREADS is set in tests"
        monkeypatch.delenv("OMP_NUM_THREADS")
        device.set_threads(1_000_000)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_without_a_compiler_the_loss_is_computed_in_plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    from trl.kernels import chunked_logprob

    from finetune_core.worker.methods.trainer import without_triton

    def build() -> None:
        raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable")

    driver = SimpleNamespace(active=SimpleNamespace(get_current_target=build))
    monkeypatch.setitem(sys.modules, "triton", ModuleType("triton"))
    monkeypatch.setitem(sys.modules, "triton.runtime", cast("ModuleType", SimpleNamespace(driver=driver)))
    monkeypatch.setattr(chunked_logprob, "_TRITON_AVAILABLE", True)
    assert chunked_logprob._use_triton(torch.device("cuda"))
    assert "Failed to find C compiler" in (without_triton() or "")
    assert not chunked_logprob._use_triton(torch.device("cuda"))
    driver.active.get_current_target = lambda: "cuda:90"
    assert without_triton() is None
