"""Long texts wrapped and measured without work for the lines that fit, which are nearly all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from rich._wrap import divide_line
from rich.cells import cell_len
from textual.content import Content, _FormattedLine
from textual.style import Style

if TYPE_CHECKING:
    from textual.css.styles import RulesMap
    from textual.css.types import TextAlign, TextOverflow
    from textual.selection import Selection

_height: Final = Content.get_height
_wrap: Final = Content._wrap_and_format


def _fits(text: str, width: int) -> bool:
    """Whether a line needs no more cells than there are. A letter takes two at the most."""
    length = len(text)
    return length <= width and (text.isascii() or 2 * length <= width or cell_len(text) <= width)


def _quick_height(self: Content, rules: RulesMap, width: int) -> int:
    """Rows the text takes at this width, counted rather than formatted."""
    text, overflow = self.plain, rules.get("text_overflow", "fold")
    if width <= 0 or "\t" in text or not text or rules.get("text_wrap", "wrap") == "nowrap" or rules.get("line_pad", 0):
        return _height(self, rules, width)
    key = (width, overflow, False)
    if self._height_cache[0] != key:
        fold = overflow == "fold"
        rows = (1 if _fits(line, width) else 1 + len(divide_line(line, width, fold=fold)) for line in text.split("\n"))
        self._height_cache = (key, sum(rows))
    return self._height_cache[1]


def _quick_wrap(
    self: Content,
    width: int,
    align: TextAlign = "left",
    overflow: TextOverflow = "fold",
    no_wrap: bool = False,  # noqa: FBT001, FBT002 - as Textual declares it
    line_pad: int = 0,
    tab_size: int = 8,
    selection: Selection | None = None,
    selection_style: Style | None = None,
    post_style: Style | None = None,
    get_style: Callable[..., Style] = Style.parse,
) -> list[_FormattedLine]:
    """The formatted lines; one that fits is one of them as it is."""
    if no_wrap or line_pad or selection is not None or post_style is not None or "\t" in self.plain:
        return _wrap(self, width, align, overflow, no_wrap, line_pad, tab_size, selection, selection_style, post_style,
                     get_style)  # fmt: skip
    found: list[_FormattedLine] = []
    for y, line in enumerate(self.split(allow_blank=True)):
        if _fits(line.plain, width):
            formatted = _FormattedLine(get_style, line, width, y=y, align=align)
            formatted.line_end = True
            found.append(formatted)
            continue
        for formatted in _wrap(line, width, align, overflow, tab_size=tab_size, get_style=get_style):
            formatted.y = y
            found.append(formatted)
    return found


def install() -> None:
    """Have it so in this process. Doing it twice changes nothing."""
    kept: dict[str, Any] = {"get_height": _quick_height, "_wrap_and_format": _quick_wrap}
    for name, function in kept.items():
        setattr(Content, name, function)
