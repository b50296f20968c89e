"""The dialog that shows a model's code: only the exact name lets it run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input

from finetune_core.models import trust
from finetune_core.models.json_file import CODE
from finetune_core.models.trust import CodeFile
from finetune_core.recipe.check import with_values
from finetune_tui.widgets.pager import Pager
from finetune_tui.wizard.dialogs.trust_code import TrustCode, code_rows
from tests.tui.sizes import SIZES, assert_inside, plain
from tests.tui.test_trust_command import own_code
from tests.tui.wizard_driver import WizardApp, demo_recipe, ready, sees, session, until, wizard

SIZE_NAMES = [f"{width}x{height}" for width, height in SIZES]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return own_code(tmp_path / "mine")


def app_of(mine: Path) -> WizardApp:
    return WizardApp("wizard", recipe=with_values(demo_recipe(), {"model.source": str(mine)}))


async def at_the_button(pilot: Pilot[Any]) -> None:
    """The model step, whose model needs its own code."""
    await ready(pilot)
    await pilot.press("2")
    await until(pilot, lambda: wizard(pilot).query_one("#look-at-code").display, "the button")


async def opened(pilot: Pilot[Any]) -> TrustCode:
    """The model step, and the dialog with the code in it."""
    await at_the_button(pilot)
    await pilot.press("k")
    await until(pilot, lambda: isinstance(pilot.app.screen, TrustCode), "the dialog")
    dialog = pilot.app.screen
    assert isinstance(dialog, TrustCode)
    await until(pilot, lambda: dialog.query_one(Pager).display and dialog.query_one(Pager).content, "the code")
    return dialog


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
async def test_it_fits_and_shows_files_that_cannot_act_on_the_terminal(size: tuple[int, int], mine: Path) -> None:
    app = app_of(mine)
    async with app.run_test(size=size) as pilot:
        dialog = await opened(pilot)
        assert_inside(app)
        shown = plain(app)
        assert "configuration_mine.py" in shown
        assert "SSH agent" in " ".join(shown.replace("│", " ").split())
        assert "Trust (F2)" in shown
        rows = "\n".join("".join(text for text, _ in row) for row in dialog.query_one(Pager).content)
        assert "]0;owned" in rows
        assert "[red]" in rows
        assert "\x1b" not in rows


async def test_a_wrong_name_trusts_nothing_and_the_right_one_lets_the_model_be_tuned(mine: Path) -> None:
    app = app_of(mine)
    async with app.run_test(size=(80, 24)) as pilot:
        dialog = await opened(pilot)
        field, button = dialog.query_one(Input), dialog.query_one("#code-trust", Button)
        field.focus()
        for name in ("mine", "yes", f"{mine} ", str(mine).upper()):
            field.value = name
            await pilot.pause()
            assert button.disabled
            await pilot.press("enter", "f2")
        assert isinstance(app.screen, TrustCode)
        assert trust.trusted() == ()
        field.value = str(mine)
        await pilot.pause()
        assert not button.disabled
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(app.screen, TrustCode), "the dialog closed")
        assert trust.is_trusted(mine)
        await until(pilot, lambda: (model := session(pilot).model) is not None and model.problem is None, "it is fine")
        await until(pilot, lambda: not wizard(pilot).query_one("#look-at-code").display, "the button is gone")


async def test_the_button_opens_it_and_escape_leaves_without_trust(mine: Path) -> None:
    app = app_of(mine)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("2")
        button = wizard(pilot).query_one("#look-at-code", Button)
        await until(pilot, lambda: button.display, "the button")
        button.press()
        await until(pilot, lambda: isinstance(app.screen, TrustCode), "the dialog")
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, TrustCode), "the dialog closed")
        model = session(pilot).model
        assert model is not None
        assert model.problem is not None
        assert model.problem.kind == CODE
        assert trust.trusted() == ()


async def test_what_stands_in_the_way_is_told_and_there_is_nothing_to_type(mine: Path) -> None:
    app = app_of(mine)
    async with app.run_test(size=(80, 24)) as pilot:
        await at_the_button(pilot)
        (mine / "modeling_mine.py").unlink()
        await pilot.press("k")
        await sees(pilot, "some of the model's code is missing")
        assert not app.screen.query_one("#code-name").display
        assert app.screen.query_one("#code-trust", Button).disabled


async def test_consent_given_meanwhile_in_another_terminal_is_seen(mine: Path) -> None:
    app = app_of(mine)
    async with app.run_test(size=(80, 24)) as pilot:
        await at_the_button(pilot)
        trust.trust(str(mine), None, trust.code_in(mine))
        await pilot.press("k")
        await sees(pilot, "Trusted since")
        assert not app.screen.query_one("#code-name").display
        await pilot.press("escape")
        await until(pilot, lambda: not wizard(pilot).query_one("#look-at-code").display, "the button is gone")


async def test_a_store_that_is_damaged_meanwhile_is_told(mine: Path) -> None:
    app = app_of(mine)
    async with app.run_test(size=(80, 24)) as pilot:
        dialog = await opened(pilot)
        trust.store().write_text("{")
        dialog.query_one(Input).value = str(mine)
        await pilot.pause()
        await pilot.press("f2")
        await sees(pilot, "none is trusted")


async def test_the_review_says_that_the_models_code_will_run(mine: Path) -> None:
    given = trust.trust(str(mine), None, trust.code_in(mine))
    app = app_of(mine)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("5")
        await until(pilot, lambda: "the run executes code that comes with the model" in plain(app), "the warning")
        assert f"consented to on {given.day}" in " ".join(plain(app).split())


def test_nothing_of_a_long_line_stands_out_of_sight() -> None:
    text = " " * 20_000 + "evil()\n漢字" * 3
    rows = code_rows((CodeFile(Path("x.py"), text.encode()),), 58)
    assert max(sum(len(part) for part, _ in row) for row in rows) <= 58
    joined = "".join(part for row in rows[1:] for part, _ in row)
    assert joined.count("evil()") == 3
    assert joined.count(" ") == 20_000
