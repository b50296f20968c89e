"""Cells as tall as what they show."""

from __future__ import annotations

from textual.geometry import Size

from finetune_tui.widgets.cells import Cells, within


class FlowCells(Cells):
    """Lines of styled cells that take the rows they need; a change that keeps their number repaints only its cells."""

    DEFAULT_CSS = """
    FlowCells { height: auto; width: 1fr; }
    """

    def redraw(self) -> None:
        """Draw for the present width; another number of lines moves what lies below."""
        width = self.content_size.width
        if self._draw is None:
            return
        lines = tuple(self._draw(width, 0)) if width else ()
        if len(lines) != len(self.lines) or not width:
            self.refresh(layout=True)
        else:
            self.set_lines(lines)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """One row a line; the layout is the first to know the width."""
        del container, viewport
        if self._draw is not None:
            self._lines = tuple(within(line, width) for line in self._draw(width, 0))
        return len(self._lines)
