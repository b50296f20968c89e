"""Fewer layouts of a screen: one where Textual makes two or three for each step and dialog.

Textual lays a screen out again whenever a widget has another size than before, which is what comes of every first
layout; and once more when the screen hears of its own size. Neither changes anything: what a widget is as large as
follows from the layout, and a scrollbar that comes or goes asks for another one itself.

Widgets also ask for layouts in messages of their own, which reach the screen after it was laid out with just that
change in it; and parts of a page that is out of sight ask for them too.
"""

from __future__ import annotations

from asyncio import Task, create_task, wait
from collections.abc import Generator
from contextlib import suppress
from typing import Any

from textual import events, messages
from textual._time import get_time
from textual.dom import NoScreen
from textual.geometry import Size
from textual.reactive import Reactive
from textual.screen import Screen
from textual.scrollbar import ScrollBar
from textual.widget import AwaitMount, Widget

_size_updated = Widget._size_updated
_screen_resized = Screen._screen_resized
_refresh_layout = Screen._refresh_layout
_on_layout = Screen._on_layout
_on_screen_resume = Screen._on_screen_resume
_LAID_OUT = "_laid_out_at"


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


def _with_all_asked_for(
    self: Screen[object],
    size: Size | None = None,
    scroll: bool = False,  # noqa: FBT001, FBT002 - as Textual's
) -> None:
    """Lay the screen out with everything in it that its widgets have asked for so far, and draw that at once."""
    if not (scroll and not self._layout_widgets):
        for widget in _mounted(self):
            if widget._layout_required:
                _take_into_account(widget)
            if widget._repaint_required and widget.display:
                widget._repaint_required = False
                self._dirty_widgets.add(widget)
        vars(self)[_LAID_OUT] = get_time()
    _refresh_layout(self, size, scroll)


def _mounted(screen: Widget) -> list[Widget]:
    """Every widget of a screen that a layout can place."""
    found = [child for child in screen._nodes if child._is_mounted]
    for widget in found:
        found.extend(child for child in widget._nodes if child._is_mounted)
    return found


def _take_into_account(widget: Widget) -> None:
    """Have the next layout arrange anew what holds a widget, as Textual does before the widget's message."""
    widget._layout_required = False
    for around in widget.ancestors:
        if not isinstance(around, Widget):
            break
        around._clear_arrangement_cache()
        around._layout_updates += 1
        if not around.styles.auto_dimensions:
            break


async def _layout_asked_for(self: Screen[object], message: messages.Layout) -> None:
    """Lay the screen out soon, unless that has been done since, or the widget is in a part that is out of sight."""
    placed = self._compositor._full_map
    done = message.time < vars(self).get(_LAID_OUT, 0.0) and message.widget in placed
    around = (one for one in message.widget.ancestors_with_self if isinstance(one, Widget))
    hidden = any(not one.display and one not in placed for one in around)
    # A scrollbar is as large as the styles of what it scrolls say.
    if done or hidden or isinstance(message.widget, ScrollBar):
        message.stop()
        message.prevent_default()
    else:
        await _on_layout(self, message)


def _resumed(self: Screen[object], event: events.ScreenResume) -> None:
    """Come back into view; a screen that was laid out for that has been drawn with it, and is not drawn twice."""
    before = vars(self).get(_LAID_OUT)
    _on_screen_resume(self, event)
    if vars(self).get(_LAID_OUT) != before and not self.app._batch_count:
        self._repaint_required = False


def _awaited(self: AwaitMount) -> Generator[None, None, None]:
    """Wait until widgets are mounted, then lay out what holds them: that need not be drawn anew for it."""

    async def await_mount() -> None:
        waiting: list[Task[Any]] = [create_task(widget._mounted_event.wait()) for widget in self._widgets]
        if waiting:
            await wait(waiting)
            self._parent.clear_cached_dimensions()
            self._parent.refresh(layout=True, repaint=False)
            with suppress(NoScreen):
                self._parent.app._update_mouse_over(self._parent.screen)

    return await_mount().__await__()


def install() -> None:
    """Have it so in this process. Doing it twice changes nothing."""
    # Textual has no hook between a layout and the sizes that come of it.
    setattr(Widget, "_size_updated", _sized_once)  # noqa: B010 - mypy refuses a plain assignment
    setattr(Screen, "_screen_resized", _laid_out_once)  # noqa: B010
    setattr(Screen, "_refresh_layout", _with_all_asked_for)  # noqa: B010
    setattr(Screen, "_on_layout", _layout_asked_for)  # noqa: B010
    setattr(Screen, "_on_screen_resume", _resumed)  # noqa: B010
    setattr(AwaitMount, "__await__", _awaited)  # noqa: B010
