"""The third step: which column is what, what is held out and mixed in."""

from __future__ import annotations

import json
from pathlib import Path

from textual.widgets import Button, Input, Select

from finetune_tui.widgets.field_form import Typed, id_of
from finetune_tui.wizard.dialogs.map_columns import MapColumns
from finetune_tui.wizard.dialogs.mix_rows import MixRows
from tests.tui.sizes import assert_inside, plain
from tests.tui.wizard_driver import (
    WizardApp,
    look_at_rows,
    put,
    ready,
    rows_file,
    sees,
    session,
    until,
    wizard,
)


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
