from __future__ import annotations

import pytest
from textual._compositor import Compositor
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import ContentSwitcher

from finetune_tui.app import FtApp
from finetune_tui.widgets.line_input import LineInput
from finetune_tui.widgets.words import Line, Words
from tests.tui.wizard_driver import types


class TwoPages(Screen[None]):
    """One page in view, one out of sight, and a line below both."""

    CSS = "TwoPages ContentSwitcher { height: auto; } TwoPages Vertical { height: auto; }"

    def compose(self) -> ComposeResult:
        with ContentSwitcher(initial="seen"):
            with Vertical(id="seen"):
                yield Words("first", id="first")
                yield Words("second", id="second")
                yield LineInput(id="field")
            with Vertical(id="hidden"):
                yield Words("behind", id="behind")
        yield Line("below", id="below")


class Counted:
    """How often screens were laid out, and drawn as a whole."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.layouts = self.drawn = 0
        reflow, whole = Compositor.reflow, Compositor.render_full_update

        def count_layout(*arguments: object) -> object:
            self.layouts += 1
            return reflow(*arguments)  # type: ignore[arg-type]

        def count_drawn(*arguments: object, **named: object) -> object:
            self.drawn += 1
            return whole(*arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(Compositor, "reflow", count_layout)
        monkeypatch.setattr(Compositor, "render_full_update", count_drawn)


async def opened(pilot: Pilot[int]) -> Screen[None]:
    screen = TwoPages()
    await pilot.app.push_screen(screen)
    await settled(pilot)
    return screen


async def settled(pilot: Pilot[int]) -> None:
    for _ in range(4):
        await pilot.pause()


async def test_a_page_out_of_sight_asks_for_no_layout_and_is_laid_out_when_it_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with FtApp().run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        counted = Counted(monkeypatch)
        hidden, behind = screen.query_one("#hidden"), screen.query_one("#behind", Words)
        await hidden.mount(Words("later\nlater", id="later"))
        behind.say("a\nb\nc")
        await settled(pilot)
        assert counted.layouts == 0
        screen.query_one(ContentSwitcher).current = "hidden"
        await settled(pilot)
        assert [screen.query_one(name).region.y for name in ("#behind", "#later", "#below")] == [0, 3, 5]
        behind.say("")
        await settled(pilot)
        assert screen.query_one("#below").region.y == 2


async def test_what_changes_between_two_frames_is_laid_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FtApp().run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        counted = Counted(monkeypatch)
        screen.query_one("#first", Words).say("a\nb")
        screen.query_one("#second", Words).say("")
        screen.query_one("#seen").styles.margin = 1
        await settled(pilot)
        assert counted.layouts == 1
        assert [screen.query_one(name).region.y for name in ("#first", "#field", "#below")] == [1, 3, 7]
        screen.query_one("#first").display = False
        await settled(pilot)
        assert screen.query_one("#field").region.y == 1


async def test_the_focus_and_another_screen_below_draw_no_whole_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FtApp().run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        counted = Counted(monkeypatch)
        screen.query_one("#field").focus()
        await settled(pilot)
        await pilot.press("tab", "shift+tab")
        pilot.app.screen_stack[0].refresh(layout=True)
        await settled(pilot)
        assert counted.drawn == 0


async def test_letters_longer_than_their_field_lay_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FtApp().run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        field = screen.query_one("#field", LineInput)
        field.styles.width = 10
        field.focus()
        await settled(pilot)
        counted = Counted(monkeypatch)
        await types(pilot, "a text that is longer")
        await settled(pilot)
        assert counted.layouts == 0
        assert field.value == "a text that is longer"
