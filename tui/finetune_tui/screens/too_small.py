"""The notice that covers everything while the terminal is too small to show anything whole."""

from __future__ import annotations

from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.screen import Screen
from textual.widgets import Static

SMALLEST: Final = Size(60, 18)


class TooSmallScreen(Screen[None]):
    """Says how large the terminal must be, and how large it is."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("q", "app.quit", "Quit", show=False)]
    DEFAULT_CSS = """
    TooSmallScreen { align: center middle; }
    TooSmallScreen Static { width: 100%; text-align: center; }
    """

    @staticmethod
    def fits(size: Size) -> bool:
        """Whether every screen can be shown whole in a terminal of this size."""
        return size.width >= SMALLEST.width and size.height >= SMALLEST.height

    def compose(self) -> ComposeResult:
        """Nothing but the notice."""
        yield Static(markup=False)

    def on_mount(self) -> None:
        """Show the first size."""
        self._report(self.app.size)

    def on_resize(self) -> None:
        """Keep the size shown the true one."""
        self._report(self.app.size)

    def _report(self, size: Size) -> None:
        self.query_one(Static).update(
            f"The terminal is {size.width}x{size.height}.\n"
            f"ft-tui needs {SMALLEST.width}x{SMALLEST.height}.\nRuns go on meanwhile. q quits."
        )
