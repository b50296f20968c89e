"""A question for the model, typed during a run."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import HorizontalGroup, Vertical
from textual.widgets import Button, Input, Static

from finetune_tui.dialogs.dialog import Dialog
from finetune_tui.widgets.line_input import LineInput


class SamplePrompt(Dialog[str | None]):
    """Gives the typed prompt, or None when the user leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", show=False)]

    def __init__(self, text: str = "") -> None:
        super().__init__(classes="dialog-screen")
        self._text = text

    def compose(self) -> ComposeResult:
        """A line to type in, and two buttons."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Sample now"
            yield Static("Base and tuned model answer this after the present step.", markup=False)
            prompt = LineInput(self._text, placeholder="What should it answer?", max_length=4000, id="prompt")
            prompt.cursor_blink = False
            yield prompt
            with HorizontalGroup(classes="dialog-buttons"):
                yield Button("Ask (Enter)", id="ask", compact=True)
                yield Button("Leave (Esc)", id="leave", compact=True)

    def on_mount(self) -> None:
        """Type at once."""
        self.query_one(Input).focus()

    def on_input_submitted(self) -> None:
        """Enter asks."""
        self._finish()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A button asks or leaves."""
        event.stop()
        if event.button.id == "ask":
            self._finish()
        else:
            self.dismiss(None)

    def _finish(self) -> None:
        text = self.query_one(Input).value.strip()
        if text:
            self.dismiss(text)
        else:
            self.refuse("Type a question first; Esc leaves without one.")

    def action_leave(self) -> None:
        """No question."""
        self.dismiss(None)
