from __future__ import annotations

from dataclasses import replace

import pytest

from finetune_core.hardware.look import GpuProcess
from finetune_core.plan.advice.advice import situation
from finetune_core.plan.occupied import occupied_warning
from finetune_core.plan.resolve import completed, resolve
from tests.core.plan.cases import LLAMA_8B, data, recipe
from tests.fakes import GIB, gpu, machine

ADA = GpuProcess(4711, "ada", "train.py", 12 * GIB)
DESKTOP = GpuProcess(99, "root", "Xorg", 200 * 2**20)
FAR = GpuProcess(7, None, None, None)


@pytest.mark.parametrize(
    ("processes", "said"),
    [
        ((), ()),
        ((DESKTOP,), ()),
        ((DESKTOP, ADA), ("user ada, train.py (pid 4711), 12", "GPU 0")),
        ((FAR,), ("a user outside this container (pid 7)",)),
        ((ADA,) * 5, ("and 2 more",)),
    ],
)
def test_who_computes_on_the_chosen_gpu_is_named(processes: tuple[GpuProcess, ...], said: tuple[str, ...]) -> None:
    hardware = machine(replace(gpu(0), processes=processes))
    found = occupied_warning(situation(recipe(), hardware, LLAMA_8B, None))
    assert (found is None) == (not said)
    assert all(words in f"{found.what} {found.why}" for words in said if found is not None)


def test_others_on_another_gpu_are_no_warning() -> None:
    hardware = machine(replace(gpu(0, free_gib=20), processes=(ADA,)), gpu(1))
    assert occupied_warning(situation(recipe(), hardware, LLAMA_8B, None)) is None


def test_the_warning_stands_before_the_start() -> None:
    hardware = machine(replace(gpu(0), processes=(ADA,)))
    found = completed(resolve(recipe(), hardware, LLAMA_8B, data(100)))
    assert any("others compute on GPU 0" in warning.what for warning in found.warnings)
