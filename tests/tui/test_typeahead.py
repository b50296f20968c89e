"""Keys act in the order typed: what a burst of them leads to is what the same keys lead to one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from textual import events
from textual.app import ComposeResult
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import DataTable, Input, Select, Tree

from finetune_core.data.shapes.recognise import Choice
from finetune_core.errors import FtError, Problem
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.recipe.yaml_io import load
from finetune_core.runs.directory import list_runs
from finetune_tui import typeahead
from finetune_tui.app import FtApp
from finetune_tui.dialogs.file_browser import FileBrowser
from finetune_tui.dialogs.prompt import SamplePrompt
from finetune_tui.screens.help import HelpScreen
from finetune_tui.screens.home import HomeScreen
from finetune_tui.widgets.path_input import PathInput
from finetune_tui.wizard import pages
from finetune_tui.wizard import screen as wizard
from finetune_tui.wizard.dialogs.map_columns import MapColumns
from finetune_tui.wizard.dialogs.mix_rows import MixRows
from finetune_tui.wizard.dialogs.trust_code import TrustCode
from finetune_tui.wizard.draft import draft_of, save_draft
from finetune_tui.wizard.screen import WizardScreen
from finetune_tui.wizard.step import Step
from tests.tui.listed_runs import make_run
from tests.tui.walking import send_event, send_keys
from tests.tui.wizard_driver import WizardApp, demo_recipe, session, until

GAPS = pytest.mark.parametrize("gap", [0, 0.01, 0.06, 0.15], ids=lambda gap: f"{gap * 1000:.0f}ms")


async def burst(pilot: Pilot[Any], gap: float, *keys: str) -> None:
    """Send keys with so many seconds between them, without a look at the app; then let it come to rest."""
    for key in keys:
        send_keys(pilot.app, key)
        await asyncio.sleep(gap)
    await rest(pilot)


async def rest(pilot: Pilot[FtApp]) -> None:
    await pilot.pause()
    await until(pilot, lambda: not pilot.app.typeahead, "every key has acted")
    await pilot.pause()


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with four files of rows, where the app is started."""
    folder = tmp_path / "rows"
    folder.mkdir()
    for name in ("alpha", "bravo", "charlie", "delta"):
        (folder / f"{name}.jsonl").write_text('{"question": "one", "reply": "two"}\n' * 4)
    monkeypatch.chdir(folder)
    return folder


@GAPS
async def test_what_is_typed_into_fields_lands_in_the_field_it_was_typed_for(gap: float) -> None:
    app = WizardApp("wizard", recipe=demo_recipe())
    async with app.run_test() as pilot:
        await until(pilot, lambda: isinstance(app.screen, WizardScreen) and app.screen.is_mounted)
        before = dict(session(pilot).draft.texts)
        assert (before["adapter.rank"], before["adapter.alpha"]) == ("16", "32")
        keys = "4 tab tab 4 8 backspace 1 home 7 right delete enter 9 left left delete shift+tab end 2"
        await burst(pilot, gap, *keys.split())
        typed = session(pilot).draft.texts
        assert (typed["adapter.rank"], typed["adapter.alpha"]) == ("71412", "39")


@GAPS
async def test_a_file_is_chosen_in_a_browser_that_was_not_open_when_the_keys_came(gap: float, rows: Path) -> None:
    app = WizardApp()
    async with app.run_test() as pilot:
        await burst(pilot, gap, *["n", "3", "o", "down", "down", "enter"])
        await until(pilot, lambda: isinstance(app.screen, WizardScreen), "the browser has closed")
        await until(pilot, lambda: session(pilot).draft.texts.get("data.source"), "a file was taken")
        assert session(pilot).draft.texts["data.source"] == str(rows / "charlie.jsonl")


@GAPS
async def test_keys_go_through_the_palette_to_what_was_typed(gap: float) -> None:
    app = FtApp()
    async with app.run_test() as pilot:
        await burst(pilot, gap, "ctrl+p", *"help", "enter")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen), "help")


@GAPS
async def test_an_answer_goes_to_the_question_it_was_typed_for(gap: float) -> None:
    make_run("first", state="done", step=1, total=1)
    make_run("second", state="done", step=1, total=1)
    app = WizardApp()
    async with app.run_test() as pilot:
        # The upper one is deleted, and the one left is opened.
        await burst(pilot, gap, "d", "left", "enter", "enter")
        await until(pilot, lambda: app.shown_run is not None, "a run was opened")
        assert app.shown_run is not None
        assert list_runs() == [app.shown_run]


