"""From step to step, and what is typed on the way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from textual.widgets import Button, Input

from finetune_core.paths import drafts_root
from finetune_core.recipe.yaml_io import load
from finetune_tui.dialogs.confirm import Confirm
from finetune_tui.screens.home import HomeScreen
from finetune_tui.widgets.field_form import id_of
from finetune_tui.widgets.words import Line
from finetune_tui.wizard import ways
from finetune_tui.wizard.save import SaveRecipe
from finetune_tui.wizard.session import DATA, HARDWARE, MODEL, REVIEW, SETTINGS
from finetune_tui.wizard.steps.review import ReviewStep
from finetune_tui.wizard.ways import Ways
from tests.tui.sizes import SIZES, assert_inside, assert_snapshot, plain
from tests.tui.wizard_driver import (
    WizardApp,
    demo_recipe,
    put,
    ready,
    rows_file,
    sees,
    session,
    types,
    until,
    wizard,
)

SIZE_NAMES = [f"{width}x{height}" for width, height in SIZES]
SHOWN_FIRST = {
    HARDWARE: "Train on",
    MODEL: "quantise",
    DATA: "rows from",
    SETTINGS: "Effective batch",
    REVIEW: "Tune demo",
}


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
async def test_every_step_shows_what_matters_and_nothing_can_be_focused_outside(size: tuple[int, int]) -> None:
    app = WizardApp("wizard", recipe=demo_recipe())
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        await until(pilot, lambda: session(pilot).token_lengths() is not None, "tokens are counted")
        for step in range(REVIEW + 1):
            await pilot.press(str(step + 1))
            await sees(pilot, SHOWN_FIRST[step])
            await pilot.app.workers.wait_for_complete()
            await pilot.pause()
            assert_inside(app)
            shown = plain(app)
            for number in range(1, REVIEW + 2):
                assert f"{number} {'▸' if number == step + 1 else '✓'}" in shown
            assert "Back" in shown.splitlines()[-2]
            if step != REVIEW:
                await assert_snapshot(pilot, f"wizard-{step + 1}")


async def test_the_keyboard_alone_leads_from_the_first_step_to_a_saved_recipe(
    here: Path,
) -> None:
    rows_file(here, *"abcdefgh")
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await sees(pilot, "Train on")
        await pilot.press("right", "right", "n")
        await sees(pilot, "quantise")
        await pilot.press("tab", "tab", "tab", "right", "right", "right", "n")
        await sees(pilot, "QLoRA" if session(pilot).draft.step == MODEL else "rows from")
        await put(pilot, "data.source", "rows.jsonl")
        await sees(pilot, "8 rows")
        await pilot.press("escape", "n")
        await sees(pilot, "Effective batch")
        await pilot.press("tab", "right", "left", "tab")
        await types(pilot, "8")
        await pilot.press("escape", "n")
        await sees(pilot, "QLoRA (LoRA on an nf4 base) of rank 8")
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, SaveRecipe))
        await pilot.press("enter")
        await until(pilot, (here / "recipe.yaml").exists, "the file")
        await sees(pilot, "Saved to")
    recipe = load(here / "recipe.yaml")
    assert (recipe.hardware.device, recipe.quantization.method, recipe.adapter.rank) == ("cpu", "nf4", 8)
    assert recipe.data.source == str(here / "rows.jsonl")


async def test_what_is_typed_survives_a_killed_app_also_when_it_makes_no_sense() -> None:
    first = WizardApp("wizard")
    async with first.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await sees(pilot, "Effective batch")
        await put(pilot, "adapter.rank", "sixteen")
        await sees(pilot, "! `adapter.rank` cannot be")
        await until(
            pilot, lambda: any("sixteen" in file.read_text() for file in drafts_root().glob("*.json")), "a draft"
        )
        # Whatever the app does from here on is what a killed one does not do.
        kept = {file: file.read_text() for file in drafts_root().glob("*.json")}
    for file, text in kept.items():
        file.write_text(text)
    second = WizardApp("wizard")
    async with second.run_test(size=(80, 24)) as pilot:
        await sees(pilot, "Your draft is back")
        await sees(pilot, "4 !1")
        assert pilot.app.screen.query_one(f"#{id_of('adapter.rank')}", Input).value == "sixteen"


async def test_the_paging_keys_turn_the_pages_of_the_whole_wizard() -> None:
    app = WizardApp("wizard", recipe=demo_recipe())
    async with app.run_test(size=(60, 18)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await sees(pilot, "adapter rank")
        step = wizard(pilot).step
        await until(pilot, lambda: step.max_scroll_y > 0, "a page that scrolls")
        await pilot.press("pagedown")
        assert (session(pilot).draft.step, step.scroll_offset.y > 0) == (SETTINGS, True)
        while step.scroll_offset.y < step.max_scroll_y:
            await pilot.press("pagedown")
        await pilot.press("pagedown")
        assert session(pilot).draft.step == REVIEW
        await sees(pilot, "Tune demo")
        await pilot.press("pagedown")
        review = app.screen.query_one(ReviewStep)
        assert review.scroll_offset.y > 0
        await pilot.press("pageup", "pageup")
        assert session(pilot).draft.step == SETTINGS


async def test_the_footer_says_whether_paging_down_scrolls_or_goes_on_and_what_escape_leaves() -> None:
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await sees(pilot, "PgDn More (1 of 2)")
        await pilot.press("pagedown")
        await sees(pilot, "PgDn Next")
        await pilot.press("pageup")
        await sees(pilot, "PgDn More (1 of 2)")
        await sees(pilot, "Esc Leave ")
        app.screen.query(Input).first().focus()
        await sees(pilot, "Esc Leave field")
        await pilot.press("escape")
        await sees(pilot, "Esc Leave ")
        await until(pilot, lambda: "Leave field" not in plain(app), "the field is left")


async def test_a_note_goes_when_it_could_be_read_and_stays_while_a_run_is_launched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ways, "reading_seconds", lambda _text: 0.05)
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        note = app.screen.query_one("#note", Line)
        wizard(pilot)._launching = True
        wizard(pilot)._note("Launching …")
        await asyncio.sleep(0.1)
        await pilot.pause()
        assert note.plain == "Launching …"
        wizard(pilot)._launching = False
        wizard(pilot)._note("Saved to x.")
        await until(pilot, lambda: note.plain == "", "the note is gone")


async def test_paging_down_alone_leads_through_every_step_and_paging_up_back() -> None:
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("1")
        for key, last in (("pagedown", REVIEW), ("pageup", HARDWARE)):
            seen = [session(pilot).draft.step]
            for _ in range(60):
                await pilot.press(key)
                seen.append(session(pilot).draft.step)
                if seen[-1] == last:
                    break
                await pilot.pause()
            assert sorted(set(seen)) == [HARDWARE, MODEL, DATA, SETTINGS, REVIEW]


async def test_letters_are_typed_into_a_field_and_escape_gives_them_back_their_meaning() -> None:
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("2")
        await put(pilot, "model.source", "n1b")
        assert session(pilot).draft.step == MODEL
        await pilot.press("escape", "n")
        assert session(pilot).draft.step == DATA
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, HomeScreen), "the list of runs")
    assert any("n1b" in file.read_text() for file in drafts_root().glob("*.json"))


async def test_starting_afresh_asks_and_keeps_the_old_draft() -> None:
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await put(pilot, "output.name", "mine")
        await pilot.press("escape", "f")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("left", "enter")
        await until(pilot, lambda: session(pilot).draft.texts == {}, "an empty draft")
        assert session(pilot).draft.step == HARDWARE
    assert any("mine" in file.read_text() for file in drafts_root().glob("*.json"))


async def test_the_mouse_alone_leads_through_the_steps() -> None:
    app = WizardApp("wizard")
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        for step in (MODEL, DATA, SETTINGS, REVIEW):
            await pilot.click("#way-next")
            assert session(pilot).draft.step == step
        await pilot.click("#way-back")
        assert session(pilot).draft.step == SETTINGS
        line = next(y for y, text in enumerate(plain(app).splitlines()) if "1 ✓ Hardware" in text)
        await pilot.click("#steps", offset=(5, line))
        assert session(pilot).draft.step == HARDWARE
        ways = [button.id for button in app.screen.query(Ways).first().query(Button) if button.display]
        assert ways == ["way-back", "way-next"]
