"""The list of runs: where one starts, and comes back to."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.widgets import DataTable, Footer

from ft_tui.actions import bindings


class HomeScreen(Screen[None]):
    """All runs under this FT_TUI_HOME, newest first."""

    SCOPE: ClassVar[str] = "home"
    BINDINGS: ClassVar[list[BindingType]] = bindings("home")

    def compose(self) -> ComposeResult:
        """The table and the keys."""
        yield DataTable(cursor_type="row")
        yield Footer()

    def action_leave(self) -> None:
        """Leave the program."""
        self.app.exit(0)