class Kinds(Screen[None]):
    """Lists and fields of each kind that keys act on."""

    def compose(self) -> ComposeResult:
        yield Input("ab", select_on_focus=False, id="field")
        yield DataTable(cursor_type="row", id="table")
        yield Select([(name, name) for name in ("zero", "one", "two")], value="zero", allow_blank=False, id="select")
        yield Tree("root", id="tree")
        yield Input(select_on_focus=False, id="last")

    def on_mount(self) -> None:
        table = self.query_one(DataTable)
        table.add_column("c")
        table.add_rows([[str(number)] for number in range(9)])
        tree = self.query_one(Tree)
        for number in range(4):
            tree.root.add(str(number)).add_leaf("leaf")
        tree.root.expand()


@GAPS
async def test_every_kind_of_list_and_field_takes_its_own_keys(gap: float) -> None:
    async with FtApp().run_test() as pilot:
        screen = Kinds()
        pilot.app.push_screen(screen)
        await burst(
            pilot, gap, "c", "backspace", "d", "tab", "down", "down", "tab", "enter", "down", "down", "enter", "tab",
            "down", "down", "space", "tab", "x", "left", "y",
        )  # fmt: skip
        assert screen.query_one("#field", Input).value == "abd"
        assert screen.query_one(DataTable).cursor_row == 2
        assert screen.query_one(Select).value == "two"
        assert screen.query_one(Tree).cursor_line == 2
        assert screen.query_one(Tree).root.children[1].is_expanded
        assert screen.query_one("#last", Input).value == "yx"


async def test_what_is_pasted_keeps_its_place_among_the_keys() -> None:
    async with FtApp().run_test() as pilot:
        screen = Kinds()
        pilot.app.push_screen(screen)
        for key in ("home", "1"):
            send_keys(pilot.app, key)
        send_event(pilot.app, events.Paste("234"))
        for key in ("5", *["tab"] * 4, "6"):
            send_keys(pilot.app, key)
        send_event(pilot.app, events.Paste("789"))
        await rest(pilot)
        assert screen.query_one("#field", Input).value == "12345ab"
        assert screen.query_one("#last", Input).value == "6789"


async def test_columns_are_said_by_keys_that_come_before_the_dialog(rows: Path) -> None:
    app = WizardApp("wizard", recipe=None)
    async with app.run_test() as pilot:
        await burst(pilot, 0, *["3", "o", "down", "enter"])
        await until(pilot, lambda: session(pilot).data is not None and session(pilot).data.problems, "rows are read")
        await burst(pilot, 0, "c", "enter", "home", "down", "enter", "tab", "f2")
        assert not isinstance(app.screen, FileBrowser)
        assert isinstance(app.screen, MapColumns) or session(pilot).draft.texts.get("data.shape")


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """The recipes that would have been started."""
    found: list[Recipe] = []

    def start(recipe: Recipe, *_: object, **__: object) -> None:
        found.append(recipe)
        raise FtError([Problem("nothing is started here", where="run", why="a test", remedy="none")])

    monkeypatch.setattr(wizard, "start_run", start)
    return found


@pytest.mark.parametrize("key", ["l", "s"])
async def test_a_value_typed_just_before_it_is_launched_or_saved_is_in_the_recipe(
    key: str, launched: list[Recipe], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = WizardApp("wizard", recipe=demo_recipe())
    async with app.run_test() as pilot:
        await until(pilot, lambda: session(pilot).steps is not None, "the facts are known")
        # What is typed is read at a key that needs it, or not in this test.
        monkeypatch.setattr(wizard, "REREAD_PAUSE", 600.0)
        await burst(pilot, 0, "4", *["tab"] * 4, "end", *["backspace"] * 4, "7", "escape", "5", key)
        if key == "s":
            app.screen.query_one(PathInput).value = str(tmp_path / "saved.yaml")
            await burst(pilot, 0, "enter")
            launched.append(load(tmp_path / "saved.yaml"))
        await until(pilot, lambda: launched, "the recipe")
        assert launched[0].training.epochs == 7


async def test_keys_typed_at_once_after_the_wizard_is_opened_act_on_the_step_they_lead_to(
    launched: list[Recipe],
) -> None:
    save_draft(draft_of(demo_recipe()))
    app = WizardApp()
    async with app.run_test() as pilot:
        await burst(pilot, 0, "n", "1", "4", *["tab"] * 4, "end", *["backspace"] * 4, "7", "escape", "5", "l")
        await until(pilot, lambda: launched, "the recipe")
        assert launched[0].training.epochs == 7


async def test_a_step_has_its_parts_once_it_was_gone_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "AHEAD_PAUSE", 600.0)
    app = WizardApp("wizard")
    async with app.run_test() as pilot:
        await rest(pilot)
        steps = list(app.screen.query(Step))
        assert [bool(step.children) for step in steps] == [True, False, False, False, False]
        await burst(pilot, 0, "4", "2")
        assert [bool(step.children) for step in steps] == [True, True, False, True, False]
        assert [step.display for step in steps] == [False, True, False, False, False]


