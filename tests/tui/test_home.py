from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Static

from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.runs.status import read_status, write_status
from finetune_core.runs.upkeep import lifecycle
from finetune_tui import run_rows
from finetune_tui.app import FtApp
from finetune_tui.clone import as_new
from finetune_tui.dialogs.confirm import Confirm
from finetune_tui.screens.help import PageScreen
from finetune_tui.screens.home import HomeScreen
from tests.tui.listed_runs import make_run
from tests.tui.sizes import SIZES, assert_inside, assert_snapshot, plain, until

SIZE_NAMES = [f"{width}x{height}" for width, height in SIZES]
DAY = 86400.0


@pytest.fixture
def fixed_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> float:
    """Runs are made at one fixed second, in a home whose path is the same everywhere."""
    moment = time.mktime((2026, 1, 31, 14, 0, 0, 0, 0, -1))
    monkeypatch.setattr(lifecycle.time, "strftime", lambda _form: "20260131-140000")
    monkeypatch.setattr(run_rows, "now", lambda: moment)
    monkeypatch.chdir(tmp_path)
    return moment


@pytest.fixture
def four_runs(fixed_names: float) -> list[RunDir]:
    start = fixed_names
    return [
        make_run("capitals", state="done", step=60, total=60, loss=0.0214, started=start - 3 * DAY),
        make_run("poems", state="failed", step=12, total=500, loss=float("nan"), started=start - 7300),
        make_run("support-chat", state="training", step=99, total=400, loss=1.25, started=start - 300),
        make_run("legal-nf4", live=True, state="training", step=250, total=1000, loss=0.75, started=start - 30),
    ]


async def settled(pilot: Pilot[Any]) -> None:
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


class Opened(Screen[None]):
    """Stands for the screens that other files test."""

    def __init__(self, what: object) -> None:
        super().__init__()
        self.what = what


class HomeOnly(FtApp):
    """The app with the doors to the other big screens replaced, so that this file tests the list alone."""

    def open_dashboard(self, run: RunDir) -> None:
        self._show(Opened(run))

    def open_wizard(self, recipe: Recipe | None = None) -> None:
        self._show(Opened(recipe))


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
async def test_a_newcomer_is_told_how_to_start(size: tuple[int, int], fixed_names: float) -> None:
    app = HomeOnly()
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        assert_inside(app)
        # It names the folder of the runs, which is another one each time.
        app.screen.query_one("#chosen", Static).visible = False
        await pilot.pause()
        await assert_snapshot(pilot, "home-empty")


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
async def test_every_run_shows_state_progress_and_loss(size: tuple[int, int], four_runs: list[RunDir]) -> None:
    app = HomeOnly()
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        assert_inside(app)
        await assert_snapshot(pilot, "home")


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
async def test_help_tells_every_key_of_the_list(size: tuple[int, int], four_runs: list[RunDir]) -> None:
    app = HomeOnly()
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        await pilot.press("question_mark")
        await pilot.pause()
        assert_inside(app)
        await assert_snapshot(pilot, "home-help")


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
async def test_deleting_asks_with_the_harmless_answer_chosen(size: tuple[int, int], four_runs: list[RunDir]) -> None:
    app = HomeOnly()
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        await pilot.press("down", "d")
        await pilot.pause()
        assert isinstance(app.screen, Confirm)
        assert_inside(app)
        assert app.focused is not None
        assert app.focused.id == "choice-keep"
        await pilot.press("enter")
        await settled(pilot)
        assert four_runs[2].path.exists()


async def test_a_deleted_run_lies_in_the_trash_until_u_restores_it(four_runs: list[RunDir]) -> None:
    (four_runs[2].result).mkdir()
    (four_runs[2].result / "weights").write_bytes(b"x" * 41_000_000)
    app = HomeOnly()
    async with app.run_test(notifications=True, size=(120, 40)) as pilot:
        await settled(pilot)
        await pilot.press("down", "d")
        await until(pilot, "result (41 MB) lie in the")
        await pilot.press("left", "enter")
        await until(pilot, "3 runs")
        assert not four_runs[2].path.exists()
        await until(pilot, "u restores")
        await pilot.press("home", "u")
        await until(pilot, "4 runs")
        await until(pilot, "restored.")
        home = app.screen
        assert isinstance(home, HomeScreen)
        await settled(pilot)
        assert home.chosen is not None
        assert home.chosen.run == four_runs[2]


