"""What the keys do: built from the table of actions, for the screen it is called from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from finetune_core.errors import FtError
from finetune_core.text import clean
from finetune_tui.actions import Action, actions, key_text
from finetune_tui.dialogs.dialog import Dialog

if TYPE_CHECKING:
    from finetune_tui.doctor import Check

_ALWAYS = """\
Tab and Shift+Tab move between parts, arrows inside them. Ctrl+Q leaves the program at once.
Leaving never stops a run: it goes on without the terminal."""
_TITLES = {
    "home": "The list of runs",
    "wizard": "Setting up a run",
    "rows": "In the rows of the data step",
    "dashboard": "One run",
    "review": "Looking at synthetic rows",
    "app": "Everywhere",
}

# Parts of a screen that have keys of their own.
_WITHIN = {"wizard": ("rows",)}


class PageScreen(Dialog[None]):
    """A text over the screen that scrolls, closed by Esc, Enter or q."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "close", "Close", show=False),
    ]

    def __init__(self, title: str, text: Text | Table | Group) -> None:
        super().__init__(classes="dialog-screen")
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """The text in a box no larger than the screen."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content(self._title)
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
        super().__init__("Help", help_page(scope))


def help_page(scope: str) -> Group:
    """One paragraph a scope, one line a key."""
    parts: list[RenderableType] = []
    for part in (scope, *_WITHIN.get(scope, ()), "app"):
        parts += [Text(_TITLES.get(part, part), style="bold"), _keys(actions(part)), Text()]
    return Group(*parts, Text(_ALWAYS))


def _keys(some: Sequence[Action]) -> Table:
    table = _columns()
    for action in some:
        table.add_row(Text(key_text(action)), Text(action.help))
    return table


def _columns() -> Table:
    table = Table.grid(padding=(0, 1, 0, 1))
    table.add_column(no_wrap=True)
    return table


def report_table(checks: Sequence[Check]) -> Table | Group:
    """The environment report, the remedies under what they mend."""
    table = _columns()
    for check in checks:
        table.add_row(Text(check.mark), Text(check.name), Text(clean(check.text)))
        if check.remedy:
            table.add_row(Text(), Text(), Text(f"fix: {clean(check.remedy)}", style="bold"))
    return table


def problems_text(error: FtError) -> Text:
    """Every problem of an error: what in bold, then where, why, and what to do."""
    text = Text()
    for problem in error.problems:
        text.append(f"{clean(problem.what)}\n", style="bold")
        for label, words in (("where", problem.where), ("why", problem.why), ("fix", problem.remedy)):
            text.append(f"  {label:<7}{clean(words)}\n")
        text.append("\n")
    return text
