from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input, OptionList, Select

from finetune_core import demo
from finetune_core.data.scan import row_index
from finetune_core.data.scan.permutation import SampledOrder
from finetune_core.errors import problem
from finetune_core.hardware.installed_torch import TorchBuild
from finetune_core.hardware.torch_fit import NOT_TRIED, Tried
from finetune_core.models.catalogue import from_catalogue
from finetune_core.models.facts import ModelFacts
from finetune_core.models.layer_costs import Figures
from finetune_core.paths import drafts_root
from finetune_core.plan.prepare import prepare
from finetune_core.plan.speed.calibration import remember
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import GUIDES, Recipe
from finetune_core.recipe.yaml_io import load
from finetune_core.runs.directory import RunDir, list_runs
from finetune_core.runs.status import read_status
from finetune_core.text import memory_text
from finetune_tui.clone import as_new
from finetune_tui.dialogs.confirm import Confirm
from finetune_tui.screens.home import HomeScreen
from finetune_tui.widgets.field_form import FieldRow, Typed, id_of
from finetune_tui.widgets.fold import Fold
from finetune_tui.widgets.gpu_table import GpuCard
from finetune_tui.widgets.row_view import PAGE, RowView
from finetune_tui.widgets.words import Line, Words
from finetune_tui.wizard import ways
from finetune_tui.wizard.dialogs.map_columns import MapColumns
from finetune_tui.wizard.dialogs.mix_rows import MixRows
from finetune_tui.wizard.save import SaveRecipe
from finetune_tui.wizard.screen import WizardScreen
from finetune_tui.wizard.session import DATA, HARDWARE, MODEL, REVIEW, SETTINGS, SHOWN_APART
from finetune_tui.wizard.steps.review import ReviewStep
from finetune_tui.wizard.token_link import TokenLink
from finetune_tui.wizard.ways import Ways
from tests.core.worker.test_steps_promised import rows_of
from tests.fakes import GIB, FakeGpu, FakeNvml, host
from tests.tui.sizes import SIZES, assert_inside, assert_snapshot, plain
from tests.tui.walking import send_keys
from tests.tui.wizard_driver import PATIENCE, WizardApp, demo_recipe, ready, sees, session, types, until, wizard

