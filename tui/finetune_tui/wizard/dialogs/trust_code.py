"""A dialog that shows the code that comes with a model, and lets it run once its user has typed the model's name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.cells import chop_cells
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import HorizontalGroup, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, Input
from textual.worker import Worker, get_current_worker

from finetune_core.errors import FtError, Problem
from finetune_core.models.trust import CodeFile
from finetune_core.plan.foreign_code import WHAT_CODE_CAN_DO, ForeignCode, look_at_code
from finetune_core.text import bytes_text, clean, counted, one_line
from finetune_tui.dialogs.dialog import Dialog
from finetune_tui.widgets.cells import Line as Row
from finetune_tui.widgets.cells import safe
from finetune_tui.widgets.field_form import problem_words
from finetune_tui.widgets.line_input import LineInput
from finetune_tui.widgets.pager import Pager
from finetune_tui.widgets.words import Line, Words
from finetune_tui.wizard.step import report_failure


class TrustCode(Dialog[bool]):
    """Gives True once the code that was shown is trusted; the model's exact name has to be typed for it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", show=False),
        Binding("f2", "trust", "Trust", show=False),
    ]
    DEFAULT_CSS = """
    TrustCode .dialog { width: 110; height: 100%; }
    TrustCode #code-text { height: 1fr; }
    TrustCode #code-text:focus { background: $boost; }
    TrustCode #code-warning { color: $text-warning; }
    """

    @dataclass
    class Looked(Message):
        """The code is here, or what stands in its way."""

        code: ForeignCode | None
        problems: tuple[Problem, ...]

    def __init__(self, source: str, revision: str | None) -> None:
        super().__init__(classes="dialog-screen")
        self._source, self._revision = source, revision
        self._code: ForeignCode | None = None
        self._looking = True

    def makes_wait(self, key: str) -> bool:
        """Every key is meant for the code that is being fetched."""
        del key
        return self._looking

    def compose(self) -> ComposeResult:
        """Whose code it is, what it could do, the files, a field for the name."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Code that comes with the model"
            dialog.border_subtitle = "arrows read, Tab goes on"
            yield Words(f"Fetching the code of {one_line(self._source, 200)} to look at it …", id="code-about")
            yield Words(id="code-warning")
            yield Pager(id="code-text")
            yield Line(id="code-ask")
            name = LineInput(compact=True, placeholder="the model's name", id="code-name")
            name.cursor_blink = False
            yield name
            with HorizontalGroup(classes="dialog-buttons"):
                yield Button("Trust (F2)", id="code-trust", compact=True, disabled=True)
                yield Button("Leave (Esc)", id="code-leave", compact=True)

    def on_mount(self) -> None:
        """Fetch it."""
        for name in ("#code-text", "#code-name"):
            self.query_one(name).display = False
        self.query_one("#code-leave").focus()
        self._look()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A thread ended."""
        report_failure(self, event)

    @work(thread=True, exclusive=True, group="code", exit_on_error=False)
    def _look(self) -> None:
        worker = get_current_worker()
        try:
            code = look_at_code(self._source, self._revision, lambda: worker.is_cancelled)
        except FtError as error:
            self.post_message(self.Looked(None, error.problems))
        else:
            self.post_message(self.Looked(code, ()))

    def on_trust_code_looked(self, message: Looked) -> None:
        """Show the files, or why there is nothing to look at."""
        self._looking = False
        code = self._code = message.code
        if code is None:
            self.query_one("#code-about", Words).say(problem_words(message.problems))
            return
        self.query_one("#code-about", Words).say(about(code))
        pager = self.query_one("#code-text", Pager)
        pager.display = True
        pager.show(lambda width, _: code_rows(code.files, width))
        if code.consent is None:
            self.query_one("#code-warning", Words).say(WHAT_CODE_CAN_DO)
            self.query_one("#code-ask", Line).say(f"To let it run, type: {one_line(code.name, 300)}")
            self.query_one("#code-name").display = True
        pager.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Only the exact name opens the way."""
        event.stop()
        self.query_one("#code-trust", Button).disabled = self._code is None or event.value != self._code.name

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter trusts, once the name is there."""
        event.stop()
        self.action_trust()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Trust it, or leave."""
        event.stop()
        if event.button.id == "code-trust":
            self.action_trust()
        else:
            self.action_leave()

    def action_trust(self) -> None:
        """Consent to the files as they were shown."""
        if self._code is None or self._code.consent is not None:
            self.refuse("There is no code to trust here." if self._code is None else "This code is trusted already.")
            return
        if self.query_one("#code-name", Input).value != self._code.name:
            self.refuse(f"Type the model's name first, exactly as it stands: {self._code.name}")
            return
        try:
            self._code.trust()
        except FtError as error:
            self.query_one("#code-warning", Words).say(problem_words(error.problems))
        else:
            self.dismiss(True)

    def action_leave(self) -> None:
        """Trust nothing more; code that is trusted already may have been so meanwhile, from another terminal."""
        self.dismiss(self._code is not None and self._code.consent is not None)


def about(code: ForeignCode) -> Content:
    """Whose code it is, which commit, how much, and whether it is trusted."""
    size = bytes_text(sum(len(file.content) for file in code.files))
    place = f"commit {one_line(code.commit, 40)}" if code.commit else "a folder"
    files = f"{counted(len(code.files), 'file')}"
    given = f" Trusted since {one_line(code.consent.day, 10)}." if code.consent is not None else ""
    return Content.assemble((one_line(code.name, 300), "bold"), f", {place}, {files}, {size}.{given}")


def code_rows(files: tuple[CodeFile, ...], width: int) -> list[Row]:
    """Every file, line by line, folded at the width so that nothing stands out of sight."""
    rows: list[Row] = []
    for file in files:
        head = f"{file.name}  {counted(file.lines, 'line')}, {bytes_text(len(file.content))}"
        rows += [((one_line(head, max(width, 8)), "accent"),)]
        for text in clean(file.text).split("\n"):
            shown = safe(text, len(text))
            pieces = [shown] if len(shown) <= width and shown.isascii() else chop_cells(shown, max(width, 2)) or [""]
            rows += [((piece, ""),) for piece in pieces]
    return rows