async def test_undo_with_an_empty_trash_says_so(fixed_names: float) -> None:
    app = HomeOnly()
    async with app.run_test(notifications=True) as pilot:
        await settled(pilot)
        await pilot.press("u")
        await until(pilot, "Nothing to restore")


async def test_the_cursor_stands_on_the_run_that_was_launched_whatever_the_filter_hides(
    four_runs: list[RunDir],
) -> None:
    app = FtApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        home = app.screen
        assert isinstance(home, HomeScreen)
        await pilot.press("slash", *"capitals", "enter")
        launched = make_run("brand-new", state="done", step=1, total=1)
        app.open_dashboard(launched)
        await pilot.pause()
        await pilot.press("q")
        await until(pilot, "5 runs")
        assert app.screen is home
        assert home.chosen is not None
        assert home.chosen.run == launched


async def test_a_run_at_work_is_not_deleted_and_the_reason_is_told(four_runs: list[RunDir]) -> None:
    app = HomeOnly()
    async with app.run_test(notifications=True) as pilot:
        await settled(pilot)
        await pilot.press("d")
        await until(pilot, "Stop it first")
        assert four_runs[3].path.exists()


async def test_a_run_at_work_cannot_be_resumed(four_runs: list[RunDir]) -> None:
    app = HomeOnly()
    async with app.run_test(notifications=True) as pilot:
        await settled(pilot)
        await pilot.press("r")
        await until(pilot, "Only a run that ended early")


async def test_the_palette_tells_what_cannot_be_done_with_the_chosen_run(four_runs: list[RunDir]) -> None:
    app = HomeOnly()
    async with app.run_test() as pilot:
        await settled(pilot)
        entries = {entry.label: entry for entry in app.palette_entries(app.screen)}
        assert "this one is training" in entries["Resume"].why_not
        assert entries["Delete"].why_not.startswith("Stop it first")
        assert not entries["Open"].why_not
        assert list(entries).index("Resume") > list(entries).index("Quit"), "what can be done comes first"


async def test_enter_opens_the_chosen_run_and_home_lists_it_still(four_runs: list[RunDir]) -> None:
    app = HomeOnly()
    async with app.run_test(notifications=True) as pilot:
        await settled(pilot)
        await pilot.press("down", "down", "enter")
        await pilot.pause()
        assert isinstance(app.screen, Opened)
        assert app.screen.what == four_runs[1]
        app.go_home()
        await settled(pilot)
        assert isinstance(app.screen, HomeScreen)
        assert app.screen.chosen is not None
        assert app.screen.chosen.run == four_runs[1]


async def test_a_clone_opens_the_wizard_with_automatic_values_automatic_again(four_runs: list[RunDir]) -> None:
    app = HomeOnly()
    async with app.run_test(notifications=True) as pilot:
        await settled(pilot)
        await pilot.press("c")
        await pilot.pause()
        assert isinstance(app.screen, Opened)
        assert isinstance(app.screen.what, Recipe)
        assert app.screen.what.output.name == "legal-nf4"


def test_a_cloned_value_is_automatic_again_where_it_had_a_reason() -> None:
    recipe = Recipe()
    recipe.training.learning_rate, recipe.training.micro_batch, recipe.adapter.rank = 2e-4, 4, 8
    recipe.model.dtype = "bfloat16"
    recipe.reasons = {"training.micro_batch": "it fits", "model.dtype": "compute capability 9.0", "gone.field": "?"}
    again = as_new(recipe)
    assert again.training.micro_batch is None
    assert again.model.dtype == "auto"
    assert (again.training.learning_rate, again.adapter.rank) == (2e-4, 8)


async def test_the_filter_keeps_matching_runs_and_esc_brings_all_back(four_runs: list[RunDir]) -> None:
    app = HomeOnly()
    async with app.run_test(notifications=True) as pilot:
        await settled(pilot)
        await pilot.press("slash", *"POE", "enter")
        await pilot.pause()
        assert "poems" in plain(app)
        assert "capitals" not in plain(app)
        await pilot.press("escape")
        await pilot.pause()
        assert "capitals" in plain(app)


