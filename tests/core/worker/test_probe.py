"""The preflight measures the longest batch and leaves everything as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_core.runs.directory import RunDir
from tests.core.worker import tiny
from tests.core.worker.test_rows_to_model import prepared

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.mark.parametrize("packing", ["none", "bfd"])
def test_it_changes_no_weight_no_gradient_and_no_random_number(
    packing: str, model: Path, data: Path, tmp_path: Path
) -> None:
    import torch

    recipe = tiny.make_recipe(model, data, data__packing=packing, adapter__dropout=0.1)
    with prepared(recipe, tmp_path) as job:
        before = {name: value.clone() for name, value in job.ready.model.state_dict().items()}
        torch.manual_seed(11)
        state = torch.get_rng_state()
        job.probe()
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(value, before[name]) for name, value in job.ready.model.state_dict().items())
        assert all(parameter.grad is None for parameter in job.ready.model.parameters())
        assert job.ready.trainer._total_train_tokens == 0


@pytest.mark.parametrize("packing", ["none", "bfd"])
def test_the_batch_is_the_longest_that_the_data_will_give(
    packing: str, model: Path, data: Path, tmp_path: Path
) -> None:
    from finetune_core.worker.memory.preflight import _longest_training_batch

    recipe = tiny.make_recipe(model, data, data__packing=packing, training__micro_batch=2)
    with prepared(recipe, tmp_path) as job:
        lengths = sorted((len(row["input_ids"]) for row in job.ready.trainer.train_dataset), reverse=True)
        batch, tokens = _longest_training_batch(job.ready.trainer)
        assert tokens == sum(lengths[:2])
        shape = (1, tokens) if packing == "bfd" else (2, lengths[0])
        assert tuple(batch["input_ids"].shape) == shape


def test_what_was_measured_stands_beside_the_plan_and_in_the_journal(model: Path, data: Path, tmp_path: Path) -> None:
    recipe = tiny.make_recipe(model, data, training__max_steps=2, training__epochs=None)
    run: RunDir = tiny.make_run(tmp_path, recipe)
    run.plan_file.write_text(json.dumps({"memory": {"total": 1}}))
    assert tiny.train(run) == 0
    plan: dict[str, Any] = json.loads(run.plan_file.read_text())
    told = tiny.events(run, "probe")[0]
    assert plan["memory"] == {"total": 1}
    assert plan["measured"] == {name: told[name] for name in plan["measured"]}
    assert plan["measured"]["peak"] > 0
    assert plan["measured"]["evaluation_peak"] > 0
    kinds = [event["kind"] for event in tiny.events(run)]
    assert kinds.index("probe") < kinds.index("step")
