"""The one place where text becomes terminal output: nothing in it may act on the terminal.

Rows, model answers, file names and log lines are cleaned where they are read. A place that forgets this would let a
data set fill the paste buffer or retitle the window. So every string that Textual turns into bytes is cleaned again
here, whatever widget it comes from. The escape sequences that Textual itself writes (colours, cursor moves) are added
after this point.
"""

from __future__ import annotations

import re
from typing import Final

from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from finetune_core.text import clean

# A tab or a newline inside a strip would move the cursor, so here they count as unsafe too.
_MOVES: Final = {ord("\t"): "\u2409", ord("\n"): "\u240a"}
_LINK: Final = re.compile(r"https?://[!-~]+")

_render = Strip.render
_render_style = Strip.render_style


def printable(text: str) -> str:
    """`text` with everything replaced that a terminal would obey instead of show."""
    return text if text.isprintable() else clean(text).translate(_MOVES)


def _safe_link(style: Style) -> Style:
    """The style, without its link where that is anything but a plain web address."""
    return style if style.link is None or _LINK.fullmatch(style.link) else style.update_link(None)


def _guarded_render_style(style: Style, text: str, color_system: ColorSystem) -> str:
    return _render_style(_safe_link(style), printable(text), color_system)


def _guarded_render(self: Strip, console: Console) -> str:
    """Render a strip whose unstyled segments are cleaned; styled ones pass `_guarded_render_style`."""
    if any(style is None and not text.isprintable() for text, style, _ in self):
        segments = [Segment(printable(text) if style is None else text, style) for text, style, _ in self]
        return _render(Strip(segments, self.cell_length), console)
    return _render(self, console)


def install() -> None:
    """Put the guard in place, for this process. Doing it twice changes nothing."""
    # Textual has no hook between a strip and its bytes; a line filter would not see text drawn outside a widget.
    setattr(Strip, "render_style", staticmethod(_guarded_render_style))  # noqa: B010 - mypy refuses a plain assignment
    setattr(Strip, "render", _guarded_render)  # noqa: B010


def remove() -> None:
    """Take the guard away again (tests prove with it that the guard is what protects)."""
    setattr(Strip, "render_style", _render_style)  # noqa: B010
    setattr(Strip, "render", _render)  # noqa: B010