SIZE_NAMES = [f"{width}x{height}" for width, height in SIZES]
SHOWN_FIRST = {
    HARDWARE: "Train on",
    MODEL: "quantise",
    DATA: "rows from",
    SETTINGS: "Effective batch",
    REVIEW: "Tune demo",
}


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every machine looks alike: without a GPU, unless a test brings one."""
    use_gpus(monkeypatch, FakeNvml(broken="No NVIDIA driver was found."))
    monkeypatch.setattr("finetune_core.hardware.look.look_at_host", host)
    use_torch(monkeypatch, TorchBuild("2.13.0+cu126", "12.6", None), NOT_TRIED)


def use_gpus(monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml) -> None:
    monkeypatch.setattr("finetune_core.hardware.look.PyNvml", lambda: nvml)


def use_torch(monkeypatch: pytest.MonkeyPatch, build: TorchBuild, tried: Tried) -> None:
    monkeypatch.setattr("finetune_tui.wizard.steps.hardware.installed_torch", lambda: build)
    monkeypatch.setattr("finetune_tui.wizard.steps.hardware.try_kernel", lambda _hardware: tried)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tests stand in an empty folder, so that they type short names."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def rows_file(folder: Path, *texts: str) -> Path:
    file = folder / "rows.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]} for text in texts
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


async def put(pilot: Pilot[int], path: str, text: str) -> None:
    """Type a text into a field that stands on the open step."""
    screen = pilot.app.screen
    await until(pilot, lambda: screen.query(f"#{id_of(path)}"), "the step is made")
    field = screen.query_one(f"#{id_of(path)}", Input)
    field.focus()
    await until(pilot, lambda: field.has_focus, "the focus")
    field.clear()
    await types(pilot, text)


async def look_at_rows(pilot: Pilot[int]) -> None:
    """Leave the field one types in and go to the rows: news above a field scroll them away, however soon they come."""
    await pilot.press("escape")
    listing = pilot.app.screen.query_one("#row-list")
    listing.focus()
    await until(pilot, lambda: listing.has_focus, "the focus")
    listing.scroll_visible(animate=False)


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


def end_run(run: RunDir) -> None:
    """End what a test has started."""
    status = read_status(run)
    if status is not None and status.supervisor is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(status.supervisor.pid, signal.SIGKILL)


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


async def test_rows_are_shown_as_data_and_as_the_model_sees_them(here: Path) -> None:
    file = rows_file(here, *(f"question {number}" for number in range(1, 121)))
    app = WizardApp("wizard")
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await put(pilot, "data.source", file.name)
        await sees(pilot, "row 1 of 120")
        await sees(pilot, '"content": "question')
        await sees(pilot, "▌Yes.")
        await sees(pilot, "tokens, ")
        await pilot.press("escape")
        app.screen.query_one("#row-list").focus()
        await pilot.press("down")
        await sees(pilot, "row 2 of 120")
        await sees(pilot, "question 2<|im_end|>")
        await pilot.press("j", "1", "0", "7", "enter")
        await sees(pilot, "row 107 of 120")
        await sees(pilot, "question 107<|im_end|>")
        await pilot.press("v")
        await sees(pilot, '▌"Yes"▐')
        await pilot.press("right_square_bracket")
        await sees(pilot, "row 108 of 120")
        await sees(pilot, "Tokens a row:")
        await sees(pilot, "No problem found in 120 rows.")


async def test_rows_are_gone_through_in_a_sampled_order_and_found_by_their_text(here: Path) -> None:
    file = rows_file(here, *(f"question {number}" for number in range(1, 121)))
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await put(pilot, "data.source", file.name)
        await sees(pilot, "row 1 of 120")
        await pilot.press("escape")
        order = SampledOrder(120)
        app.screen.query_one("#row-list").focus()
        await pilot.press("r")
        await sees(pilot, f"row {order.row(0)} of 120")
        await pilot.press("r", "r", "R")
        await sees(pilot, f"row {order.row(1)} of 120")
        await pilot.press("slash", *"TION 77", "enter")
        await sees(pilot, "row 77 of 120")
        await pilot.press("slash", "enter")
        await until(pilot, lambda: not app.screen.query_one(RowView).has_class("-searching"), "the search is done")
        await pilot.press("slash", *"question 200", "enter")
        await sees(pilot, "No row holds")
        assert app.screen.query_one(RowView).number == 77
        await pilot.press("slash", "escape")
        await until(pilot, lambda: not app.screen.query_one(RowView).has_class("-searching"), "the field is gone")


async def test_a_row_far_behind_is_waited_for_until_the_scan_has_come_there(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, begun = threading.Event(), threading.Event()
    whole = row_index.scan

    def held(*args: Any, **options: Any) -> Any:
        begun.set()
        gate.wait(PATIENCE)
        return whole(*args, **options)

    monkeypatch.setattr(row_index, "scan", held)
    monkeypatch.setattr(row_index, "_SMALL", 1000)
    monkeypatch.setattr(row_index, "_NEAR_ROWS", 60)
    rows_file(here, *(f"question {number}" for number in range(1, 901)))
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await put(pilot, "data.source", "rows.jsonl")
        await until(pilot, begun.is_set, "the scan has begun")
        await pilot.press("escape")
        app.screen.query_one("#row-list").focus()
        await pilot.press("j", *"55", "enter")
        await sees(pilot, "row 55")
        await pilot.press("j", *"890", "enter")
        await sees(pilot, "Row 890 is not found yet: 0 rows seen")
        gate.set()
        await sees(pilot, "row 890 of 900")
        await sees(pilot, "question 890")


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
async def test_the_first_step_says_that_torch_does_not_fit_the_driver_and_what_to_type(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    use_gpus(monkeypatch, FakeNvml(FakeGpu(), driver="550.54.15", cuda="12.4"))
    use_torch(monkeypatch, TorchBuild("2.13.0+cu130", "13.0", None), NOT_TRIED)
    app = WizardApp("wizard")
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        await until(pilot, lambda: "cu126" in app.screen.query_one("#torch-fit", Words).plain, "the command")
        words = app.screen.query_one("#torch-fit", Words).plain
        assert "needs driver 580 or newer; this one is 550.54.15" in words
        assert "'torch==2.13.0+cu126' --index-url https://download.pytorch.org/whl/cu126" in words
        laid_out = lambda: all(widget.region.area for widget in app.screen.focus_chain)  # noqa: E731
        await until(pilot, laid_out, "everything is laid out")
        assert_inside(app)


async def test_a_gpu_that_computed_is_not_called_unfit_in_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """With NVIDIA's compatibility package an old driver runs a newer CUDA."""
    nvml = FakeNvml(FakeGpu(), driver="550.54.15", cuda="12.4")
    use_gpus(monkeypatch, nvml)
    use_torch(monkeypatch, TorchBuild("2.13.0+cu130", "13.0", None), Tried({FakeGpu().uuid: None}))
    app = WizardApp("wizard")
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await sees(pilot, "NVIDIA driver 550.54.15")
        await until(pilot, lambda: not app.screen.query_one("#torch-fit", Words).plain, "no caution")


