from __future__ import annotations

import pytest

from finetune_core.recipe.schema import Data, Model, Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.runs.identity import Identity
from finetune_core.runs.status import Status, read_status, write_status
from finetune_core.runs.upkeep.lifecycle import create
from finetune_core.runs.view.summary import summarise


def change(run: RunDir, **values: object) -> None:
    write_status(run, (read_status(run) or Status()).changed(**values))


def test_a_new_run_is_listed_with_its_model_and_data() -> None:
    run = create(Recipe(model=Model(source="/models/small"), data=Data(source="/rows.jsonl")), {})
    found = summarise(run)
    assert (found.name, found.state, found.model, found.data) == (run.name, "created", "/models/small", "/rows.jsonl")
    assert (found.step, found.total, found.progress, found.loss) == (0, None, 0.0, None)


@pytest.mark.parametrize(
    ("state", "step", "total", "progress"),
    [
        ("training", 5, 20, 0.25),
        ("training", 30, 20, 1.0),
        ("done", 20, 20, 1.0),
        ("done", 0, None, 1.0),
        ("failed", 5, 20, 0.25),
    ],
)
def test_progress_is_the_share_of_steps(run: RunDir, state: str, step: int, total: int | None, progress: float) -> None:
    change(run, state=state, step=step, total=total, loss=0.5, trainer=Identity.current())
    found = summarise(run)
    assert (found.state, found.progress, found.loss) == (state, progress, 0.5)


def test_a_dead_run_is_listed_as_crashed(run: RunDir) -> None:
    change(run, state="training")
    assert summarise(run).state == "crashed"


def test_a_run_with_a_damaged_status_is_listed_by_its_recipe() -> None:
    run = create(Recipe(model=Model(source="/models/small")), {})
    run.status_file.write_text("{")
    assert summarise(run).model == "/models/small"
    run.recipe_file.write_text("model: [")
    assert summarise(run).name == run.name


def test_a_list_reads_nothing_but_the_status(run: RunDir) -> None:
    run.recipe_file.unlink()
    run.events_file.unlink()
    run.plan_file.unlink()
    assert summarise(run).model == "demo"
