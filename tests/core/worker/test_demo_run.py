"""The demo by full fine-tuning; LoRA and NF4 are run by the demo command's own test."""

from __future__ import annotations

import json
from pathlib import Path

from finetune_core import demo
from finetune_core.plan.prepare import prepare
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from tests.core.worker import tiny


def test_full_fine_tuning_of_the_demo_teaches_json_and_keeps_the_facts(tmp_path: Path) -> None:
    values = demo.recipe_values() | {"adapter.kind": "none", "training.learning_rate": 5e-4}
    recipe = prepare(with_values(Recipe(), values)).recipe
    run = tiny.make_run(tmp_path, recipe)
    assert tiny.train(run) == 0, tiny.ended(run)
    (verdict,) = tiny.events(run, "verdict")
    assert verdict["better"] is True
    assert verdict["base"]["valid_json"] <= 0.02
    assert verdict["base"]["right_fact"] >= 0.95
    assert verdict["tuned"]["valid_json"] >= 0.98
    assert verdict["tuned"]["right_fact"] >= 0.95
    last = json.loads((run.path / tiny.events(run, "sample")[-1]["path"]).read_text())
    assert [json.loads(item["current"]).keys() for item in last["items"]] == [{"answer", "topic"}] * 4
    assert not any(item["base"].startswith("{") for item in last["items"])