async def test_a_file_of_unusable_rows_is_counted_and_columns_are_named_by_hand(here: Path) -> None:
    (here / "bad.jsonl").write_text('{"messages": [{"role": "assistant", "content": "a"}]}\n' * 3)
    (here / "own.jsonl").write_text('{"frage": "What is it, then?", "antwort": "A fox, I say."}\n' * 3)
    app = WizardApp("wizard")
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await put(pilot, "data.source", "bad.jsonl")
        await sees(pilot, "3 of 3 rows cannot be used")
        await sees(pilot, "row 1 of 3")
        await put(pilot, "data.source", "own.jsonl")
        await sees(pilot, "say which column is what")
        await put(pilot, "data.mapping", "{instruction: frage, output: antwort}")
        await look_at_rows(pilot)
        await sees(pilot, "▌A fox, I say.")


async def test_columns_are_named_in_a_dialog_that_shows_what_the_first_row_becomes(here: Path) -> None:
    (here / "own.jsonl").write_text('{"frage": "What is it, then?", "antwort": "A [b]fox[/b], I say."}\n' * 3)
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await put(pilot, "data.source", "own.jsonl")
        await sees(pilot, "say which column is what")
        await pilot.press("escape", "c")
        await sees(pilot, "What the rows are")
        dialog = app.screen
        assert isinstance(dialog, MapColumns)
        dialog.query_one("#map-shape", Select).value = "alpaca"
        # The columns are filled in, in their order where their names say nothing.
        await sees(pilot, "assistant (trained): A [b]fox[/b], I say.")
        assert_inside(app)
        dialog.query_one("#part-instruction").focus()
        await pilot.press("enter", "home", "enter")
        await sees(pilot, "nothing says which column is the instruction")
        await pilot.press("f2")
        assert app.screen is dialog
        await pilot.press("enter", "down", "enter")
        await sees(pilot, "assistant (trained): A [b]fox[/b], I say.")
        await pilot.press("f2")
        await sees(pilot, "3 rows")
        assert session(pilot).recipe.data.shape == "alpaca"
        assert session(pilot).recipe.data.mapping == {"instruction": "frage", "output": "antwort"}


