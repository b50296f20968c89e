"""Lines of styled cells that repaint only what changed.

A connection may carry 16 kB/s, and Textual repaints a whole widget on `update`. A `Cells` widget compares its new
lines with the old ones and asks for the changed part of the changed rows only.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import ClassVar, Final

from rich.cells import cell_len, chop_cells, get_character_cell_size, set_cell_size
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from finetune_core.text import clean, plural
from finetune_tui.run_words import glyph

# A run of text in one style; the style is the name of a component class below, or "" for plain text.
Span = tuple[str, str]
Line = tuple[Span, ...]
# Gives the lines for a width and a height in cells.
Draw = Callable[[int, int], Sequence[Line]]

STYLES: Final = (
    "strong", "dim", "good", "warn", "bad", "accent", "faint", "series-1", "series-2", "series-3", "series-4",
)  # fmt: skip
TEXT_LIMIT: Final = 4096
# A figure at the end of what is kept, and the whole of it: a date in a name is none.
_FIGURE: Final = re.compile(r"(?<![\w.])[-+~]?\d[\d.,/:e+-]*$")
_WHOLE_FIGURE: Final = re.compile(r"[-+~]?\d[\d.,/:e+-]*[A-Za-z%]{0,3}[).,;]*")
_WRAP: Final = Console(file=io.StringIO(), width=80)


def safe(text: str, limit: int = TEXT_LIMIT) -> str:
    """Text from outside made fit for cells: cleaned, tabs widened, cut at `limit` characters with a word on it."""
    cut = len(text) > limit
    shown = clean(text[:limit]).expandtabs(4)
    more = len(text) - limit
    return f"{shown} … ({more} more {plural(more, 'character')})" if cut else shown


def wrapped(text: str, width: int, style: str = "", limit: int = TEXT_LIMIT) -> list[Line]:
    """Hostile text as lines of at most `width` cells, broken between words where that is possible."""
    lines: list[Line] = []
    for part in safe(text, limit).split("\n"):
        pieces = Text(part).wrap(_WRAP, max(width, 1)) if part else [Text("")]
        lines += [((piece.plain.rstrip(), style),) for piece in pieces]
    return lines


def folded(text: str, width: int, style: str = "") -> list[Line]:
    """Hostile text broken wherever the width ends: for code and paths, where a blank more would mislead."""
    return [((piece, style),) for piece in chop_cells(safe(text), max(width, 2))]


def line_width(line: Line) -> int:
    """Cells a line takes."""
    return sum(cell_len(text) for text, _ in line)


def fitted(line: Line, width: int) -> Line:
    """The line cut, with a mark, or padded to exactly `width` cells."""
    line = within(line, width)
    left = width - line_width(line)
    return (*line, (" " * left, "")) if left > 0 else line


def within(line: Line, width: int) -> Line:
    """The line as it is, or cut with an ellipsis at `width` cells; a figure is left out rather than cut."""
    if line_width(line) <= width:
        return line
    if width < 1:
        return ()
    text = "".join(part for part, _ in line)
    kept = set_cell_size(text, width - 1)
    figure = _FIGURE.search(kept)
    whole = _WHOLE_FIGURE.match(text, figure.start()) if figure else None
    if figure and whole and whole.end() > len(kept) and text[whole.end() : whole.end() + 1] in ("", " "):
        kept = kept[: figure.start()]
    spans: list[Span] = []
    style = ""
    for part, style in line:
        spans.append((kept[: len(part)], style))
        kept = kept[len(part) :]
        if not kept:
            break
    return (*spans, (glyph("…", "~"), style))


def beside(left: Sequence[Line], right: Sequence[Line], width: int, gap: Span = (" │ ", "dim")) -> list[Line]:
    """Two columns of lines; the left one is `width` cells wide."""
    rows = max(len(left), len(right))
    return [
        (*fitted(left[row] if row < len(left) else (), width), gap, *(right[row] if row < len(right) else ()))
        for row in range(rows)
    ]


def spread(left: Line, right: Line, width: int) -> Line:
    """One line with its second part at the right edge; the first part is cut where both do not fit."""
    gap = 2 if line_width(left) and line_width(right) else 0
    room = max(width - line_width(right) - gap, 0)
    right = ((" " * gap, ""), *right)
    return (*fitted(left, room), *right)


def bar(share: float, width: int, style: str = "accent") -> Line:
    """A bar of `width` cells filled to `share` (0 to 1)."""
    filled = round(max(0.0, min(1.0, share)) * width)
    return ((glyph("━", "#") * filled, style), (glyph("╌", "-") * (width - filled), "dim"))


@lru_cache(maxsize=2048)
def _cells(line: Line) -> tuple[tuple[str, str], ...]:
    """One entry a cell; a wide character is followed by an empty entry, a combining one joins the cell before."""
    found: list[tuple[str, str]] = []
    for text, style in line:
        for character in text:
            size = get_character_cell_size(character)
            if not size and found:
                found[-1] = (found[-1][0] + character, found[-1][1])
            else:
                found += [(character, style), *([("", style)] * (size - 1))]
    return tuple(found)


def changed_span(old: Line, new: Line, width: int) -> tuple[int, int] | None:
    """First and last + 1 changed cell between two lines, within `width` cells; None when they look the same."""
    if old == new:
        return None
    blank = (" ", "")
    before, after = list(_cells(old)[:width]), list(_cells(new)[:width])
    before += [blank] * (width - len(before))
    after += [blank] * (width - len(after))
    differing = [x for x in range(width) if before[x] != after[x]]
    return (differing[0], differing[-1] + 1) if differing else None


class Cells(Widget):
    """A widget that shows lines of styled text and repaints only the cells that changed."""

    DEFAULT_CSS = """
    Cells { height: 1fr; width: 1fr; }
    Cells > .cells--strong { text-style: bold; }
    Cells > .cells--dim { color: $foreground 65%; }
    Cells > .cells--good { color: $text-success; }
    Cells > .cells--warn { color: $text-warning; }
    Cells > .cells--bad { color: $text-error; text-style: bold; }
    Cells > .cells--accent { color: $primary; }
    Cells > .cells--faint { color: $foreground 35%; }
    Cells:ansi > .cells--faint { text-style: dim; }
    Cells > .cells--series-1 { color: $primary; }
    Cells > .cells--series-2 { color: $accent; }
    Cells > .cells--series-3 { color: $success; }
    Cells > .cells--series-4 { color: $error; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"cells--{style}" for style in STYLES}

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id, classes=classes)
        self._lines: tuple[Line, ...] = ()
        self._draw: Draw | None = None

    @property
    def lines(self) -> tuple[Line, ...]:
        """What is shown."""
        return self._lines

    @property
    def seen(self) -> bool:
        """Whether the widget and everything around it is displayed."""
        return all(node.display for node in self.ancestors_with_self if isinstance(node, Widget))

    def show(self, draw: Draw) -> None:
        """Show what `draw(width, height)` gives, now and at every new size; a hidden widget waits until it is seen."""
        self._draw = draw
        self.redraw()

    def redraw(self) -> None:
        """Draw at the present size."""
        width, height = self.content_size
        if self._draw is not None and width and height and self.seen:
            self.set_lines(self._draw(width, height))

    def on_resize(self) -> None:
        """Fit what is shown to the new size; being shown for the first time counts as one."""
        self.redraw()

    def set_lines(self, lines: Iterable[Line]) -> None:
        """Show these lines; nothing is repainted where they equal the old ones."""
        width = self.content_size.width
        old, self._lines = self._lines, tuple(within(line, width) if width else line for line in lines)
        if old == self._lines or not self.is_mounted:
            return
        for row in range(max(len(old), len(self._lines))):
            before = old[row] if row < len(old) else ()
            after = self._lines[row] if row < len(self._lines) else ()
            span = changed_span(before, after, width)
            if span is not None:
                self.refresh(Region(span[0], row, span[1] - span[0], 1))

    def render_line(self, y: int) -> Strip:
        """One row for Textual."""
        width = self.content_size.width
        base = self.rich_style
        line = self._lines[y] if y < len(self._lines) else ()
        segments = [Segment(text, base + self._style(style)) for text, style in line if text]
        return Strip(segments).adjust_cell_length(width, base)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"cells--{name}") if name else Style.null()
