"""Where a run computes, and what is refused in words before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ft_core.errors import FtError
from ft_core.recipe.schema import Recipe
from ft_core.worker import device
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
