"""Less drawn anew for a key: what stands elsewhere after a layout, the lines that changed, nothing for another focus.

Textual draws all of a page that has become longer or shorter, also below its last row in view; every widget between
the first and the last line that changed, which for a letter in a field and a word in the last line is nearly all of
them; and the whole screen whenever the focus moves, although nothing of the screen itself looks otherwise then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Final

from rich.segment import Segment
from textual._compositor import ChopsUpdate, Compositor, CompositorMap, ReflowResult
from textual.cache import FIFOCache
from textual.geometry import Region, Size
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

# Each cache of a strip, and how much Textual has it hold.
STRIP_CACHES: Final = {
    "_divide_cache": 4,
    "_crop_cache": 16,
    "_style_cache": 16,
    "_filter_cache": 4,
    "_line_length_cache": 4,
    "_crop_extend_cache": 4,
    "_offsets_cache": 4,
}
_reflow = Compositor.reflow
_LAST: Final = "_last_layout"


def reflow(self: Compositor, parent: Widget, size: Size) -> ReflowResult:
    """Lay the screen out; what has another place or another size than before is drawn anew."""
    before, asked_for = last_layout(self), set(self._dirty_regions)
    laid = _reflow(self, parent, size)
    now = self._full_map
    if before and _same_order(before, now):
        self._dirty_regions.clear()
        self._dirty_regions.update(asked_for, _moved(before, now))
    # Textual's own map of all widgets is made anew whenever somebody asks for a place before the next layout.
    vars(self)[_LAST] = now
    return laid


def last_layout(compositor: Compositor) -> CompositorMap:
    """Where everything was placed when the screen was laid out; empty where it never was."""
    found: CompositorMap = vars(compositor).get(_LAST, {})
    return found


def _same_order(before: CompositorMap, now: CompositorMap) -> bool:
    """Whether what was there and still is lies above and below the same others."""
    both = before.keys() & now.keys()
    return sorted(both, key=lambda one: before[one].order) == sorted(both, key=lambda one: now[one].order)


def _moved(before: CompositorMap, now: CompositorMap) -> Iterator[Region]:
    """What is seen of each widget that has come, gone, or changed its place; where it was, and where it is."""
    for widget in before.keys() | now.keys():
        old, new = before.get(widget), now.get(widget)
        if old is None or new is None or (old.region, old.clip) != (new.region, new.clip):
            for one in (old, new):
                if one is not None and (seen := one.region.intersection(one.clip)):
                    yield seen


def _drawn_in_parts(self: Compositor) -> ChopsUpdate | None:
    """Draw the lines that changed, each run of them by itself."""
    screen, regions = self.size.region, self._dirty_regions.copy()
    self._dirty_regions.clear()
    spans = [span for span in self._regions_to_spans(regions) if screen.y <= span[0] < screen.bottom]
    if not spans:
        return None
    lines: list[Mapping[int, Strip]] = [{} for _ in range(screen.height)]
    for _, run in groupby(enumerate(sorted({y for y, _, _ in spans})), lambda each: each[1] - each[0]):
        rows = [y for _, y in run]
        within = [span for span in spans if rows[0] <= span[0] <= rows[-1]]
        left, right = min(x for _, x, _ in within), max(x for _, _, x in within)
        crop = Region(left, rows[0], right - left, len(rows)).intersection(screen)
        chops = self._render_chops(crop, set(rows).__contains__)
        for y in rows:
            lines[y] = chops[y]
    return ChopsUpdate(lines, spans, [cuts[1:] for cuts in self.cuts])


def _renders_within(self: Compositor, crop: Region | None = None) -> Iterable[tuple[Region, Region, list[Strip]]]:
    """Place, clip and lines of each widget that is seen in a part of the screen; of its lines those in these rows."""
    rows = self.size.region if crop is None else Region(0, crop.y, self.size.width, crop.height)
    for widget, (region, clip) in self.visible_widgets.items():
        seen = region.intersection(clip).intersection(rows)
        if seen and (crop is None or crop.overlaps(seen)):
            yield region, clip.intersection(rows), widget.render_lines(seen.translate(-region.offset))


def _without_caches(self: Strip, segments: Iterable[Segment], cell_length: int | None = None) -> None:
    """A strip whose caches are made when they are asked for: most of the many strips of a frame need one or none."""
    self._segments = list(segments)
    self._cell_length = cell_length
    self._render_cache = None
    self._link_ids = None
    self._cell_count = None


def _make_cache(self: Strip, name: str) -> FIFOCache[Any, Any]:
    """What Python asks for where a strip lacks an attribute."""
    size = STRIP_CACHES.get(name)
    if size is None:
        raise AttributeError(name)
    cache: FIFOCache[Any, Any] = FIFOCache(size)
    setattr(self, name, cache)
    return cache


def install() -> None:
    """Have it so in this process. Doing it twice changes nothing."""
    # Textual has no setting for any of it.
    setattr(Compositor, "reflow", reflow)  # noqa: B010 - mypy refuses a plain assignment
    setattr(Compositor, "render_partial_update", _drawn_in_parts)  # noqa: B010
    setattr(Compositor, "_get_renders", _renders_within)  # noqa: B010
    setattr(Strip, "__init__", _without_caches)  # noqa: B010
    setattr(Strip, "__getattr__", _make_cache)  # noqa: B010
    vars(Screen)["focused"]._repaint = False
