"""The last step: what will happen, saved or launched."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from finetune_core.plan.prepare import prepare
from finetune_core.plan.speed.calibration import remember
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.recipe.yaml_io import load
from finetune_core.runs.directory import RunDir, list_runs
from finetune_core.runs.status import read_status
from finetune_tui.clone import as_new
from finetune_tui.dialogs.confirm import Confirm
from finetune_tui.widgets.words import Words
from finetune_tui.wizard.save import SaveRecipe
from finetune_tui.wizard.screen import WizardScreen
from finetune_tui.wizard.steps.review import ReviewStep
from finetune_tui.wizard.token_link import TokenLink
from tests.core.worker.test_steps_promised import rows_of
from tests.tui.sizes import assert_inside, plain
from tests.tui.wizard_driver import (
    PATIENCE,
    WizardApp,
    demo_recipe,
    end_run,
    put,
    ready,
    sees,
    session,
    until,
    wizard,
)


async def test_the_demo_is_one_key_from_launching_and_the_run_really_starts() -> None:
    app = WizardApp("wizard", recipe=demo_recipe())
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.focused is not None and app.focused.id == "way-launch", "the focus on Launch")
        await sees(pilot, "steps of")
        shown = wizard(pilot).query_one(ReviewStep).prepared
        assert shown is not None
        assert shown.steps is not None
        assert f"{shown.steps.total} steps of {shown.steps.effective_batch} sequences" in plain(app)
        await pilot.press("enter")
        await until(pilot, lambda: app.shown_run is not None, "the run is shown")
    run = app.shown_run
    assert run is not None
    try:
        kept = load(run.recipe_file)
        assert (kept.model.source, kept.adapter.alpha) == ("demo", demo_recipe().adapter.alpha)
        status = read_status(run)
        assert status is not None
        assert status.supervisor is not None
        assert status.supervisor.alive()
        assert kept == shown.recipe
        plan = json.loads(run.plan_file.read_text())
        assert plan["steps"]["total"] == shown.steps.total
        assert shown.memory is not None
        assert plan["memory"]["total"] == shown.memory.total
    finally:
        end_run(run)


async def test_a_run_launched_while_tokens_are_counted_comes_to_what_the_review_says_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The count is held back until the run is made, and the run goes as far as its worker counts its rows; then the
    wizard shows a clone of it."""
    counted = threading.Event()
    counting = TokenLink.count

    def held(self: TokenLink, *asked: Any) -> Any:
        counted.wait(PATIENCE)
        return counting(self, *asked)

    monkeypatch.setattr(TokenLink, "count", held)
    monkeypatch.setattr("finetune_tui.start.launch.launch", lambda *_run, **_how: 1)
    recipe = with_values(demo_recipe(), {"training.micro_batch": None, "data.max_length": None, "data.packing": "auto"})
    app = WizardApp("wizard", recipe=recipe)
    async with app.run_test(size=(80, 24)) as pilot:
        await sees(pilot, "Counting tokens …")
        await sees(pilot, "comes to the same")
        assert "steps of" not in plain(app)
        assert session(pilot).memory is None
        await pilot.press("l")
        await until(pilot, lambda: app.shown_run is not None, "the run is shown")
        counted.set()
    run = app.shown_run
    assert run is not None
    assert load(run.recipe_file).training.micro_batch is None
    assert json.loads(run.plan_file.read_text())["steps"] is None
    settled, *_, sequences = rows_of(run)
    slow = WizardApp("wizard", recipe=as_new(load(run.recipe_file)))
    async with slow.run_test(size=(80, 24)) as pilot:
        await sees(pilot, "steps of")
        shown = wizard(pilot).query_one(ReviewStep).prepared
    assert shown is not None
    assert shown.steps is not None
    assert settled == load(run.recipe_file) == shown.recipe
    assert sequences == shown.steps.sequences
    assert json.loads(run.plan_file.read_text())["steps"] == asdict(shown.steps)


