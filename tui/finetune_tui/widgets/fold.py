"""A heading that opens and folds what stands below it: one widget, in the place of Textual's three."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content
from textual.message import Message
from textual.widgets._collapsible import CollapsibleTitle


class Fold(CollapsibleTitle):
    """Enter or a click turns it; whoever hears of that shows or hides what belongs to it."""

    DEFAULT_CSS = """
    Fold { padding: 0; }
    """

    @dataclass
    class Turned(Message):
        """It was opened or folded."""

        fold: Fold

    def __init__(self, heading: str, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(label=Content(heading), collapsed_symbol="▶", expanded_symbol="▼", collapsed=True)
        self.id = id

    def on_collapsible_title_toggle(self, event: CollapsibleTitle.Toggle) -> None:
        """It was pressed."""
        event.stop()
        self.collapsed = not self.collapsed

    def watch_collapsed(self) -> None:
        """Say so."""
        if self.is_mounted:
            self.post_message(self.Turned(self))
            self.call_after_refresh(self.scroll_visible)
