"""Screens as text: the sizes each is tested at, what must be true of all, and snapshots kept as plain text files.

`FT_TUI_UPDATE_SNAPSHOTS=1 pytest ...` writes the snapshots anew; read the diff before you commit it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from textual._context import visible_screen_stack
from textual.app import App
from textual.geometry import Region
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget

SIZES = ((60, 18), (80, 24), (120, 40))
SNAPSHOTS = Path(__file__).parent / "snapshots"


def plain(app: App[Any]) -> str:
    """What the terminal would show now, without colours and without blanks at the ends of lines."""
    # What lies below a dialog; the app sets it in tasks of its own whenever it draws, not in the test's.
    visible_screen_stack.set(app._background_screens)
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips).rstrip() + "\n"


async def until(pilot: Pilot[Any], shown: str, *, seconds: float = 10.0) -> None:
    """Wait until the screen shows these words (line breaks count as blanks), or fail with what it shows."""
    deadline = time.monotonic() + seconds
    while shown not in " ".join(plain(pilot.app).split()):
        assert time.monotonic() < deadline, f"{shown!r} never came:\n{plain(pilot.app)}"
        await pilot.pause(0.01)


def assert_inside(app: App[Any]) -> None:
    """Everything that can have the focus lies inside the screen, or can be scrolled to inside a part of it."""
    outside = [f"{widget!r} at {widget.region}" for widget in app.screen.focus_chain if not _reachable(widget)]
    assert not outside, f"outside of {app.screen.region}:\n" + "\n".join(outside) + "\n" + plain(app)


def _reachable(widget: Widget) -> bool:
    """Each container holds the widget, or can scroll to it; the screen itself must not have to scroll."""
    region = widget.region
    for parent in widget.ancestors:
        if not isinstance(parent, Widget) or isinstance(parent, App):
            continue
        fits = _fits(region, parent)
        if isinstance(parent, Screen):
            return fits == (True, True) and region.area > 0
        if not (fits[0] or parent.max_scroll_x > 0) or not (fits[1] or parent.max_scroll_y > 0):
            return False
        if fits != (True, True):
            region = parent.region
    return False


def _fits(region: Region, parent: Widget) -> tuple[bool, bool]:
    around = parent.region
    return (
        around.x <= region.x and region.right <= around.right,
        around.y <= region.y and region.bottom <= around.bottom,
    )


# Tenths of a second.
_LOOKS = 100


async def assert_snapshot(pilot: Pilot[Any], name: str) -> None:
    """The screen comes to be as it is kept in `snapshots/<name>-<columns>x<lines>.txt`: it may still be at work."""
    app = pilot.app
    file = SNAPSHOTS / f"{name}-{app.size.width}x{app.size.height}.txt"
    kept = file.read_text(encoding="utf-8") if file.exists() else ""
    for _ in range(_LOOKS):
        if plain(app) == kept:
            return
        await pilot.pause(0.1)
    shown = plain(app)
    if os.environ.get("FT_TUI_UPDATE_SNAPSHOTS"):
        file.write_text(shown, encoding="utf-8")
        return
    assert shown == kept, f"{file.name} differs; shown is\n{shown}"
