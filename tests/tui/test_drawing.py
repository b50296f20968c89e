"""What a terminal shows after any number of partial updates is what the whole screen drawn anew would show."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
from rich.cells import cell_len
from textual._compositor import CompositorUpdate
from textual.cache import FIFOCache
from textual.pilot import Pilot
from textual.screen import Screen
from textual.strip import Strip

from finetune_tui.patches import drawing
from tests.tui.walking import send_keys
from tests.tui.wizard_driver import WizardApp, ready, until, wizard

_PIECES = re.compile(r"\x1b\[(\d+);(\d+)H|(\x1b\[[\d;]*m)|(\n)|([^\x1b\n]+)")
# Keys that move, type, open dialogs and leave them; in a field they are letters.
_KEYS = (
    "1", "2", "3", "4", "5", "8", "tab", "tab", "tab", "shift+tab", "down", "up", "left", "right", "enter", "space",
    "pagedown", "pageup", "escape", "escape", "backspace", "x", "ctrl+p", "question_mark", "v", "m", "c", "j", "n", "D",
)  # fmt: skip


class Grid:
    """A terminal that knows cursor places, colours and text; each cell holds a letter and how it looks."""

    def __init__(self) -> None:
        self.cells: dict[tuple[int, int], tuple[str, str]] = {}

    def take(self, sent: str) -> None:
        """Act on what was sent."""
        x = y = 0
        looks = ""
        for row, column, colour, line, text in _PIECES.findall(sent):
            if row:
                x, y = int(column) - 1, int(row) - 1
            elif colour:
                looks = "" if colour == "\x1b[0m" else colour
            elif line:
                x, y = 0, y + 1
            for letter in text:
                self.cells[x, y] = (letter, looks)
                if (width := cell_len(letter)) > 1:
                    self.cells.pop((x + 1, y), None)
                x += width


class DrawnApp(WizardApp):
    """The app with a terminal to draw on, whose contents can be looked at."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.grid = Grid()
        self.updates = 0

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        if isinstance(renderable, CompositorUpdate) and not self._batch_count:
            self.updates += 1
            self.grid.take(renderable.render_segments(self.console))
        super()._display(screen, renderable)

    def anew(self) -> dict[tuple[int, int], tuple[str, str]]:
        """The screen drawn as a whole, with nothing kept of what was drawn before."""
        compositor, grid = self.screen._compositor, Grid()
        for widget in compositor.visible_widgets:
            widget._styles_cache.clear()
        whole = compositor.render_update(full=True, screen_stack=self._background_screens)
        assert isinstance(whole, CompositorUpdate)
        grid.take(whole.render_segments(self.console))
        return grid.cells


async def same(pilot: Pilot[Any], what: str) -> None:
    app = pilot.app
    assert isinstance(app, DrawnApp)
    try:
        await until(pilot, lambda: app.grid.cells == app.anew(), what)
    except AssertionError:
        new = app.anew()
        places = sorted(
            place for place in new.keys() | app.grid.cells.keys() if new.get(place) != app.grid.cells.get(place)
        )
        told = [(place, app.grid.cells.get(place), new.get(place)) for place in places[:8]]
        raise AssertionError(f"{what}: {len(places)} cells differ from what they should be, as {told}") from None


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_random_keys_leave_on_the_terminal_what_the_whole_screen_drawn_anew_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "東京 🙂", "completion": "an answer"}) + "\n")
    chance, typed = Random(f"{size}"), []
    app = DrawnApp("wizard")
    async with app.run_test(size=size, notifications=True) as pilot:
        await ready(pilot)
        await same(pilot, "the first screen")
        for _ in range(15):
            keys = [chance.choice(_KEYS) for _ in range(chance.randint(1, 4))]
            typed.append(keys)
            send_keys(app, *keys)
            await pilot.pause()
            await same(pilot, f"after {typed}")
        assert app.updates > 15


async def test_a_letter_in_a_field_draws_the_lines_that_changed_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with WizardApp("wizard").run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("4", "tab", "tab")
        await pilot.app.workers.wait_for_complete()
        await pilot.pause(0.3)
        compositor = pilot.app.screen._compositor
        top, bottom = wizard(pilot).step.query("FieldInput").first(), pilot.app.screen.query_one("KeyBar")
        top.refresh()
        bottom.refresh()
        drawn: list[str] = []
        for widget in compositor.visible_widgets:
            usual = widget.render_lines
            monkeypatch.setattr(
                widget, "render_lines", lambda crop, one=widget, usual=usual: drawn.append(one.id or "") or usual(crop)
            )
        compositor._dirty_regions.clear()
        compositor.update_widgets({top, bottom})
        assert compositor.render_update() is not None
        assert top.id in drawn
        others = {one.id for one in wizard(pilot).step.query("FieldInput")} - {top.id}
        assert len(others) > 2
        assert not others.intersection(drawn)


def test_a_strip_has_every_cache_that_textual_gives_it_as_soon_as_it_is_asked_for() -> None:
    drawing.install()
    strip = Strip([])
    source = inspect.getsource(Strip).partition("def __init__")[2].partition("def __rich_repr__")[0]
    caches = dict(re.findall(r"self\.(_\w+)\s*:[^=]*?=\s*FIFOCache\((\d+)\)", source))
    assert {name: int(size) for name, size in caches.items()} == drawing.STRIP_CACHES
    for name in Strip.__slots__:
        assert hasattr(strip, name)
    for name, size in drawing.STRIP_CACHES.items():
        cache = getattr(strip, name)
        assert isinstance(cache, FIFOCache)
        assert cache._maxsize == size
        assert getattr(strip, name) is cache
    assert not hasattr(strip, "_no_such_thing")
