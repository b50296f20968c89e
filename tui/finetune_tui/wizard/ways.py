"""The bar below the wizard's page: the ways on, and a note that stays as long as one needs to read it."""

from __future__ import annotations

from typing import Final

from textual.app import ComposeResult
from textual.containers import Container, HorizontalGroup
from textual.timer import Timer
from textual.widgets import Button

from finetune_core.text import reading_seconds
from finetune_tui.widgets.words import Line
from finetune_tui.wizard.session import REVIEW

_WAYS: Final = ("save", "launch", "next")


class Ways(HorizontalGroup):
    """Back, a note, and what leads on from the open step."""

    def __init__(self, first: int) -> None:
        super().__init__(id="ways")
        self._first = first
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        """Back, the note, and the ways on from the first step shown."""
        yield Button("Back", id="way-back", compact=True)
        with Container(id="note-place"):
            yield Line(id="note", classes="dim")
        for name in _ways_on(self._first):
            yield _button(name)

    @property
    def launch(self) -> Button:
        """The button that starts the run; it is there from the first look at the review on."""
        return self.query_one("#way-launch", Button)

    def show(self, step: int) -> None:
        """Offer what leads on from this step (0 is the first); a button is made when it is first offered."""
        self.query_one("#way-back", Button).disabled = step == 0
        wanted = _ways_on(step)
        for name in _WAYS:
            made = [*self.query_children(f"#way-{name}")]
            if made:
                made[0].display = name in wanted
            elif name in wanted:
                self.mount(_button(name))

    def note(self, text: str, *, lasting: bool = False) -> None:
        """Say something beside the buttons: until it is read, or `lasting` until something else is said."""
        self.query_one("#note", Line).say(text)
        if self._timer is not None:
            self._timer.stop()
        passing = bool(text) and not lasting
        self._timer = self.set_timer(reading_seconds(text), lambda: self.note("")) if passing else None


def _ways_on(step: int) -> tuple[str, ...]:
    return ("save", "launch") if step == REVIEW else ("next",)


def _button(name: str) -> Button:
    match name:
        case "save":
            return Button("Save", id="way-save", compact=True)
        case "launch":
            return Button("Launch", id="way-launch", compact=True, variant="success")
        case _:
            return Button("Next", id="way-next", compact=True, variant="primary")
