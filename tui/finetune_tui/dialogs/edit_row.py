"""A dialog to change what the turns of a row say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import HorizontalGroup, Vertical, VerticalScroll
from textual.widgets import Button, TextArea

from finetune_core.data.rows import Message
from finetune_core.data.synthetic.pending import as_conversation, as_turns
from finetune_core.text import one_line
from finetune_tui.dialogs.dialog import Dialog
from finetune_tui.widgets.words import Line


class EditRow(Dialog[tuple[Message, ...] | None]):
    """Gives the changed turns, or None when the user leaves. A turn nobody touched stays as it is, byte for byte."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", show=False),
        Binding("f2", "save", "Save", show=False),
    ]
    DEFAULT_CSS = """
    EditRow .dialog { width: 100; height: 100%; }
    EditRow .dialog-body { height: 1fr; max-height: 1fr; }
    EditRow TextArea { height: auto; min-height: 4; max-height: 10; border: none; padding: 0 1; }
    EditRow TextArea:focus { border: none; }
    EditRow .turn-name { text-style: bold; }
    EditRow #edit-problem { color: $text-error; }
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        super().__init__(classes="dialog-screen")
        self._messages = tuple(messages)
        self._before: list[str] = []

    def compose(self) -> ComposeResult:
        """One field a turn, and two buttons."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Change the row"
            dialog.border_subtitle = "Tab moves between turns"
            with VerticalScroll(classes="dialog-body", can_focus=False):
                for turn in self._messages:
                    yield Line(one_line(turn.role, 20), classes="turn-name")
                    area = TextArea(turn.content, soft_wrap=True, show_line_numbers=False, tab_behavior="focus")
                    area.cursor_blink = False
                    yield area
            yield Line(id="edit-problem")
            with HorizontalGroup(classes="dialog-buttons"):
                yield Button("Save (F2)", id="save", compact=True, variant="primary")
                yield Button("Leave (Esc)", id="leave", compact=True)

    def on_mount(self) -> None:
        """Type at once, at the answer that comes last."""
        areas = list(self.query(TextArea))
        self._before = [area.text for area in areas]
        areas[-1].focus()

    def on_resize(self, event: events.Resize) -> None:
        """Fields leave room for the other lines of a small terminal."""
        for area in self.query(TextArea):
            area.styles.max_height = max(4, event.size.height // 3)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Save or leave."""
        event.stop()
        if event.button.id == "save":
            self.action_save()
        else:
            self.dismiss(None)

    def action_leave(self) -> None:
        """Change nothing."""
        self.dismiss(None)

    def action_save(self) -> None:
        """Give the turns, or say what keeps them from being a conversation."""
        areas = self.query(TextArea)
        changed = tuple(
            turn if area.text == before else replace(turn, content=area.text)
            for turn, area, before in zip(self._messages, areas, self._before, strict=True)
        )
        found = as_conversation({"messages": as_turns(changed)})
        if isinstance(found, str):
            self.query_one("#edit-problem", Line).say(f"This cannot be saved: {found}.")
        else:
            self.dismiss(changed)
