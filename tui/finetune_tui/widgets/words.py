"""Text that is shown as it stands."""

from __future__ import annotations

from typing import cast

from textual.content import Content
from textual.css.styles import RulesMap
from textual.widgets import Static

from finetune_core.text import clean


class Words(Static):
    """Text never read as markup, repainted only when it changes, and taking no row while it is empty."""

    DEFAULT_CSS = """
    Words { height: auto; width: 1fr; }
    """

    def __init__(self, content: str | Content = "", *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's word
        self._shown = _as_content(content)
        super().__init__(self._shown, markup=False, id=id, classes=classes)
        self.display = bool(self._shown.plain)

    def say(self, content: str | Content) -> None:
        """Show this text; nothing is sent to the terminal when it is what stands there already."""
        new = _as_content(content)
        if new.is_same(self._shown):
            return
        moves = self._moves_others(new)
        self._shown = new
        self.display = bool(new.plain)
        self.update(new, layout=moves)

    def _moves_others(self, new: Content) -> bool:
        """Whether this text takes other rows or columns than the one that is shown."""
        width = self.content_size.width
        if not width or self.styles.width is None or self.styles.width.is_auto or not (self.plain and new.plain):
            return True
        # Read by name alone, as Textual itself does with its styles.
        rules = cast("RulesMap", self.styles)
        return self._shown.get_height(rules, width) != new.get_height(rules, width)

    @property
    def plain(self) -> str:
        """What stands there, without colours."""
        return self._shown.plain


class Line(Words):
    """Words on exactly one row, cut at the edge with an ellipsis."""

    DEFAULT_CSS = """
    Line { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    """


def _as_content(content: str | Content) -> Content:
    return Content(clean(content)) if isinstance(content, str) else content
