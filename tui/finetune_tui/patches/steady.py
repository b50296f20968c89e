"""What has the focus keeps its place on the screen while what stands above it grows or shrinks.

A page that scrolls shows news above the fields: the findings of a count, a reason, a problem. Textual leaves the page
at the row it was scrolled to, so that each of them would push the field in which one types off the screen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from textual._compositor import Compositor, CompositorMap, ReflowResult
from textual.geometry import Size
from textual.map_geometry import MapGeometry
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from finetune_tui.patches.drawing import last_layout, reflow

_scroll_to_widget = Widget.scroll_to_widget


def _reflow_steadily(self: Compositor, parent: Widget, size: Size) -> ReflowResult:
    """Lay the screen out; a second time where what has the focus would stand elsewhere."""
    before = last_layout(self)
    laid = reflow(self, parent, size)
    held = _held(parent.focused) if isinstance(parent, Screen) and parent.focused is not None else ()
    scrolled = [(scroller, was) for scroller, part in held if (was := _follow(scroller, part, before, self._full_map))]
    if scrolled:
        again = reflow(self, parent, size)
        laid = ReflowResult(*(first | second for first, second in zip(laid, again, strict=True)))
    for scroller, was in scrolled:
        Reactive._check_watchers(scroller, "scroll_y", was[0])
    return laid


def _held(focused: Widget) -> Iterator[tuple[Widget, Widget]]:
    """Each scroller around the focus, and the part in it that is to stay: the focus itself, or the next scroller."""
    part = focused
    for around in focused.ancestors:
        if isinstance(around, Widget) and around.styles.overflow_y in ("auto", "scroll"):
            yield around, part
            part = around


def _follow(
    scroller: Widget, part: Widget, before: Mapping[Widget, MapGeometry], now: CompositorMap
) -> tuple[float] | None:
    """Scroll so that a part that was in view is where it was, and still in view where there is less room.

    Gives where the scroller was, or None where it stays. At its top, news above a part are not scrolled away at once:
    only a text field keeps its very row there, and whatever else has the focus stays in view.
    """
    old, new = _place(scroller, part, before), _place(scroller, part, now)
    if old is None or new is None:
        return None
    top, room, had = scroller.scroll_offset.y, _room(scroller, now), _room(scroller, before)
    height, was_height = now[part].region.height, before[part].region.height
    if old + was_height <= top or old >= top + had:
        return None
    wanted = top + new - old if top or isinstance(part, Input) else top
    if top <= old and old + was_height <= top + had:
        wanted = min(max(wanted, new + height - room), new)
    wanted = max(0, min(wanted, now[scroller].virtual_size.height - room))
    if wanted == top:
        return None
    was = (scroller.scroll_y,)
    # The setter would hold it to the size of the layout before, as Textual's own anchor has to get around too.
    scroller.set_reactive(Widget.scroll_y, float(wanted))
    scroller.set_reactive(Widget.scroll_target_y, float(wanted))
    return was


def _room(scroller: Widget, found: Mapping[Widget, MapGeometry]) -> int:
    """Rows of a scroller that show its content."""
    return max(found[scroller].container_size.height - scroller.scrollbar_size_horizontal, 0)


def _place(scroller: Widget, part: Widget, found: Mapping[Widget, MapGeometry]) -> int | None:
    """The row of a scroller's content on which a part begins; None where one of them is not in view at all."""
    around = part.ancestors_with_self
    path = [node for node in around[: around.index(scroller) + 1] if isinstance(node, Widget)]
    if not all(node in found for node in path):
        return None
    # Each region is given within the content of the widget around it.
    return sum(found[inner].virtual_region.y + (outer.styles.gutter.top if outer is not scroller else 0)
               for inner, outer in pairwise(path))  # fmt: skip


def _scroll_at_once(self: Widget, widget: Widget, **how: Any) -> bool:  # noqa: ANN401 - as Textual's
    """Scroll to a widget now: after the next layout it would be somewhere else than where it is looked for now."""
    return _scroll_to_widget(self, widget, **{**how, "immediate": True})


def install() -> None:
    """Have it so in this process. Doing it twice changes nothing."""
    # Textual has no hook between a layout and its drawing.
    setattr(Compositor, "reflow", _reflow_steadily)  # noqa: B010 - mypy refuses a plain assignment
    setattr(Widget, "scroll_to_widget", _scroll_at_once)  # noqa: B010
