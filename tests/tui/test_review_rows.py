from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import TextArea

from finetune_core.data.rows import Message
from finetune_core.data.synthetic.append import AppendFile
from finetune_core.data.synthetic.pending import Origin, line_of
from finetune_core.data.synthetic.review import Review
from finetune_tui.app import FtApp
from finetune_tui.dialogs.confirm import Confirm
from finetune_tui.dialogs.edit_row import EditRow
from finetune_tui.screens.help import PageScreen
from finetune_tui.screens.home import HomeScreen
from finetune_tui.screens.review_rows import ReviewRowsScreen
from tests.tui.sizes import SIZES, assert_inside, assert_snapshot, plain, until

SIZE_NAMES = [f"{width}x{height}" for width, height in SIZES]
ORIGIN = Origin("writer-1", "localhost:8000", "2026-01-31T14:00:00+00:00", 7)
HOSTILE = "[INST] hi [/INST] 50% off [/] \x1b]52;c;UFdORUQ=\x07 \u202eevil [@click=app.quit]x[/]"


def line(*contents: str) -> bytes:
    roles = ("user", "assistant") * 4
    return line_of([Message(role, text) for role, text in zip(roles, contents, strict=False)], ORIGIN) + b"\n"


def many_lines(count: int) -> str:
    return "\n".join(f"step {n}" for n in range(count))


@pytest.fixture
def pending(tmp_path: Path) -> Path:
    path = tmp_path / "bikes.pending.jsonl"
    path.write_bytes(
        line("How do I oil the chain?", "Clean it first.\n\nThen put one drop on each link and turn the pedals.")
        + line("What pressure do the tyres need?", "It stands on the side of the tyre.")
        + line(HOSTILE, f"{HOSTILE}\tend")
        + line("List the steps.", many_lines(60))
    )
    return path


def accepted(path: Path) -> list[str]:
    file = path.with_name("bikes.accepted.jsonl")
    rows = [json.loads(text) for text in file.read_text().splitlines()] if file.exists() else []
    return [row["messages"][-1]["content"] for row in rows]


async def opened(pilot: Pilot[Any]) -> None:
    await until(pilot, "4 wait")
    await until(pilot, "bikes.pending.jsonl")


async def press(pilot: Pilot[Any], key: str, shown: str) -> None:
    await pilot.press(key)
    await until(pilot, shown)


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
async def test_a_row_shows_both_turns_its_origin_and_how_far_one_is(size: tuple[int, int], pending: Path) -> None:
    app = FtApp("review", rows=pending)
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        assert_inside(app)
        await assert_snapshot(pilot, "review-rows")


async def test_rows_are_accepted_and_rejected_one_after_the_other(pending: Path) -> None:
    app = FtApp("review", rows=pending)
    async with app.run_test(size=(60, 18)) as pilot:
        await opened(pilot)
        await press(pilot, "a", "3 wait, 1 accepted, 0 rejected")
        assert "row 2 of 4" in plain(app)
        await press(pilot, "r", "2 wait, 1 accepted, 1 rejected")
        assert "row 3 of 4" in plain(app)
        await press(pilot, "p", "✗ rejected")
        await press(pilot, "p", "✓ accepted")
        assert accepted(pending) == ["Clean it first.\n\nThen put one drop on each link and turn the pedals."]


async def test_the_last_row_leads_back_to_the_first_that_waits_and_the_end_is_told(pending: Path) -> None:
    app = FtApp("review", rows=pending)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("n", "n", "n")
        await press(pilot, "a", "row 1 of 4")
        for left in ("2 wait", "1 wait", "0 wait"):
            await press(pilot, "r", left)
        assert "All rows of bikes.pending.jsonl are decided" in plain(app)


async def test_undo_takes_back_one_decision_after_the_other_and_shows_its_row(pending: Path) -> None:
    app = FtApp("review", rows=pending)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, "a", "3 wait")
        await press(pilot, "r", "2 wait")
        await press(pilot, "u", "3 wait, 1 accepted, 0 rejected")
        assert "row 2 of 4" in plain(app)
        await press(pilot, "u", "4 wait")
        assert "row 1 of 4" in plain(app)
        await pilot.press("u")
        await pilot.pause()
        assert accepted(pending) == []


async def test_a_decided_row_can_be_decided_otherwise(pending: Path) -> None:
    app = FtApp("review", rows=pending)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, "r", "3 wait, 0 accepted, 1 rejected")
        await press(pilot, "p", "row 1 of 4")
        await press(pilot, "a", "3 wait, 1 accepted, 0 rejected")


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
async def test_a_row_is_changed_in_a_field_for_each_turn(size: tuple[int, int], pending: Path) -> None:
    app = FtApp("review", rows=pending)
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        await pilot.press("e")
        await until(pilot, "Change the row")
        # The row below the dialog may be drawn a frame later.
        await until(pilot, "row 1 of 4")
        assert_inside(app)
        await assert_snapshot(pilot, "review-edit")
        areas = list(app.screen.query(TextArea))
        assert app.focused is areas[1]
        areas[1].text = "Use wax."
        await press(pilot, "f2", "changed by you")
        assert "Use wax." in plain(app)
        assert "4 wait" in plain(app)
        await press(pilot, "a", "1 accepted")
    assert accepted(pending) == ["Use wax."]


