"""What makes up a whole: a line each, with its number, its share and a bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len

from finetune_core.text import count_text, one_line
from finetune_tui.run_words import ascii_only
from finetune_tui.widgets.cells import Line, fitted
from finetune_tui.widgets.flow_cells import FlowCells

_LONGEST_NAME: Final = 28
_BAR: Final = 30
_FIGURES: Final = 14


@dataclass(frozen=True)
class Share:
    """One part: its name and how many there are of it."""

    name: str
    count: int


class ShareBars(FlowCells):
    """Parts of a whole, in the order they are given; hidden while there are none."""

    def show_shares(self, shares: Sequence[Share], title: str = "") -> None:
        """Show these parts under a title."""
        shown = tuple(shares)
        self.display = bool(shown)
        self.show(lambda width, _height: share_lines(shown, title, width))


def share_lines(shares: Sequence[Share], title: str, width: int) -> list[Line]:
    """A line for the title, if any, and one for each part, of at most `width` cells."""
    whole = sum(one.count for one in shares)
    if not whole or width < 1:
        return []
    name_width = min(max(cell_len(one_line(one.name, 80)) for one in shares), _LONGEST_NAME, max(width - _FIGURES, 8))
    bar = max(0, min(_BAR, width - name_width - _FIGURES - 1))
    lines: list[Line] = [((title, "dim"),)] if title else []
    return lines + [_line(one, whole, name_width, bar) for one in shares]


def _line(one: Share, whole: int, name_width: int, bar: int) -> Line:
    name = one_line(one.name, 80)
    fitted_name = fitted(((name, ""),), name_width)
    used = sum(cell_len(text) for text, _ in fitted_name)
    figures = f" {count_text(one.count):>7} {_percent(one.count / whole):>5} "
    full = round(bar * one.count / whole)
    block = "#" if ascii_only() else "█"
    return (*fitted_name, (" " * (name_width - used) + figures, ""), (block * full or ("·" if bar else ""), "series-1"))


def _percent(share: float) -> str:
    """`15 %`; what is not nothing is never shown as nothing, nor what is not all as all."""
    if 0 < share < 0.01:
        return "<1 %"
    return f"{min(int(100 * share + 0.5), 99) if share < 1 else 100} %"
