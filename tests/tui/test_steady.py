from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from finetune_core.data.checks.findings.kinds import KINDS
from finetune_core.data.checks.findings.report import Finding
from finetune_tui.widgets.choice_row import ChoiceRow
from finetune_tui.widgets.field_form import Typed, id_of
from finetune_tui.widgets.finding_list import FindingList
from finetune_tui.widgets.words import Words
from tests.tui.sizes import plain
from tests.tui.wizard_driver import WizardApp, ready, sees, session, types, until, wizard

SIZES = ((80, 24), (120, 40))
LINES = "\n".join(f"line {number}" for number in range(9))


class Page(Screen[None]):
    """A page that scrolls, with a pane in it that scrolls too."""

    CSS = """
    Page #page { height: 1fr; padding: 1; }
    Page #outer, Page #inner { height: auto; border: solid; }
    Page #pane { height: 9; border: solid; }
    """

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="page"):
            yield Words(id="above")
            yield Words("a\n" * 30)
            with Vertical(id="outer"):
                yield Words(id="near")
                yield Input(id="field")
                yield Words(id="below")
            with VerticalScroll(id="pane"):
                yield Words("b\n" * 20)
                yield Words(id="inside")
                yield Input(id="in-pane")
                yield Words("c\n" * 20)
            yield Words("d\n" * 30)


async def opened(pilot: Pilot[Any], name: str) -> Widget:
    """The page, with the focus in one of its fields."""
    await pilot.app.push_screen(Page())
    await pilot.pause()
    field = pilot.app.screen.query_one(f"#{name}")
    field.focus()
    await until(pilot, lambda: in_view(field), "the field is in view")
    return field


def in_view(widget: Widget) -> bool:
    """Whether the whole widget can be seen, in everything around it that scrolls."""
    around = [one for one in widget.ancestors if isinstance(one, Widget)]
    return widget.has_focus and all(one.region.contains_region(widget.region) for one in around)


async def say(pilot: Pilot[Any], name: str, text: str) -> None:
    """Change a text of the page."""
    pilot.app.screen.query_one(f"#{name}", Words).say(text)
    await pilot.pause()
    await pilot.pause()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["field", "in-pane"])
async def test_what_has_the_focus_stays_while_texts_around_it_come_grow_and_go(
    name: str, size: tuple[int, int]
) -> None:
    async with WizardApp("home").run_test(size=size) as pilot:
        field = await opened(pilot, name)
        y, page = field.region.y, pilot.app.screen.query_one("#page")
        for place, text in (("above", LINES), ("near", LINES), ("inside", LINES), ("below", LINES), ("near", "one"),
                            ("inside", ""), ("above", "one"), ("near", ""), ("above", "")):  # fmt: skip
            before = page.scroll_offset.y
            await say(pilot, place, text)
            assert field.region.y == y, (place, text)
            assert (page.scroll_offset.y != before) == (place in ("above", "near", *(("below",) * (name != "field"))))


async def test_a_page_that_has_become_shorter_still_shows_what_has_the_focus() -> None:
    async with WizardApp("home").run_test(size=(80, 24)) as pilot:
        field = await opened(pilot, "field")
        for words in pilot.app.screen.query(Words):
            words.say("")
            await pilot.pause()
        await pilot.pause()
        assert in_view(field)


async def test_a_choice_at_the_top_of_a_page_leaves_room_for_news_above_it_and_stays_in_view() -> None:
    async with WizardApp("wizard").run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("1")
        step = wizard(pilot).step
        await until(pilot, lambda: step.built, "the step")
        choice = step.query_one(ChoiceRow)
        choice.focus()
        news = Words(LINES)
        await step.mount(news, before=0)
        await pilot.pause()
        assert (step.scroll_offset.y, in_view(choice)) == (0, True)
        news.say(LINES * 3)
        await pilot.pause()
        await pilot.pause()
        assert step.scroll_offset.y > 0
        assert in_view(choice)