async def test_the_dialog_of_columns_shows_what_was_recognised_and_taking_that_stays_automatic(here: Path) -> None:
    (here / "own.csv").write_text("id,Question,Answer\n" + "".join(f"{n},What is {n}?,It is {n}.\n" for n in range(9)))
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await put(pilot, "data.source", "own.csv")
        await sees(pilot, "8 to learn from, 1 held out")
        await pilot.press("escape", "c")
        dialog = app.screen
        assert isinstance(dialog, MapColumns)
        await until(pilot, lambda: dialog.query("#part-output"), "the parts")
        shown = {str(one.id): one.value for one in dialog.query(Select)}
        assert (shown["map-shape"], shown["part-instruction"], shown["part-output"]) == ("alpaca", "Question", "Answer")
        await pilot.press("f2")
        await pilot.pause()
        assert (session(pilot).recipe.data.shape, session(pilot).recipe.data.mapping) == ("auto", {})


async def test_steps_to_the_next_row_go_across_a_page_however_fast_they_come(here: Path) -> None:
    rows_file(here, *(f"question {number}" for number in range(1, 3 * PAGE)))
    app = WizardApp("wizard")
    async with app.run_test(size=(100, 40)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await put(pilot, "data.source", "rows.jsonl")
        view = app.screen.query_one(RowView)
        await until(pilot, lambda: len(view.rows) == PAGE, "the first page")
        view.query_one(OptionList).focus()
        await pilot.pause()
        for _ in range(PAGE + 3):
            send_keys(app, "right_square_bracket")
        await until(pilot, lambda: view.number >= PAGE + 4, "every step was taken")
        assert view.number == PAGE + 4


async def test_another_file_begins_with_auto_and_the_first_one_has_its_own_again(here: Path) -> None:
    (here / "own.jsonl").write_text('{"frage": "What is it, then?", "antwort": "A fox, I say."}\n' * 3)
    rows_file(here, "a", "b", "c")
    app = WizardApp("wizard")
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await put(pilot, "data.source", "own.jsonl")
        await put(pilot, "data.mapping", "{instruction: frage, output: antwort}")
        await look_at_rows(pilot)
        await sees(pilot, "▌A fox, I say.")
        await put(pilot, "data.source", "rows.jsonl")
        await sees(pilot, "Another file: mapping begins afresh, on auto; own.jsonl keeps its own.")
        await until(pilot, lambda: session(pilot).data is not None and session(pilot).data.facts is not None, "rows")
        assert session(pilot).problems() == {}
        assert app.screen.query_one(f"#{id_of('data.mapping')}", Input).value == ""
        await put(pilot, "data.source", "own.jsonl")
        await sees(pilot, "As set before for own.jsonl: mapping.")
        await sees(pilot, "▌A fox, I say.")
        assert session(pilot).recipe.data.mapping == {"instruction": "frage", "output": "antwort"}


async def test_what_can_be_read_in_two_ways_is_asked_and_answered_by_a_key(here: Path) -> None:
    lines = [json.dumps({"prompt": f"p {n}", "completion": f"c {n}", "label": n % 2}) for n in range(10)]
    (here / "graded.jsonl").write_text("\n".join(lines))
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await put(pilot, "data.source", "graded.jsonl")
        await sees(pilot, "To decide: does 0 in `label` mark a bad answer?")
        await pilot.press("escape")
        app.screen.query_one("#question-answers").focus()
        await pilot.press("down", "enter")
        await sees(pilot, "5 of 10 rows cannot be used")
        assert session(pilot).recipe.data.mapping["label"] == "label"
        assert "To decide" not in plain(app)


async def test_what_is_held_out_and_mixed_in_is_chosen_in_a_dialog_that_counts_the_rows(here: Path) -> None:
    rows_file(here, *(f"question {number}" for number in range(100))).rename(here / "mine.jsonl")
    rows_file(here, *(f"general {number}" for number in range(100))).rename(here / "general.jsonl")
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await put(pilot, "data.source", "mine.jsonl")
        await sees(pilot, "95 to learn from, 5 held out")
        await pilot.press("escape", "m")
        await sees(pilot, "95 rows to learn from, 5 held out.")
        assert isinstance(app.screen, MixRows)
        app.screen.query_one("#mix-share").focus()
        await pilot.press("end", *(["backspace"] * 4), "2", "0")
        await sees(pilot, "80 rows to learn from, 20 held out.")
        await pilot.press("x")
        await sees(pilot, "`20x` is no percentage")
        await pilot.press("f2")
        assert isinstance(app.screen, MixRows)
        await pilot.press("backspace")
        app.screen.query_one("#mix-add", Button).press()
        await sees(pilot, "Choose rows to mix in")
        await pilot.press("slash", *"general", "enter", "enter")
        await sees(pilot, "94 rows to learn from, 20 held out.")
        await sees(pilot, "general.jsonl      14  15 %")
        assert_inside(app)
        await pilot.press("f2")
        await sees(pilot, "14 of them are")
        data = session(pilot).recipe.data
        assert (data.held_out_share, [round(share, 3) for share in data.mix.values()]) == (0.2, [0.15])
        await pilot.press("m")
        await sees(pilot, "94 rows to learn from")
        app.screen.query_one(".mixed-out", Button).press()
        await sees(pilot, "80 rows to learn from, 20 held out.")
        await pilot.press("f2")
        await until(pilot, lambda: not session(pilot).recipe.data.mix, "nothing is mixed in any more")


async def test_what_rows_are_made_of_and_what_of_the_held_out_ones_is_learnt_too_is_shown(here: Path) -> None:
    rows_file(here, *(f"question {number}" for number in range(30))).rename(here / "mine.jsonl")
    rows_file(here, "question 7", "something else")
    app = WizardApp("wizard")
    async with app.run_test(size=(120, 60)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await put(pilot, "data.source", "mine.jsonl")
        await sees(pilot, "No problem found in 30 rows")
        for words in ("rows by number of turns", "2 30 100 %", "turns by role", "user 30 50 %"):
            await until(pilot, lambda words=words: words in " ".join(plain(app).split()), words)  # type: ignore[misc]
        wizard(pilot).on_typed(Typed("data.held_out", "rows.jsonl"))
        await sees(pilot, "! leakage-exact  1 row: a held-out row is trained on too  [Enter: drop]")
        await sees(pilot, "row 1: row 8 to learn from")


async def test_a_recipe_is_not_saved_while_a_field_would_be_written_as_its_default(here: Path) -> None:
    app = WizardApp("wizard")
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await put(pilot, "adapter.rank", "many")
        await pilot.press("escape", "5", "s")
        await sees(pilot, "Not saved: 1 field cannot be read")
        assert isinstance(app.screen, WizardScreen)


async def test_one_key_goes_through_what_can_be_done_about_a_finding(here: Path) -> None:
    file = rows_file(here, *(f"question {number}" for number in range(1, 6)))
    file.write_text(file.read_text() + file.read_text().splitlines()[0] + "\n")
    app = WizardApp("wizard")
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await put(pilot, "data.source", file.name)
        await sees(pilot, "! exact-duplicate  1 row: the same row again  [Enter: drop]")
        await sees(pilot, "row 6: as row 1")
        await pilot.press("escape")
        wizard = app.screen
        assert isinstance(wizard, WizardScreen)
        wizard.query_one("#findings").focus()
        await pilot.press("enter")
        await sees(pilot, "the same row again  [left out]")
        assert wizard.session.recipe.data.fixes == {"exact-duplicate": "drop"}
        await pilot.press("enter")
        await sees(pilot, "[Enter: drop]")
        assert wizard.session.recipe.data.fixes == {}


async def test_bad_rows_are_told_by_number_and_a_missing_file_at_its_field(here: Path) -> None:
    file = rows_file(here, "a", "b", "c")
    file.write_text(file.read_text() + '{"messages": []}\nnot json\n')
    app = WizardApp("wizard")
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await put(pilot, "data.source", file.name)
        await sees(pilot, "2 of 5 rows cannot be used")
        await sees(pilot, "row 5: the row is not JSON")
        await put(pilot, "data.source", "none.jsonl")
        await sees(pilot, "3 !1 Data")
        await sees(pilot, "! the file")
        await pilot.press("escape")
        await pilot.click("#use-demo")
        await sees(pilot, "3 ▸ Data")


async def test_a_file_that_is_chosen_is_shown_from_its_top(here: Path) -> None:
    file = rows_file(here, "a", "b", "c")
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        step = wizard(pilot).step
        await until(pilot, lambda: step.max_scroll_y > 0, "a page that scrolls")
        step.scroll_end(animate=False)
        await until(pilot, lambda: step.scroll_offset.y > 0, "scrolled")
        await pilot.press("o")
        await sees(pilot, file.name)
        await pilot.press("slash", *file.stem)
        await until(pilot, lambda: isinstance(app.focused, Input) and app.focused.value == file.stem, "filtered")
        await pilot.press("enter")
        await sees(pilot, "3 rows")
        await until(pilot, lambda: step.scroll_offset.y == 0, "the top")


async def test_a_file_or_folder_that_is_mended_on_the_disk_is_read_again(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune_tui.wizard.screen.WATCH_SECONDS", 0.1)
    file = rows_file(here, "a", "b", "c")
    good = file.read_text()
    file.write_text(good + "not json\n")
    app = WizardApp("wizard")
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await put(pilot, "data.source", file.name)
        await sees(pilot, "1 of 4 rows cannot be used")
        file.write_text(good + good)
        await sees(pilot, "6 rows, ")
        await sees(pilot, "All 6 rows can be used; look at these")
        file.unlink()
        await sees(pilot, "! the file of rows cannot be opened")
        file.write_text(good)
        await sees(pilot, "No problem found in 3 rows.")
        await pilot.press("escape", "2")
        await put(pilot, "model.source", "./mine")
        await until(pilot, lambda: session(pilot).found.get("model.source"), "the folder holds no model")
        shutil.copytree(demo.model_dir(), here / "mine")
        await until(pilot, lambda: not session(pilot).found.get("model.source"), "the model is there")


async def test_launching_past_a_failed_template_gate_asks_and_is_recorded(here: Path) -> None:
    bad = (
        "{% for m in messages %}{{ m['role'] }}: {% if m['role'] == 'assistant' %}{% generation %}"
        "{{ m['content'][:1] }}{% endgeneration %}{{ m['content'][1:] }}{% else %}{{ m['content'] }}{% endif %}"
        "{{ '<|im_end|>' }}{% endfor %}"
    )
    (here / "bad.jinja").write_text(bad)
    recipe = with_values(demo_recipe(), {"model.chat_template": str(here / "bad.jinja")})
    app = WizardApp("wizard", recipe=recipe)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await until(pilot, session(pilot).only_the_gate, "the gate speaks against it")
        await pilot.press("l")
        await sees(pilot, "The template gate is not passed")
        await sees(pilot, "every answer that is to be trained is trained: 400 of 400 rows fail")
        assert_inside(app)
        await pilot.press("enter")
        assert app.shown_run is None
        assert session(pilot).recipe.data.template_gate == "enforce"
        await pilot.press("l")
        await sees(pilot, "Launch all the same")
        await pilot.press("left", "enter")
        await until(pilot, lambda: app.shown_run is not None, "the run is started")
    assert app.shown_run is not None
    assert load(app.shown_run.recipe_file).data.template_gate == "override"
    end_run(app.shown_run)


async def test_a_gpu_is_chosen_and_given_back_by_keys_and_by_mouse(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = FakeGpu(0, memory_free=20 * GIB, processes=((os.getpid(), 60 * GIB),))
    nvml = FakeNvml(busy, FakeGpu(1, "NVIDIA A100-SXM4-80GB", compute_capability=(8, 0)))
    use_gpus(monkeypatch, nvml)
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await sees(pilot, "GPU 0 NVIDIA H100")
        await sees(pilot, "60.0 GiB")
        await sees(pilot, "GPU 1 (NVIDIA A100-SXM4-80GB) has the most free memory")
        await pilot.press("tab", "space")
        await sees(pilot, "[x] GPU 0")
        await until(pilot, lambda: session(pilot).device_memory()[0] == "GPU 0")
        await pilot.click(app.screen.query(GpuCard).last())
        await sees(pilot, "[x] GPU 1")
        assert "[x] GPU 0" not in plain(app)
        await pilot.press("space")
        await until(pilot, lambda: "[x]" not in plain(app))
        assert session(pilot).recipe.hardware.gpus == []
        nvml.gpus[busy.uuid] = FakeGpu(0, memory_free=79 * GIB, utilisation=77)
        await sees(pilot, "77 % busy")


async def test_no_gpu_is_a_message_with_what_to_expect_of_the_cpu() -> None:
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await sees(pilot, "No GPU. No NVIDIA driver was found.")
        await sees(pilot, "Training on the CPU works, and is slow")
        await pilot.press("right")
        await sees(pilot, "! the recipe asks for a GPU, and none can be used")
        await sees(pilot, "!1 Hardware")


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


async def test_a_hostile_row_is_only_text(here: Path) -> None:
    file = rows_file(here, "[INST] \x1b]52;c;aGk=\x07 [@click=app.quit]x[/] 50% off [/]")
    app = WizardApp("wizard")
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await put(pilot, "data.source", file.name)
        await sees(pilot, "[@click=app.quit]")
        await sees(pilot, "▌Yes.")
        assert "\x1b" not in plain(app)


async def test_hostile_names_of_columns_and_files_are_only_text_in_the_dialogs(here: Path) -> None:
    column, name = "[b]frage[/b] [red]", "[i]rows[red].jsonl"
    row = {column: "What is \x1b[2Jit, then?", "antwort": "A \x9b31mfox [bold]indeed[/bold].", "\x1b[31m\u202e": 1}
    (here / name).write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    app = WizardApp("wizard")
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        wizard(pilot).on_typed(Typed("data.source", name))
        await sees(pilot, "the shape of the rows is not known")
        await pilot.press("c")
        await sees(pilot, "What the rows are")
        app.screen.query_one("#map-shape", Select).value = "alpaca"
        await until(pilot, lambda: app.screen.query("#part-instruction"), "the parts are there")
        app.screen.query_one("#part-instruction", Select).value = column
        app.screen.query_one("#part-output", Select).value = "antwort"
        await sees(pilot, "[bold]indeed[/bold]")
        app.screen.query_one("#part-instruction").focus()
        await pilot.press("enter")
        await sees(pilot, "[b]frage[/b]")
        shown = plain(app)
        await pilot.press("escape", "f2")
        await sees(pilot, "2 rows, ")
        await pilot.press("m")
        await sees(pilot, "1 row to learn from, 1 held out.")
        await app.screen._add(str(here / name))  # type: ignore[attr-defined]
        await sees(pilot, "[i]rows[red].jsonl")
        shown += plain(app)
    assert not {letter for letter in shown if (ord(letter) < 32 and letter != "\n") or letter in "\x9b\u202e"}


async def test_a_thread_that_dies_of_a_defect_is_told_and_nothing_waits_in_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("[/]")

    monkeypatch.setattr("finetune_tui.wizard.steps.model.list_models", broken)
    async with WizardApp("wizard").run_test(size=(80, 24), notifications=True) as pilot:
        await sees(pilot, "RuntimeError('[/]')")
        await sees(pilot, "defect")
