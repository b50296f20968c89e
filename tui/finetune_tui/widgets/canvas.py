"""A grid of pixels in character cells: braille dots (2 x 4 a cell), or ASCII (1 x 2 a cell)."""

from __future__ import annotations

from typing import Final

from finetune_tui.widgets.cells import Line

_DOTS: Final = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_ASCII: Final = (" ", "'", ".", ":")
_BRAILLE: Final = 0x2800
BACKGROUND: Final = "faint"


class Canvas:
    """Layers of dots over each other, each cell in the style of the layer drawn last; a mark hides all dots.

    A layer in the style BACKGROUND is seen only in cells that no other layer uses.
    """

    def __init__(self, columns: int, rows: int, *, plain: bool) -> None:
        self.columns, self.rows, self.plain = columns, rows, plain
        self.dots_x, self.dots_y = (1, 2) if plain else (2, 4)
        self.width, self.height = columns * self.dots_x, rows * self.dots_y
        self._layers: list[tuple[list[list[int]], str, str]] = []
        self._marks: dict[tuple[int, int], tuple[str, str]] = {}

    def layer(self, style: str, character: str = "") -> None:
        """Start a layer on top of the others; `character` stands for its dots where only ASCII can be shown."""
        self._layers.append(([[0] * self.columns for _ in range(self.rows)], style, character))

    def fill(self, x: int, one: float, other: float) -> None:
        """Set the dots of column `x` from height `one` to `other` (dots from the top, either order).

        What lies outside is not seen: where a scale's words leave no room for a curve, everything does.
        """
        if not 0 <= x < self.width:
            return
        grid = self._layers[-1][0]
        column, dots = x // self.dots_x, _DOTS[x % self.dots_x]
        top, bottom = sorted((round(one), round(other)))
        for y in range(max(top, 0), min(bottom, self.height - 1) + 1):
            row, dot = divmod(y, self.dots_y)
            grid[row][column] |= (1 << dot) if self.plain else dots[dot]

    def mark(self, x: float, y: float, character: str, style: str, *, beside: bool = False) -> None:
        """Put a character over the cell that holds this dot; `beside` moves it right of marks that are there."""
        column = min(max(int(x) // self.dots_x, 0), self.columns - 1)
        row = min(max(round(y) // self.dots_y, 0), self.rows - 1)
        while beside and (row, column) in self._marks and column < self.columns - 1:
            column += 1
        self._marks[row, column] = (character, style)

    def lines(self) -> list[Line]:
        """The picture, one line a row, neighbours of one style joined."""
        return [self._line(row) for row in range(self.rows)]

    def _line(self, row: int) -> Line:
        spans: list[tuple[str, str]] = []
        for column in range(self.columns):
            character, style = self._cell(row, column)
            if spans and (style == spans[-1][1] or character == " "):
                spans[-1] = (spans[-1][0] + character, spans[-1][1])
            else:
                spans.append((character, style))
        return tuple(spans)

    def _cell(self, row: int, column: int) -> tuple[str, str]:
        if (row, column) in self._marks:
            return self._marks[row, column]
        under = 0
        seen: tuple[str, str] | None = None
        for grid, style, character in reversed(self._layers):
            bits = grid[row][column]
            if bits and (seen is None or style != BACKGROUND):
                under |= bits
                seen = seen or (style, character)
        if seen is None:
            return " ", ""
        return (seen[1] or _ASCII[under] if self.plain else chr(_BRAILLE | under)), seen[0]
