from __future__ import annotations

import pytest
from textual.command import CommandPalette
from textual.widgets import Input

from finetune_core.errors import FtError, Problem, problem
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_tui.actions import ACTIONS, Action, actions, bindings, key_text
from finetune_tui.app import FtApp
from finetune_tui.dashboard.screen import DashboardScreen
from finetune_tui.dialogs.confirm import Confirm
from finetune_tui.dialogs.dialog import Palette
from finetune_tui.screens.help import HelpScreen, PageScreen
from finetune_tui.screens.home import HomeScreen
from finetune_tui.screens.review_rows import ReviewRowsScreen
from finetune_tui.screens.too_small import TooSmallScreen
from finetune_tui.theming import read_choice
from finetune_tui.widgets.row_view import RowView
from finetune_tui.wizard.screen import WizardScreen
from tests.tui.listed_runs import finished_events, make_run
from tests.tui.sizes import SIZES, assert_inside, plain, until

SCREENS = {
    "home": HomeScreen,
    "wizard": WizardScreen,
    "dashboard": DashboardScreen,
    "rows": RowView,
    "review": ReviewRowsScreen,
    "app": FtApp,
}
# Keys that some terminals, multiplexers or editors keep for themselves.
NEVER_ARRIVE = {"ctrl+b", "ctrl+a", "ctrl+s", "ctrl+z", "ctrl+enter", "ctrl+j", "ctrl+space", "ctrl+e", "ctrl+k",
                "f1", "f5", "f6"}  # fmt: skip


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: f"{action.scope}.{action.name}")
def test_every_action_of_the_table_is_defined_where_it_says(action: Action) -> None:
    name = action.name.partition("(")[0]
    assert callable(getattr(SCREENS[action.scope], f"action_{name}", None))
    assert action.help
    assert not set(action.key.split(",")) & NEVER_ARRIVE


@pytest.mark.parametrize("scope", SCREENS)
def test_no_key_means_two_things_on_one_screen(scope: str) -> None:
    keys = [
        key
        for action in (*actions(scope), *(actions("app") if scope != "app" else ()))
        for key in action.key.split(",")
    ]
    assert len(keys) == len(set(keys))
    assert len(bindings(scope)) == len(actions(scope))


def test_keys_are_written_as_people_write_them() -> None:
    shown = {action.name: key_text(action) for action in actions("app")}
    assert (shown["show_help"], shown["command_palette"]) == ("?", "Ctrl+P")


@pytest.fixture
def run() -> RunDir:
    return make_run("ended", events=finished_events(), state="done", step=60, total=60)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_the_app_opens_where_it_was_told_and_comes_back_to_the_list(size: tuple[int, int], run: RunDir) -> None:
    app = FtApp("dashboard", run=run)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        assert isinstance(app.screen, DashboardScreen)
        assert app.current_scope == "dashboard"
        app.open_wizard(Recipe())
        await pilot.pause()
        assert isinstance(app.screen, WizardScreen)
        assert app.current_scope == "wizard"
        app.go_home()
        await pilot.pause()
        assert isinstance(app.screen, HomeScreen)


async def test_after_the_first_run_the_list_has_its_keys_again() -> None:
    app = FtApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "There are no runs yet")
        await pilot.press("n")
        await until(pilot, "Hardware")
        app.open_dashboard(make_run("ended", events=finished_events(), state="done", step=60, total=60))
        await until(pilot, "60/60")
        assert [type(screen) for screen in app.screen_stack] == [HomeScreen, DashboardScreen]
        await pilot.press("q")
        await until(pilot, "q Quit")
        await pilot.press("enter")
        await until(pilot, "60/60")


@pytest.mark.parametrize("scope", ["home", "dashboard", "wizard"])
async def test_help_tells_the_keys_of_the_screen_it_was_called_from(scope: str, run: RunDir) -> None:
    app = FtApp(scope, run=run, recipe=Recipe())  # type: ignore[arg-type]
    async with app.run_test(size=(120, 60)) as pilot:
        await pilot.pause()
        app.action_show_help()
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)
        shown = " ".join(plain(app).split())
        assert all(action.help in shown for action in actions(scope))
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, SCREENS[scope])


