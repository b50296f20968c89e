"""What the keys do: built from the table of actions, for the screen it is called from."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from ft_core.errors import FtError
from ft_core.text import clean
from ft_tui.actions import Action, actions, key_text

_TITLES = {"home": "The list of runs", "wizard": "Setting up a run", "dashboard": "One run", "app": "Everywhere"}


class PageScreen(ModalScreen[None]):
    """A text over the screen that scrolls, closed by Esc, Enter or q."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "close", "Close", show=False),
    ]

    def __init__(self, title: str, text: Text) -> None:
        super().__init__(classes="dialog-screen")
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """The text in a box no larger than the screen."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = self._title.replace("[", "\\[")
            dialog.border_subtitle = "Esc closes"
            with VerticalScroll(classes="dialog-body", id="page"):
                yield Static(self._text)

    def on_mount(self) -> None:
        """The arrow keys scroll at once."""
        self.query_one("#page").focus()

    def action_close(self) -> None:
        """Back to where the user was."""
        self.dismiss(None)


class HelpScreen(PageScreen):
    """The keys of one screen, then those that work everywhere."""

    def __init__(self, scope: str) -> None:
        super().__init__("Help", help_text(scope))


def help_text(scope: str) -> Text:
    """The page: one paragraph a scope, one line a key."""
    text = Text()
    for part in (scope, "app"):
        text.append(f"{_TITLES.get(part, part)}\n", style="bold")
        for action in actions(part):
            text.append(_line(action))
        text.append("\n")
    text.append("Tab and Shift+Tab move between parts, arrows inside them. Ctrl+Q leaves the program at once.\n")
    text.append("Leaving never stops a run: it goes on without the terminal.")
    return text


def _line(action: Action) -> str:
    return f"  {key_text(action):<8}{action.help}\n"


def problems_text(error: FtError) -> Text:
    """Every problem of an error: what in bold, then where, why, and what to do."""
    text = Text()
    for problem in error.problems:
        text.append(f"{clean(problem.what)}\n", style="bold")
        for label, words in (("where", problem.where), ("why", problem.why), ("fix", problem.remedy)):
            text.append(f"  {label:<7}{clean(words)}\n")
        text.append("\n")
    return text
