"""The fourth step: hyperparameters."""

from __future__ import annotations

from pathlib import Path

from finetune_core.recipe.schema import GUIDES
from finetune_tui.widgets.field_form import FieldRow
from finetune_tui.widgets.fold import Fold
from finetune_tui.wizard.session import SHOWN_APART
from tests.tui.sizes import assert_inside, plain
from tests.tui.wizard_driver import (
    WizardApp,
    demo_recipe,
    put,
    ready,
    sees,
    session,
    until,
)


async def test_a_problem_stands_below_its_field_and_is_counted_until_it_is_mended() -> None:
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await sees(pilot, "Effective batch")
        await put(pilot, "adapter.rank", "0")
        await sees(pilot, "! `adapter.rank` cannot be 0")
        await sees(pilot, "4 !1 Hyperparameters")
        await pilot.press("escape", "5")
        await sees(pilot, "Before it can be launched:")
        await sees(pilot, "Step 4, Hyperparameters, adapter.rank")
        await pilot.press("l")
        await sees(pilot, "1 problem in the way")
        assert app.shown_run is None
        await pilot.press("4")
        await put(pilot, "adapter.rank", "")
        await until(pilot, lambda: "cannot be 0" not in plain(app) and "!1" not in plain(app), "no problem any more")


async def test_steps_and_batch_are_counted_as_one_types_and_clearing_brings_back_the_automatic_value() -> None:
    app = WizardApp("wizard", recipe=demo_recipe())
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await sees(pilot, "3 epochs")
        await put(pilot, "training.epochs", "1")
        await sees(pilot, "1 epoch of")
        assert session(pilot).recipe.training.epochs == 1
        await put(pilot, "training.epochs", "auto")
        await sees(pilot, "auto: 3")
        assert session(pilot).recipe.training.epochs is None


async def test_a_rank_that_is_high_for_the_rows_is_told_at_its_field_and_on_the_review() -> None:
    app = WizardApp("wizard", recipe=demo_recipe())
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await put(pilot, "adapter.rank", "64")
        await sees(pilot, "Rank 64 is high for 400 rows: so large an")
        await pilot.press("escape", "5")
        await sees(pilot, "rank 64 is high for 400 rows")


async def test_every_field_of_the_recipe_can_be_reached_and_has_its_help() -> None:
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("3", "4")
        await until(pilot, lambda: app.screen.query_one("#step-4").display, "the folded sections")
        for fold in app.screen.query(Fold):
            fold.collapsed = False
        wanted = set(GUIDES) - SHOWN_APART
        await until(
            pilot, lambda: {row.guide.path for row in app.screen.query(FieldRow)} == wanted, "a row for each field"
        )
        await until(
            pilot,
            lambda: all(
                row.guide.help.split()[0] in row.plain for row in app.screen.query_one("#step-4").query(FieldRow)
            ),
            "help at every field",
        )
        await until(
            pilot,
            lambda: all(row.region.area for row in app.screen.query_one("#step-4").query(FieldRow)),
            "all are laid out",
        )
        assert_inside(app)


async def test_fields_that_the_method_has_no_use_for_are_not_shown(here: Path) -> None:
    (here / "prose.txt").write_text("".join(f"Sentence {place} is about the sea.\n\n" for place in range(40)))
    app = WizardApp("wizard", recipe=demo_recipe())

    def shown() -> bool:
        rows = app.screen.query(FieldRow).results()
        return any(row.guide.path == "data.train_on" and row.display for row in rows)

    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await until(pilot, shown, "the field")
        await pilot.press("3")
        await put(pilot, "data.source", "prose.txt")
        await until(pilot, lambda: session(pilot)._method() == "cpt", "raw text")
        await pilot.press("escape", "4")
        await until(pilot, lambda: not shown(), "the field is gone")
