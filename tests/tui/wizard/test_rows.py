"""The third step: rows, and what is wrong with them."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input, OptionList

from finetune_core import demo
from finetune_core.data.scan import row_index
from finetune_core.data.scan.permutation import SampledOrder
from finetune_core.recipe.check import with_values
from finetune_core.recipe.yaml_io import load
from finetune_tui.widgets.field_form import Typed
from finetune_tui.widgets.row_view import PAGE, RowView
from finetune_tui.wizard.screen import WizardScreen
from finetune_tui.wizard.steps.data import DataStep
from tests.tui.sizes import assert_inside, plain
from tests.tui.walking import send_keys
from tests.tui.wizard_driver import (
    PATIENCE,
    WizardApp,
    demo_recipe,
    end_run,
    put,
    ready,
    rows_file,
    sees,
    session,
    until,
    wizard,
)


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


async def test_a_thread_that_dies_of_a_defect_is_told_and_nothing_waits_in_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("[/]")

    monkeypatch.setattr("finetune_tui.wizard.steps.model.list_models", broken)
    async with WizardApp("wizard").run_test(size=(80, 24), notifications=True) as pilot:
        await sees(pilot, "RuntimeError('[/]')")
        await sees(pilot, "defect")


async def test_a_file_that_is_gone_is_still_described_until_the_disk_is_looked_at(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune_tui.wizard.screen.WATCH_SECONDS", 600.0)
    file = rows_file(here, "a", "b", "c")
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await put(pilot, "data.source", "rows.jsonl")
        await sees(pilot, "3 rows, ")
        file.unlink()
        step = app.screen.query_one(DataStep)
        step.show()
        assert "3 rows, " in step._summary().plain
