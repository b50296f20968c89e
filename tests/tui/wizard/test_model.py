"""The second step: the model, and what it needs in memory."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from finetune_core import demo
from finetune_core.errors import problem
from finetune_core.models.catalogue import from_catalogue
from finetune_core.models.facts import ModelFacts
from finetune_core.models.layer_costs import Figures
from finetune_core.text import memory_text
from tests.tui.sizes import plain
from tests.tui.wizard_driver import (
    PATIENCE,
    WizardApp,
    put,
    ready,
    sees,
    session,
    until,
)


async def test_a_model_folder_that_holds_none_is_told_at_the_field_and_a_hub_id_is_understood() -> None:
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("2")
        await put(pilot, "model.source", ".")
        await sees(pilot, "2 !1 Model")
        await put(pilot, "model.source", "owner/some-model")
        await sees(pilot, "owner/some-model, not on this machine")
        await sees(pilot, "The memory can be estimated once the hub has said what this model is")
        await until(pilot, lambda: "!1" not in plain(app))


@pytest.mark.parametrize("fails", [False, True])
async def test_an_architecture_no_formula_knows_is_traced_while_one_reads(
    fails: bool, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(demo.model_dir(), here / "mine")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "arcee"}))
    offered = from_catalogue("Qwen/Qwen3.5-0.8B")
    assert offered is not None
    go_on = threading.Event()

    def traced(model: ModelFacts) -> Figures | None:
        assert model.model_type == "arcee"
        assert go_on.wait(PATIENCE)
        if fails:
            raise problem("a step of arcee cannot be traced", where="model.source", why="it was told to", remedy="-")
        return offered.figures

    monkeypatch.setattr("finetune_tui.wizard.steps.model.figures_of", traced)
    app = WizardApp("wizard")
    async with app.run_test(size=(100, 40)) as pilot:
        await ready(pilot)
        await pilot.press("2")
        await put(pilot, "model.source", str(folder))
        await sees(pilot, "No formula knows arcee")
        await sees(pilot, "needs roughly")
        before = session(pilot).memory
        go_on.set()
        await sees(pilot, "cannot be traced: it was told to" if fails else "The layers of arcee were traced")
        after = session(pilot).memory
        assert before is not None
        assert after is not None
        assert (after.total > before.total) is not fails
        assert ("needs about" in plain(app)) is not fails


async def test_the_memory_follows_the_quantisation() -> None:
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("2")
        await sees(pilot, "weights")
        before = session(pilot).memory
        app.screen.query_one("#field-quantization-method").focus()
        await pilot.press("left")
        await sees(pilot, "QLoRA: about a quarter")
        after = session(pilot).memory
        assert before is not None
        assert after is not None
        assert after.parts["weights"] < before.parts["weights"]


async def test_the_bar_and_the_batch_follow_the_rank_as_it_is_typed() -> None:
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await sees(pilot, "needs about")
        before = session(pilot).memory
        await put(pilot, "adapter.rank", "256")
        assert before is not None
        small = before.parts["adapter"]
        # Each digit is drawn as it comes.
        await until(pilot, lambda: (session(pilot).memory or before).parts["adapter"] > 8 * small, "rank 256")
        after = session(pilot).memory
        assert after is not None
        await sees(pilot, f"needs about {memory_text(after.total)}")