async def test_the_command_palette_offers_the_actions_of_the_screen() -> None:
    app = FtApp()
    async with app.run_test(size=(100, 50)) as pilot:
        await pilot.press("ctrl+p")
        await pilot.pause()
        assert isinstance(app.screen, CommandPalette)
        await until(pilot, "Set up a new run")
        names = {entry.label for entry in app.palette_entries(app.screen_stack[0])}
        assert {action.label for action in actions("home")} <= names
        possible = {command.title for command in app.get_system_commands(app.screen_stack[0])}
        assert not {"Open", "Clone", "Resume", "Delete"} & possible, "there is no run to do it with"


async def test_a_command_of_the_palette_does_what_its_key_does() -> None:
    app = FtApp()
    async with app.run_test(size=(100, 50)) as pilot:
        await pilot.press("ctrl+p")
        await pilot.pause()
        app.screen.query_one(Input).value = "Filter"
        await until(pilot, "Show only the runs")
        await pilot.press("enter")
        await until(pilot, "part of a name")
        assert isinstance(app.screen, HomeScreen)


async def test_the_palette_finds_a_theme_by_its_name_and_the_choice_is_kept() -> None:
    app = FtApp()
    async with app.run_test(size=(100, 50)) as pilot:
        await pilot.press("ctrl+p")
        await pilot.pause()
        assert "Theme: light" not in plain(app)
        app.screen.query_one(Input).value = "high-contrast"
        await until(pilot, "Theme: high-contrast")
        await pilot.press("enter")
        await pilot.pause()
        assert app.theme == "high-contrast"
    assert read_choice() == "high-contrast"


