"""A token of the model hub, typed hidden and kept by the hub's own library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import HorizontalGroup, Vertical
from textual.message import Message
from textual.widgets import Button, Input

from finetune_core.errors import FtError
from finetune_core.models.find import hub_endpoint
from finetune_core.plan.hub_login import log_in, overridden_by, token_file, token_found_in
from finetune_core.text import clean
from finetune_tui.dialogs.dialog import Dialog
from finetune_tui.widgets.line_input import LineInput
from finetune_tui.widgets.words import Words


class HubToken(Dialog[str | None]):
    """Gives the name of the user whose token was kept, or None when the user leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", show=False)]

    @dataclass
    class Answered(Message):
        """The hub's answer: the user's name, or what is wrong."""

        name: str | None
        wrong: str

    def __init__(self) -> None:
        super().__init__(classes="dialog-screen")

    def compose(self) -> ComposeResult:
        """What becomes of it, a line that shows nothing of what is typed, and two buttons."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Token of the model hub"
            yield Words(_introduction(), id="token-words")
            field = LineInput(password=True, placeholder="hf_...", max_length=4096, id="token")
            field.cursor_blink = False
            yield field
            yield Words(id="token-problem")
            with HorizontalGroup(classes="dialog-buttons"):
                yield Button("Keep (Enter)", id="keep", compact=True)
                yield Button("Leave (Esc)", id="leave", compact=True)

    def on_mount(self) -> None:
        """Type at once."""
        self.query_one(Input).focus()

    def on_input_submitted(self) -> None:
        """Enter has it kept."""
        self._keep()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A button keeps it or leaves."""
        event.stop()
        if event.button.id == "keep":
            self._keep()
        else:
            self.dismiss(None)

    def _keep(self) -> None:
        token = self.query_one(Input).value
        if not token.strip():
            self.query_one("#token-problem", Words).say("Paste a token first; Esc leaves without one.")
            return
        self.query_one("#token-problem", Words).say("Asking the hub whose token it is …")
        self._log_in(token)

    @work(thread=True, exclusive=True, group="token", exit_on_error=False)
    def _log_in(self, token: str) -> None:
        try:
            self.post_message(self.Answered(log_in(token), ""))
        except FtError as error:
            found = error.problems[0]
            self.post_message(self.Answered(None, f"{found.what}: {found.why}. {found.remedy}."))

    def on_hub_token_answered(self, message: Answered) -> None:
        """Leave with the name, or say what is wrong."""
        if message.name is not None:
            self.dismiss(message.name)
            return
        self.query_one("#token-problem", Words).say(clean(message.wrong))
        self.query_one(Input).clear()

    def action_leave(self) -> None:
        """No token."""
        self.dismiss(None)


def _introduction() -> str:
    found = token_found_in()
    there = f" One is there: {found}." if found else ""
    above = f" {overridden_by()} goes before it: unset that." if overridden_by() else ""
    page = f"{hub_endpoint()}/settings/tokens"
    return (
        f"For gated and private models: make one of the type Read on {page}, and paste it here."
        f" The hub's own library keeps it in {token_file()}; ft-tui does not.{there}{above}"
    )
