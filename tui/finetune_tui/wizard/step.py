"""What the five steps of the wizard have in common."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from textual import events
from textual.app import ComposeResult
from textual.compose import compose
from textual.containers import VerticalScroll
from textual.dom import DOMNode
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input
from textual.worker import Worker, WorkerState

from finetune_core.text import one_line
from finetune_tui.actions import relabel
from finetune_tui.wizard.session import Session

# Pages are rarely longer than so many rows.
_TALL: Final = 40


class FactsChanged(Message):
    """A step has found something out: everything that follows from it is to be worked out anew."""


class PageMoved(Message):
    """Another part of a step is in view, or there is more or less of it."""


@dataclass
class StepWanted(Message):
    """Go this many steps forward (or back)."""

    by: int


def report_failure(node: DOMNode, event: Worker.StateChanged) -> None:
    """Say that a thread of the wizard died of something unforeseen, rather than wait for it in silence."""
    if event.state is WorkerState.ERROR:
        failure = one_line(repr(event.worker.error), 300)
        text = f"{event.worker.name} failed: {failure}. This is a defect of ft-tui; the draft is kept."
        node.app.notify(text, severity="error", markup=False)


class Step(VerticalScroll):
    """One step: a page that scrolls. Paging past its end (or its top) goes on to the next step (or back).

    A step looks at machine, model or data from the start; its parts are made when it is first opened, or before.
    """

    NUMBER: ClassVar[int] = 0
    DEFAULT_CSS = """
    Step { height: 1fr; width: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
    """

    def __init__(self, session: Session) -> None:
        super().__init__(id=f"step-{self.NUMBER + 1}")
        self.session = session
        self.built = False
        self._waiting: deque[Widget] | None = None

    def parts(self) -> ComposeResult:
        """What is on the page."""
        yield from ()

    def compose(self) -> ComposeResult:
        """The parts at once, where the wizard opens with this step."""
        if self.session.draft.step == self.NUMBER:
            yield from self.parts()

    async def build(self) -> None:
        """Make the parts, where they are not there yet."""
        if not self.built and self.is_attached:
            await self.mount_all(self._to_mount())
            self._is_built()

    async def build_ahead(self) -> None:
        """Make some of the parts: the widgets, then a widget at each call put in its place, out of sight."""
        if self._waiting is None:
            self._to_mount()
        elif not self.built and self.is_attached:
            await self.mount(self._waiting.popleft())
            if not self._waiting and not self.built:
                self._is_built()

    def _to_mount(self) -> deque[Widget]:
        if self._waiting is None:
            self._waiting = deque(compose(self, self.parts()))
        return self._waiting

    def _is_built(self) -> None:
        self._waiting = None
        self.built = True
        self._expect_scrollbar()
        self.catch_up()

    def _expect_scrollbar(self) -> None:
        """Lay the page out with a scrollbar where it is likely to need one.

        It would be laid out a second time when that is found out; a wrong guess costs no more.
        """
        if self.app.size.height < _TALL:
            self.set_reactive(Step.show_vertical_scrollbar, True)

    def catch_up(self) -> None:
        """Have the new parts show what was found out before they were made, where `show` does not."""

    def on_mount(self) -> None:
        """Let the wizard know how far the page is scrolled, which says what the paging keys do."""
        if self.children:
            self.built = True
            self._expect_scrollbar()
        for name in ("scroll_y", "virtual_size", "show_vertical_scrollbar"):
            self.watch(self, name, self._moved, init=False)

    def _moved(self) -> None:
        if self.display:
            self.post_message(PageMoved())

    @property
    def pages(self) -> tuple[int, int]:
        """Which screenful of the page is in view, and how many there are; both from 1."""
        height = max(self.scrollable_content_region.height, 1)
        count = 1 + math.ceil(max(self.max_scroll_y, 0) / height)
        return min(1 + math.ceil(self.scroll_offset.y / height), count), count

    def focus(self, scroll_visible: bool = True) -> Self:  # noqa: FBT001, FBT002 - as Textual's
        """Take the focus without being drawn anew."""
        self.app.call_later(self._take_focus, scroll_visible)
        return self

    def _take_focus(self, scroll_visible: bool) -> None:  # noqa: FBT001 - as Textual's
        if self.is_attached:
            self.screen.set_focus(self, scroll_visible=scroll_visible)

    def _on_focus(self, event: events.Focus) -> None:
        """Its parts look the same with the focus: none of them is drawn anew."""
        event.prevent_default()
        self.has_focus = True
        if self.parent is not None:
            self.parent.post_message(events.DescendantFocus(self))

    def _on_blur(self, event: events.Blur) -> None:
        """Nor without it."""
        event.prevent_default()
        self.has_focus = False
        if self.parent is not None:
            self.parent.post_message(events.DescendantBlur(self))

    def watch_has_focus(self, _has_focus: bool) -> None:  # noqa: FBT001 - as Textual declares it
        """Only the page itself can look otherwise with the focus: none of its many parts is styled anew."""
        self.app.stylesheet.update_nodes([self])

    @property
    def is_shown(self) -> bool:
        """Whether this step is the one in view."""
        return self.display and self.screen.is_current

    def show(self) -> None:
        """Bring everything on the page up to date with the session."""

    def opened(self) -> None:
        """The step was opened."""

    def first_focus(self) -> Widget:
        """What has the focus when the step is opened: no text field, so that the letters are keys."""
        return self

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A thread ended."""
        report_failure(self, event)

    def action_page_down(self) -> None:
        """One page down, or on to the next step."""
        if self.scroll_offset.y < self.max_scroll_y:
            self.scroll_page_down(animate=False)
        else:
            self.post_message(StepWanted(1))

    def action_page_up(self) -> None:
        """One page up, or back to the step before."""
        if self.scroll_offset.y > 0:
            self.scroll_page_up(animate=False)
        else:
            self.post_message(StepWanted(-1))


def name_keys(screen: Screen[None], step: Step) -> None:
    """Have the footer say what those keys do now that do one thing after another."""
    page, count = step.pages
    names = {
        "next_step": "Next" if page == count else f"More ({page} of {count})",
        "leave": "Leave field" if isinstance(screen.focused, Input) else "Leave",
    }
    renamed = [relabel(screen, action, label) for action, label in names.items()]
    if any(renamed):
        screen.refresh_bindings()
