"""The steps of the wizard, always in view: which is open, which are done, which have problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.message import Message
from textual.style import Style
from textual.widgets import Static

from finetune_tui.run_words import glyph


@dataclass(frozen=True)
class StepState:
    """One step as the list shows it."""

    name: str
    short: str
    summary: str
    current: bool
    visited: bool
    problems: int

    @property
    def mark(self) -> str:
        """The state in one sign: `!2` has problems, `▸` is open, `✓` is done, `·` was not seen yet."""
        if self.problems:
            return f"!{self.problems}"
        if self.current:
            return glyph("▸", ">")
        return glyph("✓", "x") if self.visited else glyph("·", "-")


class StepsList(Static):
    """One line on a narrow terminal, a column with summaries on a wide one."""

    DEFAULT_CSS = """
    StepsList { height: 1; width: 100%; text-wrap: nowrap; text-overflow: ellipsis; background: $panel; padding: 0 1; }
    StepsList.-column { height: 1fr; width: 28; text-wrap: wrap; padding: 1 1; }
    """

    @dataclass
    class Picked(Message):
        """A step was clicked (0 is the first)."""

        step: int

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(markup=False, id=id)
        self._steps: tuple[StepState, ...] = ()

    def show(self, steps: Sequence[StepState]) -> None:
        """Show these states; nothing is drawn when none has changed."""
        if tuple(steps) != self._steps:
            self._steps = tuple(steps)
            self.draw()

    def on_resize(self) -> None:
        """Names are cut shorter where there is less room."""
        self.draw()

    def draw(self) -> None:
        """Draw the states for the room there is."""
        column = self.has_class("-column")
        content = self._column() if column else self._row()
        if not content.is_same(_content_of(self)):
            self.update(content, layout=False)

    def _row(self) -> Content:
        whole = sum(len(step.name) + len(step.mark) + 5 for step in self._steps)
        short = whole > self.content_size.width
        cells = [self._cell(index, step.short if short else step.name) for index, step in enumerate(self._steps)]
        return Content(" " if short else "  ").join(cells)

    def _column(self) -> Content:
        blocks = []
        for index, step in enumerate(self._steps):
            summary = Content(f"\n  {step.summary}" if step.summary else "").stylize("dim")
            blocks.append(self._cell(index, step.name) + summary.stylize(Style.from_meta({"step": index})))
        return Content("\n\n").join(blocks)

    def _cell(self, index: int, name: str) -> Content:
        step = self._steps[index]
        looks = "bold reverse" if step.current else "$text-error" if step.problems else ""
        cell = Content(f" {index + 1} {step.mark} {name} " if step.current else f"{index + 1} {step.mark} {name}")
        return cell.stylize(looks).stylize(Style.from_meta({"step": index}))

    def on_click(self, event: events.Click) -> None:
        """Open the step under the mouse."""
        step = event.style.meta.get("step")
        if isinstance(step, int):
            self.post_message(self.Picked(step))


def _content_of(widget: Static) -> Content:
    shown = widget.content
    return shown if isinstance(shown, Content) else Content()
