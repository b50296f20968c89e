"""A choice between few words, all of them visible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.style import Style
from textual.widget import Widget

from finetune_tui.run_words import glyph

_GAP = "   "


class ChoiceRow(Widget, can_focus=True):
    """`(•) none  ( ) int8  ( ) nf4`: the arrow keys and the space bar go through the choices, a click takes one.

    What is chosen has a mark, never by colour alone.
    """

    DEFAULT_CSS = """
    ChoiceRow { height: auto; width: 1fr; }
    ChoiceRow:focus { text-style: none; background: $boost; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", "Choice before", show=False),
        Binding("right,space,enter", "move(1)", "Next choice", show=False),
    ]

    @dataclass
    class Chosen(Message):
        """Another choice was taken by the user."""

        row: ChoiceRow
        value: str

        @property
        def control(self) -> ChoiceRow:
            """The row in which it was taken."""
            return self.row

    def __init__(
        self,
        choices: Sequence[tuple[str, str]],
        value: str,
        *,
        id: str | None = None,  # noqa: A002 - Textual's word
        classes: str | None = None,
    ) -> None:
        """`choices` are pairs (value, word shown)."""
        self.choices = tuple(choices)
        self._value = value
        super().__init__(id=id, classes=classes)

    @property
    def value(self) -> str:
        """The value that is chosen; one outside the choices when none is."""
        return self._value

    def show(self, value: str) -> None:
        """Mark this value, without a message."""
        if value != self._value:
            self._value = value
            self.refresh()

    def _lines(self, width: int) -> list[list[Content]]:
        """Whole choices on each line: a mark never stands apart from its word."""
        lines: list[list[Content]] = [[]]
        for index in range(len(self.choices)):
            words = self._words(index)
            taken = sum(len(part) + len(_GAP) for part in lines[-1])
            if lines[-1] and taken + len(words) > width:
                lines.append([])
            lines[-1].append(words)
        return lines

    def get_content_width(self, container: Size, viewport: Size) -> int:
        """What the longest line takes where all that fits stands on one."""
        del viewport
        return max(sum(map(len, line)) + len(_GAP) * (len(line) - 1) for line in self._lines(container.width))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as the choices need at this width."""
        del container, viewport
        return len(self._lines(width))

    def render(self) -> Content:
        """The choices, with a mark at the one that is taken."""
        return Content("\n").join(Content(_GAP).join(line) for line in self._lines(self.content_size.width))

    def _words(self, index: int) -> Content:
        value, label = self.choices[index]
        chosen = value == self._value
        mark = glyph("(•)", "(*)") if chosen else "( )"
        text = f"{mark} {label}"
        looks = Style(bold=True, reverse=self.has_focus) if chosen else Style()
        return Content(text).stylize(looks + Style.from_meta({"choice": index}))

    def action_move(self, by: int) -> None:
        """Take the next choice, or the one before."""
        values = [value for value, _ in self.choices]
        at = values.index(self._value) if self._value in values else -1 if by > 0 else 0
        self._take(values[(at + by) % len(values)])

    def on_click(self, event: events.Click) -> None:
        """Take the choice under the mouse."""
        index = event.style.meta.get("choice")
        if isinstance(index, int):
            self._take(self.choices[index][0])

    def _take(self, value: str) -> None:
        if value != self._value:
            self._value = value
            self.refresh()
            self.post_message(self.Chosen(self, value))
