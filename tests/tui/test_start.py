from __future__ import annotations

import pytest

from finetune_core import demo
from finetune_core.errors import FtError
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir, list_runs
from finetune_tui import start


def test_a_run_that_cannot_read_its_own_recipe_is_not_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    made = start.create

    def damaged(recipe: Recipe, plan: dict[str, object]) -> RunDir:
        run = made(recipe, plan)
        run.recipe_file.write_text("output:\n  name: .5\n")
        return run

    monkeypatch.setattr(start, "create", damaged)
    with pytest.raises(FtError, match=r"output\.name"):
        start.start_run(with_values(Recipe(), {**demo.recipe_values(), "hardware.device": "cpu"}))
    assert list_runs() == []