@pytest.mark.parametrize("size", [(59, 18), (60, 17), (1, 1)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_a_terminal_too_small_gets_a_notice_until_it_is_larger(size: tuple[int, int]) -> None:
    app = FtApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("question_mark")
        await pilot.resize_terminal(*size)
        await pilot.pause()
        assert isinstance(app.screen, TooSmallScreen)
        await pilot.resize_terminal(60, 18)
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)


async def test_a_dialog_left_under_the_notice_uncovers_nothing_that_cannot_be_laid_out() -> None:
    app = FtApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+p")
        await until(pilot, "Set up a new run, step by step")
        dialog = HelpScreen("home")
        app.push_screen(dialog)
        await pilot.resize_terminal(4, 35)
        await pilot.pause()
        dialog.dismiss()
        await until(pilot, "mean")
        assert [type(screen) for screen in app.screen_stack] == [HomeScreen, Palette, TooSmallScreen]
        await pilot.resize_terminal(80, 24)
        await until(pilot, "Set up a new run, step by step")


async def test_the_notice_tells_both_sizes() -> None:
    app = FtApp()
    async with app.run_test(size=(50, 10)) as pilot:
        await until(pilot, "50x10")
        assert "60x18" in plain(app)


async def test_a_screen_opened_in_a_terminal_too_small_lies_under_the_notice(run: RunDir) -> None:
    app = FtApp()
    async with app.run_test(size=(50, 10)) as pilot:
        await pilot.pause()
        app.open_dashboard(run)
        await pilot.pause()
        assert isinstance(app.screen, TooSmallScreen)
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert isinstance(app.screen, DashboardScreen)


async def test_under_the_notice_nothing_opens_by_a_key_and_nothing_is_laid_out() -> None:
    app = FtApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+p")
        await pilot.resize_terminal(3, 40)
        await pilot.pause()
        await pilot.press("question_mark", "ctrl+t", "ctrl+p", "n", "escape")
        await pilot.resize_terminal(4, 35)
        await pilot.pause()
        assert app.screen_stack[1].query_one(Input).size.width > 40
        app.show_error(problem("what is told meanwhile", where="", why="", remedy=""))
        await pilot.pause()
        assert [type(screen) for screen in app.screen_stack] == [HomeScreen, Palette, PageScreen, TooSmallScreen]
        await pilot.resize_terminal(80, 24)
        await until(pilot, "what is told meanwhile")
        await pilot.press("escape")
        await until(pilot, "Set up a new run, step by step")
        assert isinstance(app.screen, Palette)
        assert app.screen.query_one(Input).size.width > 40
        await pilot.resize_terminal(20, 20)
        await pilot.pause()
        app.go_home()
        await pilot.pause()
        assert [type(screen) for screen in app.screen_stack] == [HomeScreen, TooSmallScreen]
        await pilot.press("q")
        await pilot.pause()
    assert app._exit


@pytest.mark.parametrize(
    ("size", "classes"),
    [((60, 18), {"-narrow", "-short"}), ((99, 29), {"-narrow", "-short"}), ((100, 30), {"-wide", "-tall"})],
)
async def test_screens_carry_the_class_of_their_size(size: tuple[int, int], classes: set[str]) -> None:
    app = FtApp()
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        assert {name for name in app.screen.classes if name.startswith("-")} == classes


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_an_error_shows_every_problem_and_closes_with_esc(size: tuple[int, int]) -> None:
    problems = [Problem(f"fault {number} [/]", "here", "because \x1b[2J", "mend it") for number in range(9)]
    app = FtApp()
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        app.show_error(FtError(problems))
        await pilot.pause()
        assert isinstance(app.screen, PageScreen)
        assert "fault 0 [/]" in plain(app)
        assert_inside(app)
        await pilot.press("end")
        await until(pilot, "fault 8 [/]")
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, HomeScreen)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_a_question_with_a_long_text_keeps_its_buttons_in_sight(size: tuple[int, int]) -> None:
    answers: list[str | None] = []
    app = FtApp()
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        text = "\n".join(f"line {number} [bold]" for number in range(200))
        app.push_screen(
            Confirm("Stop [now]?", text, (("now", "Now"), ("later", "Later"), ("no", "No"))), answers.append
        )
        await pilot.pause()
        assert_inside(app)
        shown = plain(app)
        assert all(word in shown for word in ("Stop [now]?", "line 0 [bold]", "Now", "Later", "No"))
        await pilot.press("left", "enter")
        await pilot.pause()
        assert answers == ["later"]


async def test_esc_leaves_a_question_without_an_answer() -> None:
    answers: list[str | None] = []
    app = FtApp()
    async with app.run_test() as pilot:
        app.push_screen(Confirm("Sure?", "text", (("yes", "Yes"), ("no", "No"))), answers.append)
        await pilot.pause()
        await pilot.press("escape")
        await pilot.pause()
    assert answers == [None]


async def test_the_palette_shows_each_key_and_what_cannot_be_done_now_grey_with_the_reason() -> None:
    app = FtApp("wizard")
    async with app.run_test(size=(100, 60)) as pilot:
        await pilot.pause()
        entries = {entry.label: entry for entry in app.palette_entries(app.screen)}
        shown = {action.label: key_text(action) for action in (*actions("wizard"), *actions("app"))}
        shown.pop("Palette")
        assert {label: entries[label].key for label in shown if label in entries} == shown
        assert entries["Next"].why_not == ""
        assert entries["Launch"].why_not
        assert str(entries["Launch"].title.style) == "dim"
        assert "Launch" not in {command.title for command in app.get_system_commands(app.screen)}
        await pilot.press("ctrl+p")
        await pilot.pause()
        app.screen.query_one(Input).value = "Launch"
        await until(pilot, "Launch l")
        await until(pilot, " ".join(entries["Launch"].words.split()))


async def test_what_cannot_be_done_says_why_when_it_is_chosen_in_the_palette() -> None:
    app = FtApp("wizard")
    async with app.run_test(size=(100, 60), notifications=True) as pilot:
        await pilot.pause()
        entry = next(entry for entry in app.palette_entries(app.screen) if entry.label == "Launch")
        await entry.run()  # type: ignore[misc]
        await until(pilot, entry.why_not[:30])
