from __future__ import annotations

import pytest

from finetune_core.errors import FtError
from finetune_core.hardware.choose import choose_device
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from tests.fakes import gpu, machine

TWO = machine(gpu(0, 10), gpu(1, 40))


def recipe(**values: object) -> Recipe:
    return with_values(Recipe(), {f"hardware.{name}": value for name, value in values.items()})


def test_the_freest_gpu_is_taken_and_said_to_be() -> None:
    device, gpus, reason = choose_device(recipe(), TWO)
    assert (device, [one.index for one in gpus]) == ("cuda", [1])
    assert "most free memory: 40.0 GiB" in reason


def test_without_a_gpu_it_is_the_cpu_with_the_reason() -> None:
    assert choose_device(recipe(), machine()) == ("cpu", (), "no GPU can be used: No NVIDIA driver was found")


def test_a_cpu_that_is_asked_for_is_taken_though_there_are_gpus() -> None:
    assert choose_device(recipe(device="cpu"), TWO)[:2] == ("cpu", ())


def test_gpus_are_named_by_index_or_uuid() -> None:
    _, gpus, _ = choose_device(recipe(gpus=["1", "GPU-0", "1"]), TWO)
    assert [one.index for one in gpus] == [1, 0]


def test_a_gpu_that_is_asked_for_and_not_there_is_an_error_with_the_reason() -> None:
    with pytest.raises(FtError) as caught:
        choose_device(recipe(device="cuda"), machine())
    assert caught.value.problems[0].why == "No NVIDIA driver was found."


def test_every_unknown_gpu_is_named_with_those_there_are() -> None:
    with pytest.raises(FtError) as caught:
        choose_device(recipe(gpus=["5", "GPU-x"]), TWO)
    assert [found.what for found in caught.value.problems] == ["there is no GPU `5`", "there is no GPU `GPU-x`"]
    assert "1 = H100, GPU-1" in caught.value.problems[0].why


def test_an_index_that_stands_for_several_slices_is_refused() -> None:
    with pytest.raises(FtError, match="several MIG slices"):
        choose_device(recipe(gpus=["0"]), machine(gpu(0), gpu(0, 10)))