async def test_steps_are_made_out_of_sight_while_nobody_types_and_are_whole_when_gone_to_in_between() -> None:
    app = WizardApp("wizard", recipe=demo_recipe())
    async with app.run_test() as pilot:
        steps = list(app.screen.query(Step))
        await until(pilot, lambda: any(step.children and not step.built for step in steps), "a step is half made")
        half = next(step for step in steps if step.children and not step.built)
        await burst(pilot, 0, str(half.NUMBER + 1))
        assert (half.built, half.display) == (True, True)
        await until(pilot, lambda: all(step.built for step in steps), "all steps are made")
        assert [step for step in steps if step.display] == [half]
        names = [part.id for part in half.walk_children() if part.id is not None]
        assert len(names) == len(set(names))


async def test_an_app_that_never_comes_to_rest_holds_no_key_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    app = FtApp()
    async with app.run_test() as pilot:
        await pilot.pause()
        monkeypatch.setattr(typeahead, "_is_at_work", lambda _: True)
        monkeypatch.setattr(typeahead, "MOST_LOOKS", 25)
        await burst(pilot, 0, "x", "x", "x", "question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen), "help")


async def test_the_key_that_ends_the_program_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    app = FtApp()
    async with app.run_test() as pilot:
        await pilot.pause()
        monkeypatch.setattr(typeahead, "_is_at_work", lambda _: True)
        send_keys(app, "x", "x", "ctrl+q")
        await until(pilot, lambda: app._exit, "left")


async def test_a_list_that_is_never_read_holds_no_key_for_ever_and_esc_not_at_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(FileBrowser, "_read", lambda *_: None)
    app = FtApp()
    async with app.run_test() as pilot:
        app.push_screen(FileBrowser("title", tmp_path, (".jsonl",)))
        await rest(pilot)
        await burst(pilot, 0, "escape")
        assert isinstance(app.screen, HomeScreen)
        monkeypatch.setattr(typeahead, "MOST_LOOKS", 25)
        app.push_screen(FileBrowser("title", tmp_path, (".jsonl",)))
        await burst(pilot, 0, "down", "enter", "left")
        assert isinstance(app.screen, FileBrowser)


async def test_a_long_text_typed_at_once_arrives_whole() -> None:
    async with FtApp().run_test() as pilot:
        pilot.app.push_screen(SamplePrompt())
        text = "manylettersintoafield" * 12
        await burst(pilot, 0, *text)
        assert pilot.app.screen.query_one(Input).value == text


@pytest.mark.parametrize(
    ("opened", "keys", "why"),
    [
        (SamplePrompt, ("space", "enter"), "Type a question first"),
        (lambda: MapColumns([], Choice("alpaca"), Choice("alpaca")), ("f2",), "No row can be read so"),
        (lambda: MixRows(with_values(Recipe(), {"data.held_out_share": 0.2})), ("x", "f2"), "No rows come of this"),
        (lambda: TrustCode("here/none", None), ("f2",), "There is no code to trust here"),
    ],
)
async def test_a_key_of_a_dialog_that_cannot_act_says_why(
    opened: Callable[[], Screen[Any]], keys: tuple[str, ...], why: str
) -> None:
    app = FtApp()
    async with app.run_test(notifications=True) as pilot:
        dialog = opened()
        app.push_screen(dialog)
        await rest(pilot)
        await burst(pilot, 0, *keys)
        assert app.screen is dialog
        assert any(why in notice.message for notice in app._notifications)


async def test_rows_that_are_held_out_are_those_typed_just_before_the_key_that_takes_them() -> None:
    app = FtApp()
    taken: list[dict[str, str] | None] = []
    async with app.run_test() as pilot:
        app.push_screen(MixRows(Recipe()), taken.append)
        await rest(pilot)
        await burst(pilot, 0, "end", "backspace", "2", "0", "f2")
        await rest(pilot)
        assert taken == [{"data.held_out_share": "0.2"}]


@pytest.mark.parametrize(("opening", "key", "why"), [("home", "c", "No run is chosen"), ("wizard", "l", "Review")])
async def test_a_key_that_cannot_act_now_says_why(opening: Literal["home", "wizard"], key: str, why: str) -> None:
    app = FtApp(opening)
    async with app.run_test(notifications=True) as pilot:
        await rest(pilot)
        await burst(pilot, 0, key)
        assert any(why.casefold() in notice.message.casefold() for notice in app._notifications)
