"""Lines longer than their place, moved through by keys or wheel, without a repaint of what stays."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from textual.binding import Binding, BindingType

from finetune_tui.run_words import glyph
from finetune_tui.widgets.cells import Cells, Line, fitted


class Pager(Cells, can_focus=True):
    """Shows part of a text; `follow` keeps its end in sight until the user moves up."""

    DEFAULT_CSS = "Pager { min-height: 3; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown,space", "page(1)", "Page down", show=False),
        Binding("home,g", "edge(0)", "Start", show=False),
        Binding("end,G", "edge(1)", "End", show=False),
    ]

    def __init__(self, *, id: str | None = None, follow: bool = False) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self._all: tuple[Line, ...] = ()
        self._top = 0
        self._follow = follow
        self._at_end = follow

    @property
    def content(self) -> tuple[Line, ...]:
        """Every line, seen or not."""
        return self._all

    def redraw(self) -> None:
        """Draw the content at the present size."""
        width, height = self.content_size
        if self._draw is not None and width and height and self.seen:
            self._all = tuple(self._draw(width, height))
            self._place()

    def _place(self) -> None:
        width, height = self.content_size
        last = max(len(self._all) - height, 0)
        self._top = last if self._at_end else min(self._top, last)
        rows = list(self._all[self._top : self._top + height])
        hidden = len(self._all) - self._top - height
        if hidden > 0 and rows:
            more = f" {glyph('▼', 'v')} {hidden} more "
            rows[-1] = (*fitted(rows[-1], max(width - cell_len(more), 0)), (more, "accent"))
        self.set_lines(rows)

    def action_move(self, rows: int) -> None:
        """Move by some lines."""
        last = max(len(self._all) - self.content_size.height, 0)
        self._top = min(max(self._top + rows, 0), last)
        self._at_end = self._follow and self._top == last
        self._place()

    def action_page(self, direction: int) -> None:
        """Move by what is seen at once."""
        self.action_move(direction * max(self.content_size.height - 1, 1))

    def action_edge(self, end: int) -> None:
        """To the first or the last line."""
        self.action_move(len(self._all) if end else -len(self._all))

    def on_mouse_scroll_up(self) -> None:
        """The wheel moves three lines."""
        self.action_move(-3)

    def on_mouse_scroll_down(self) -> None:
        """The wheel moves three lines."""
        self.action_move(3)
