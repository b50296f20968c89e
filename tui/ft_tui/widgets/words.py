"""Text that is shown as it stands."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from ft_core.text import clean


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
        same_shape = self.styles.height is not None and self.styles.height.cells == 1 and bool(self._shown.plain)
        self._shown = new
        self.display = bool(new.plain)
        self.update(new, layout=not same_shape)

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