async def test_an_empty_answer_cannot_be_saved_and_leaving_changes_nothing(pending: Path) -> None:
    app = FtApp("review", rows=pending)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("e")
        await until(pilot, "Change the row")
        app.screen.query(TextArea).last().text = " "
        await press(pilot, "f2", "This cannot be saved: the answer is empty.")
        assert isinstance(app.screen, EditRow)
        await press(pilot, "escape", "4 wait")
        assert "Clean it first." in plain(app)
        assert "changed by you" not in plain(app)


async def test_letters_typed_into_a_field_decide_nothing(pending: Path) -> None:
    app = FtApp("review", rows=pending)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("e")
        await until(pilot, "Change the row")
        await pilot.press("a", "r", "A", "q")
        assert app.screen.query(TextArea).last().text.startswith("arAqClean")
        await press(pilot, "escape", "4 wait, 0 accepted, 0 rejected")


async def test_saving_an_untouched_row_leaves_its_hostile_text_as_it_is(pending: Path) -> None:
    app = FtApp("review", rows=pending)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("n", "n", "e")
        await until(pilot, "Change the row")
        assert_inside(app)
        await press(pilot, "f2", "4 wait")
        assert "changed by you" not in plain(app)
        await press(pilot, "a", "1 accepted")
    assert accepted(pending) == [f"{HOSTILE}\tend"]


async def test_hostile_text_is_shown_and_neither_obeyed_nor_taken_for_markup(pending: Path) -> None:
    app = FtApp("review", rows=pending)
    async with app.run_test(size=(60, 18)) as pilot:
        await opened(pilot)
        await pilot.press("n", "n")
        await until(pilot, "[INST] hi [/INST] 50% off [/]")
        shown = plain(app)
        assert not set("\x1b\x07\u202e") & set(shown)
        assert "␛" in shown


async def test_accepting_all_asks_with_the_harmless_answer_chosen(pending: Path) -> None:
    app = FtApp("review", rows=pending)
    async with app.run_test(size=(60, 18)) as pilot:
        await opened(pilot)
        await press(pilot, "r", "3 wait")
        await press(pilot, "A", "3 rows would join")
        assert isinstance(app.screen, Confirm)
        assert_inside(app)
        await press(pilot, "enter", "3 wait, 0 accepted, 1 rejected")
        await press(pilot, "A", "3 rows would join")
        await pilot.press("left", "enter")
        await until(pilot, "0 wait, 3 accepted, 1 rejected")
        await press(pilot, "u", "3 wait, 0 accepted, 1 rejected")


async def test_a_long_answer_can_be_read_to_its_end_and_the_next_row_begins_at_its_top(pending: Path) -> None:
    app = FtApp("review", rows=pending)
    async with app.run_test(size=(60, 18)) as pilot:
        await opened(pilot)
        await pilot.press("n", "n", "n")
        await until(pilot, "more")
        await press(pilot, "end", "step 59")
        await press(pilot, "p", "[INST]")
        await press(pilot, "n", "List the steps.")


async def test_rows_that_are_still_being_made_come_in(pending: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune_tui.screens.review_rows._LOOK_SECONDS", 0.02)
    app = FtApp("review", rows=pending)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        with AppendFile(pending) as file:
            file.append(line("A new one?", "Yes.").rstrip())
        await until(pilot, "5 wait")
        assert "row 1 of 5" in plain(app)


async def test_lines_that_are_no_rows_are_told_and_a_file_without_rows_opens(tmp_path: Path) -> None:
    path = tmp_path / "bad.pending.jsonl"
    path.write_bytes(b"nonsense\n")
    app = FtApp("review", rows=path)
    async with app.run_test(size=(60, 18)) as pilot:
        await until(pilot, "No rows wait in this file.")
        assert "One line holds no row and is passed over: bad.pending.js" in plain(app)
        await pilot.press("a", "r", "e", "u", "n", "p", "A")
        await pilot.pause()
        assert isinstance(app.screen, ReviewRowsScreen)


async def test_a_file_that_cannot_be_reviewed_is_told_with_the_way_out(tmp_path: Path) -> None:
    app = FtApp("review", rows=tmp_path / "rows.jsonl")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "this is no file of waiting rows")
        assert isinstance(app.screen, PageScreen)
        await pilot.press("escape")
        assert isinstance(app.screen, HomeScreen)


async def test_leaving_lets_the_file_go_with_every_decision_kept(pending: Path) -> None:
    app = FtApp("review", rows=pending)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, "a", "3 wait")
        await pilot.press("q")
        await pilot.pause()
        assert isinstance(app.screen, HomeScreen)
    with Review(pending) as review:
        assert review.counts.accepted == 1