async def test_the_cursor_stays_on_its_run_when_a_new_one_appears(four_runs: list[RunDir]) -> None:
    app = HomeOnly()
    async with app.run_test(notifications=True) as pilot:
        await settled(pilot)
        home = app.screen
        assert isinstance(home, HomeScreen)
        await pilot.press("down")
        make_run("newest", state="done", step=1, total=1)
        home._look()
        await settled(pilot)
        assert "newest" in plain(app)
        assert home.chosen is not None
        assert home.chosen.run == four_runs[2]


async def test_a_step_forward_changes_only_its_own_cells(
    four_runs: list[RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = HomeOnly()
    async with app.run_test(notifications=True) as pilot:
        await settled(pilot)
        home = app.screen
        assert isinstance(home, HomeScreen)
        changed: list[tuple[object, object]] = []
        monkeypatch.setattr(home.table, "update_cell", lambda row, column, _value: changed.append((row, column)))
        home._look()
        await settled(pilot)
        assert changed == []
        run = four_runs[3]
        status = read_status(run)
        assert status is not None
        write_status(run, status.changed(step=251))
        home._look()
        await settled(pilot)
        assert changed == [(run.name, "progress")]


async def test_hostile_names_are_shown_and_never_obeyed(fixed_names: float, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run("x", state="done", step=1, total=1)
    status = read_status(run)
    assert status is not None
    write_status(run, status.changed(model="[@click=app.quit]m[/] \x1b]52;c;AAAA\x07", data="[/] 50% off \x9b2J"))
    app = HomeOnly()
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        shown = plain(app)
        assert "[@click=app.quit]m[/]" in shown
        assert "[/] 50% off" in shown
        assert "\x1b" not in shown
        assert "\x9b" not in shown


async def test_a_damaged_run_is_listed_and_opening_its_recipe_tells_what_is_wrong(four_runs: list[RunDir]) -> None:
    four_runs[3].recipe_file.write_text("model: [")
    four_runs[3].status_file.write_text("{")
    app = HomeOnly()
    async with app.run_test(notifications=True) as pilot:
        await settled(pilot)
        assert "legal-nf4" in plain(app)
        await pilot.press("home", "c")
        await pilot.pause()
        assert isinstance(app.screen, PageScreen)
        assert "fix" in plain(app)


async def test_q_leaves_the_program(fixed_names: float) -> None:
    app = HomeOnly()
    async with app.run_test(notifications=True) as pilot:
        await settled(pilot)
        await pilot.press("q")
    assert app.return_value == 0


def test_a_long_name_is_cut_before_what_sets_the_run_apart() -> None:
    from finetune_core.recipe.check import with_values
    from finetune_core.runs.upkeep.lifecycle import create
    from finetune_core.runs.view.summary import summarise
    from finetune_tui.run_rows import RunRow

    values = {"model.source": "owner/smollm2-135m-instruct", "data.source": "/d/capitals.jsonl", "adapter.rank": 16}
    create(with_values(Recipe(), values), {})
    run = create(with_values(Recipe(), {**values, "adapter.rank": 32, "training.learning_rate": 1e-4}), {})
    row = RunRow(run, summarise(run))
    assert row.title(80) == "smollm2-135m-instruct-capitals r=32 lr=1e-4"
    assert row.title(27) == "smollm2-135m-… r=32 lr=1e-4"
    assert all(len(row.title(width)) <= width for width in range(1, 60))


async def test_the_list_shows_what_sets_runs_apart_and_the_time_where_names_are_the_same(fixed_names: float) -> None:
    from finetune_core.recipe.check import with_values
    from finetune_core.runs.upkeep.lifecycle import create

    for changed in ({}, {"adapter.rank": 64}, {"training.learning_rate": 1e-4}, {}):
        create(with_values(Recipe(), {"output.name": "capitals", **changed}), {})
    for old in ("20250101-101500-old", "20250102-111500-old"):
        run = create(with_values(Recipe(), {"output.name": "x"}), {})
        status = read_status(run)
        assert status is not None
        run.status_file.write_text(status.model_dump_json(exclude={"title", "apart"}))
        run.path.rename(run.path.with_name(old))
    app = HomeOnly()
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        lines = [line.split("○ created")[-1].strip() for line in plain(app).splitlines() if "created" in line]
        assert sorted(lines) == [
            "capitals", "capitals lr=1e-4", "capitals r=64", "copy of capitals", "old 01-01 10:15", "old 01-02 11:15",
        ]  # fmt: skip
