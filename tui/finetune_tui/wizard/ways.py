"""The bar below the wizard's page: the ways on, and a note that stays as long as one needs to read it."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Container, HorizontalGroup
from textual.timer import Timer
from textual.widgets import Button

from finetune_core.text import reading_seconds
from finetune_tui.widgets.words import Line
from finetune_tui.wizard.session import REVIEW


class Ways(HorizontalGroup):
    """Back, a note, and what leads on from the open step."""

    def __init__(self) -> None:
        super().__init__(id="ways")
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        """All of the buttons; those that lead nowhere from the open step are out of sight."""
        yield Button("Back", id="way-back", compact=True)
        with Container(id="note-place"):
            yield Line(id="note", classes="dim")
        yield Button("Save", id="way-save", compact=True)
        yield Button("Launch", id="way-launch", compact=True, variant="success")
        yield Button("Next", id="way-next", compact=True, variant="primary")

    @property
    def launch(self) -> Button:
        """The button that starts the run."""
        return self.query_one("#way-launch", Button)

    def show(self, step: int) -> None:
        """Offer what leads on from this step (0 is the first)."""
        self.query_one("#way-back", Button).disabled = step == 0
        last = step == REVIEW
        for name, wanted in (("next", not last), ("save", last), ("launch", last)):
            self.query_one(f"#way-{name}").display = wanted

    def note(self, text: str, *, lasting: bool = False) -> None:
        """Say something beside the buttons: until it is read, or `lasting` until something else is said."""
        self.query_one("#note", Line).say(text)
        if self._timer is not None:
            self._timer.stop()
        passing = bool(text) and not lasting
        self._timer = self.set_timer(reading_seconds(text), lambda: self.note("")) if passing else None
