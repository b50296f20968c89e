"""A run that goes on keeps what it began with; the first step of every run trains something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.core.worker import tiny


def test_a_checkpoint_keeps_how_its_run_began_and_one_of_an_earlier_version_began_as_that_did() -> None:
    from finetune_core.worker.training.first_start import Began, began

    assert began({}, packed=True) is None
    fresh = Began(packed=True)
    assert began({"tokens": 3, **fresh.notes()}, packed=False) == fresh
    assert began({"tokens": 3}, packed=True) == Began(packed=True, rises_from_zero=True, narrow_adapter=True)
    assert began({"tokens": 3, "began": "once"}, packed=False) == Began(False, True, True)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant_with_warmup"])
@pytest.mark.parametrize(("warmup", "steps"), [(0, 1), (1, 1), (1, 3), (3, 40)])
def test_the_first_step_has_a_rate_and_after_the_warm_up_rates_are_those_of_the_schedule(
    schedule: Any, warmup: int, steps: int
) -> None:
    import torch
    from transformers import get_scheduler

    from finetune_core.worker.methods.trainer import rise_at_once

    def rates(*, ours: bool) -> list[float]:
        optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
        made: Any = get_scheduler(schedule, optimiser, num_warmup_steps=warmup, num_training_steps=steps)
        if ours:
            rise_at_once(made, warmup)
        found = []
        for _ in range(steps):
            found.append(optimiser.param_groups[0]["lr"])
            assert made.get_last_lr() == [found[-1]]
            optimiser.step()
            made.step()
        return found

    plain, found = rates(ours=False), rates(ours=True)
    assert found[0] > 0
    assert found[warmup:] == plain[warmup:]
    assert found[: warmup + 1] == sorted(found[: warmup + 1])


def test_a_run_of_one_step_trains(model: Path, data: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    recipe = tiny.make_recipe(
        model, data, training__epochs=0.1, training__micro_batch=64, samples__count=0, evaluation__questions=0
    )
    run = tiny.make_run(tmp_path, recipe)
    assert tiny.train(run) == 0, tiny.ended(run)
    (step,) = tiny.events(run, "step")
    assert step["learning_rate"] > 0
    weights = load_file(run.result / "adapter_model.safetensors")
    assert all(value.abs().sum() > 0 for name, value in weights.items() if "lora_B" in name)