async def test_news_that_come_while_the_focus_moves_do_not_push_it_out_of_view() -> None:
    async with WizardApp("home").run_test(size=(80, 24)) as pilot:
        await pilot.app.push_screen(Page())
        await pilot.pause()
        field, above = pilot.app.screen.query_one("#field"), pilot.app.screen.query_one("#above", Words)
        field.focus()
        for lines in (3, 9, 20, 2, 30):
            await asyncio.sleep(0)
            above.say("a\n" * lines)
            field.scroll_visible(animate=False)
            await asyncio.sleep(0)
        await pilot.pause()
        await pilot.pause()
        assert in_view(field)


async def test_who_has_scrolled_away_from_the_focus_is_not_brought_back_to_it() -> None:
    async with WizardApp("home").run_test(size=(80, 24)) as pilot:
        field = await opened(pilot, "field")
        page = pilot.app.screen.query_one("#page")
        page.scroll_home(animate=False)
        await until(pilot, lambda: page.scroll_offset.y == 0)
        await say(pilot, "near", LINES)
        assert page.scroll_offset.y == 0
        assert not in_view(field)


@pytest.mark.parametrize("size", SIZES)
async def test_the_field_one_types_in_stays_while_counts_and_findings_come_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.chdir(tmp_path)
    row = json.dumps({"frage": "What is it, then?", "antwort": "A fox, I say."}) + "\n"
    (tmp_path / "own.jsonl").write_text(row * 3)
    async with WizardApp("wizard").run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await sees(pilot, "rows from")
        wizard(pilot).on_typed(Typed("data.source", "own.jsonl"))
        await sees(pilot, "say which column is what")
        step, field = wizard(pilot).step, pilot.app.screen.query_one(f"#{id_of('data.mapping')}", Input)
        field.focus()
        await until(pilot, lambda: in_view(field), "the field is in view")
        y, scrolled = field.region.y, step.scroll_offset.y
        await types(pilot, "{instruction: frage, output: antwort}")
        await until(pilot, lambda: pilot.app.screen.query_one("#findings").display, "findings above the field")
        await until(pilot, lambda: session(pilot).token_lengths() is not None, "the tokens are counted")
        await until(pilot, lambda: pilot.app.screen.query_one("#lengths").size.height, "the lengths are drawn")
        assert (field.region.y, field.has_focus) == (y, True)
        assert step.scroll_offset.y > scrolled
        assert "{instruction: frage" in plain(pilot.app)


@pytest.mark.parametrize("number", [2, 3, 4])
async def test_on_every_step_with_fields_one_stays_where_it_is_when_problems_come_above_it(number: int) -> None:
    async with WizardApp("wizard").run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press(str(number))
        step = wizard(pilot).step
        await until(pilot, lambda: step.built and step.query(Input), "the step")
        await pilot.app.workers.wait_for_complete()
        await pilot.pause(0.2)
        fields = [one for one in step.query(Input) if one.focusable]
        field = fields[-1]
        field.focus()
        await until(pilot, lambda: in_view(field), "the field is in view")
        y = field.region.y
        news = Words(LINES)
        await step.mount(news, before=0)
        await pilot.pause()
        # No page scrolls beyond its end.
        assert field.region.y == y or step.scroll_offset.y == step.max_scroll_y > 0
        assert in_view(field)
        await news.remove()
        await pilot.pause()
        assert field.region.y == y


async def test_the_finding_one_stands_on_is_the_same_one_when_others_come_above_it() -> None:
    found = [Finding(KINDS[name], words=name) for name in ("exact-duplicate", "refusal", "few-rows")]
    async with WizardApp("home").run_test(size=(80, 24)) as pilot:
        listing = FindingList()
        await pilot.app.screen.mount(listing)
        listing.show(found[1:], {})
        listing.highlighted = 1
        for shown, place in ((found, 2), (found[2:], 0), (found[:2], 0), ((), None)):
            listing.show(shown, {})
            assert listing.highlighted == place
