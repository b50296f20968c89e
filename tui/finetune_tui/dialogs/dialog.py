"""Screens that give one answer, however fast the keys for it come: two of them may wait before the first one acts."""

from __future__ import annotations

from contextlib import suppress
from typing import TypeVar

from textual import events, work
from textual.await_complete import AwaitComplete
from textual.command import CommandPalette
from textual.css.query import NoMatches
from textual.errors import NoWidget
from textual.screen import ModalScreen, Screen
from textual.widgets import OptionList

from finetune_core.text import one_line

Result = TypeVar("Result")
_GATHER = CommandPalette._gather_commands.__wrapped__  # type: ignore[attr-defined]

_LIST_CLICK = OptionList._on_click


class Dialog(ModalScreen[Result]):
    """A dialog over another screen; it is left once."""

    def dismiss(self, result: Result | None = None) -> AwaitComplete:
        """Leave with this answer; nothing when it has been left already."""
        return super().dismiss(result) if _uncovered(self) else AwaitComplete()

    def refuse(self, why: str) -> None:
        """Say why a key cannot act now."""
        self.notify(one_line(why, 300), severity="warning", markup=False)


class Palette(CommandPalette):
    """Textual's palette, of commands or of themes, for keys that come faster than it opens and closes."""

    def dismiss(self, result: None = None) -> AwaitComplete:
        """Close it; nothing when it is closed already."""
        return super().dismiss(result) if _uncovered(self) else AwaitComplete()

    def makes_wait(self, key: str) -> bool:
        """Whether what is typed is still being looked for; letters only ask for something else."""
        return len(key) > 1 and any(
            worker.node is self and worker.group == self._GATHER_COMMANDS_GROUP and not worker.is_finished
            for worker in self.workers
        )

    def _on_click(self, event: events.Click) -> None:  # type: ignore[override]
        # In the place of Textual's own, which looks for what is there before the screen is known to be as large.
        event.prevent_default()
        with suppress(NoWidget):
            if self.get_widget_at(event.screen_x, event.screen_y)[0] is self:
                self._cancel_gather_commands()
                self.dismiss()

    @work(exclusive=True, group=CommandPalette._GATHER_COMMANDS_GROUP)
    async def _gather_commands(self, search_value: str) -> None:
        # What is typed behind an Esc is looked for when the list to show it in has gone.
        with suppress(NoMatches):
            await _GATHER(self, search_value)

    def _action_command_list(self, action: str) -> None:
        # Before its list is drawn it has no pages.
        with suppress(LookupError):
            super()._action_command_list(action)


async def _click_what_is_there(self: OptionList, event: events.Click) -> None:
    """Take the option under the mouse; nothing where the list has become shorter since it was drawn."""
    option = event.style.meta.get("option")
    if not isinstance(option, int) or option < self.option_count:
        await _LIST_CLICK(self, event)


def install() -> None:
    """Have it so for every list of this process, Textual's own too. Doing it twice changes nothing."""
    setattr(OptionList, "_on_click", _click_what_is_there)  # noqa: B010 - mypy refuses a plain assignment


def _uncovered(screen: Screen[Result]) -> bool:
    """Whether the screen is still there; then it is the uppermost."""
    app = screen.app
    if screen not in app.screen_stack:
        return False
    if app.screen is not screen:
        while app.screen is not screen:
            app.pop_screen()
        # A notice that the terminal is too small comes again.
        app.post_message(events.Resize(app.size, app.size))
    return True