async def test_a_recipe_is_not_saved_while_a_field_would_be_written_as_its_default(here: Path) -> None:
    app = WizardApp("wizard")
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await put(pilot, "adapter.rank", "many")
        await pilot.press("escape", "5", "s")
        await sees(pilot, "Not saved: 1 field cannot be read")
        assert isinstance(app.screen, WizardScreen)


async def test_a_worker_waits_for_the_reviewed_run_in_its_very_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[dict[str, str]] = []
    taken: list[tuple[str, bool]] = []

    class Waiting:
        def __init__(self, variables: dict[str, str]) -> None:
            self.variables = dict(variables)
            waiting.append(self.variables)

        def take(self, run: RunDir, variables: dict[str, str]) -> bool:
            taken.append((run.name, dict(variables) == self.variables))
            return False

        def close(self) -> None:
            taken.append(("closed", True))

    monkeypatch.setattr("finetune_tui.warm_link.WarmWorker", Waiting)
    monkeypatch.setattr("finetune_tui.warm_link.worthwhile", lambda: True)
    app = WizardApp("wizard", recipe=demo_recipe())
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await sees(pilot, "Training goes on without")
        await until(pilot, lambda: len(waiting) == 1)
        await pilot.press("l")
        await until(pilot, lambda: app.shown_run is not None, "the run is shown")
    run = next(iter(list_runs()))
    end_run(run)
    assert taken[0] == (run.name, True)
    assert len(waiting) == 1, "one worker, whatever else is shown meanwhile"


async def test_the_review_measures_on_the_device_what_it_predicts(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(recipe: Recipe, told: Callable[[str], None], _cancelled: object) -> dict[str, object]:
        told("loading model")
        remember(prepare(recipe).situation, 1234.0)
        return {"peak": 3 * 2**30, "reserved": None, "tokens_per_s": 1234.0}

    monkeypatch.setattr("finetune_tui.wizard.steps.review.preflight", measured)
    app = WizardApp("wizard")
    async with app.run_test(size=(100, 40)) as pilot:
        await ready(pilot)
        await pilot.press("5")
        await sees(pilot, "steps of")
        await pilot.press("t")
        await sees(pilot, "Measured on the longest batch: 3.0 GiB (predicted")
        await sees(pilot, "1,234 (predicted")
        await sees(pilot, "tokens/s, measured")


async def test_a_file_is_written_over_only_when_that_is_confirmed(here: Path) -> None:
    target = here / "recipe.yaml"
    target.write_text("precious")
    app = WizardApp("wizard", recipe=demo_recipe())
    async with app.run_test(size=(60, 18)) as pilot:
        await sees(pilot, "Tune demo")
        wizard(pilot).draft.save_path = str(target)
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, SaveRecipe))
        assert_inside(app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, SaveRecipe))
        assert target.read_text() == "precious"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("left", "enter")
        await until(pilot, lambda: target.read_text() != "precious", "the file")
    assert load(target).model.source == "demo"


async def test_the_command_names_the_saved_file_only_while_it_holds_the_plan_in_view(here: Path) -> None:
    app = WizardApp("wizard", recipe=demo_recipe())
    async with app.run_test(size=(80, 24)) as pilot:
        await sees(pilot, "Tune demo")

        def command() -> str:
            return app.screen.query_one("#review-command", Words).plain

        assert "after s has saved it" in command()
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, SaveRecipe))
        await pilot.press("enter")
        await until(pilot, (here / "recipe.yaml").exists, "the file")
        await until(pilot, lambda: app.screen is wizard(pilot), "the review")
        await until(pilot, lambda: command().endswith("recipe.yaml"), "the file as the plan")
        for rank, held in (("4", False), ("16", True), ("2", False)):
            await pilot.press("4")
            await put(pilot, "adapter.rank", rank)
            await pilot.press("escape", "5")
            await sees(pilot, f"of rank {rank}")
            assert command().endswith("recipe.yaml") == held
            assert ("after s has saved it" in command()) != held
