"""Fewer layouts of a screen: one where Textual makes two or three for each step and dialog.

Textual lays a screen out again whenever a widget has another size than before, which is what comes of every first
layout; and once more when the screen hears of its own size. Neither changes anything: what a widget is as large as
follows from the layout, and a scrollbar that comes or goes asks for another one itself.
"""

from __future__ import annotations

from textual.geometry import Size
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget

_size_updated = Widget._size_updated
_screen_resized = Screen._screen_resized


def _sized_once(
    self: Widget,
    size: Size,
    virtual_size: Size,
    container_size: Size,
    layout: bool = True,  # noqa: FBT001, FBT002 - as Textual's
) -> bool:
    """Take a size that comes of a layout; who watches it hears of it, but no other layout follows."""
    before = self.virtual_size
    changed = _size_updated(self, size, virtual_size, container_size, layout=False)
    if layout and self.virtual_size != before:
        Reactive._check_watchers(self, "virtual_size", before)
    return changed


def _laid_out_once(self: Screen[object], size: Size) -> None:
    """Lay the screen out, unless it has just been laid out at this size."""
    if size != self._compositor.size or size != self._size:
        _screen_resized(self, size)


def install() -> None:
    """Have it so in this process. Doing it twice changes nothing."""
    # Textual has no hook between a layout and the sizes that come of it.
    setattr(Widget, "_size_updated", _sized_once)  # noqa: B010 - mypy refuses a plain assignment
    setattr(Screen, "_screen_resized", _laid_out_once)  # noqa: B010
