"""A question with a few answers, asked before something that is hard to undo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import HorizontalGroup, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Static

from finetune_tui.dialogs.dialog import Dialog


class Confirm(Dialog[str | None]):
    """Gives the name of the chosen answer, or None when the user leaves the question.

    `choices` are pairs (name, words on the button). The last is the harmless one and has the focus.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", show=False),
        Binding("left", "app.focus_previous", show=False),
        Binding("right", "app.focus_next", show=False),
    ]

    def __init__(self, title: str, text: str, choices: Sequence[tuple[str, str]]) -> None:
        super().__init__(classes="dialog-screen")
        self._title = title
        self._text = text
        self._choices = tuple(choices)

    def compose(self) -> ComposeResult:
        """A title, the text, one button an answer."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content(self._title)
            with VerticalScroll(classes="dialog-body"):
                yield Static(Content(self._text), id="confirm-text")
            with HorizontalGroup(classes="dialog-buttons"):
                for name, words in self._choices:
                    yield Button(Content(words), id=f"choice-{name}", compact=True)

    def say(self, text: str) -> None:
        """Say something else; nothing when the dialog has been left."""
        self._text = text
        for words in self.query("#confirm-text").results(Static):
            words.update(Content(text))

    def on_mount(self) -> None:
        """The harmless answer is one Enter away."""
        self.query(Button).last().focus()

    def on_resize(self, event: events.Resize) -> None:
        """The text scrolls, so that the answers stay in sight: borders, buttons and a blank line take four lines."""
        self.query_one(VerticalScroll).styles.max_height = max(1, event.size.height - 4)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """An answer was chosen."""
        event.stop()
        self.dismiss((event.button.id or "").removeprefix("choice-"))

    def action_leave(self) -> None:
        """No answer."""
        self.dismiss(None)
