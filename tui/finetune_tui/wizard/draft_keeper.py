"""The draft on the disk: written a moment after the last key, in a thread, and never while the run is launched."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer

from finetune_core.errors import FtError
from finetune_tui.wizard.draft import Draft, save_draft

SAVE_PAUSE: Final = 0.4


class DraftFailed(Message):
    """The disk refused the draft."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why


class DraftKeeper:
    """Writes what was typed for a screen, which gets `DraftFailed` where the disk refuses."""

    def __init__(self, screen: Screen[None], draft: Callable[[], Draft | None]) -> None:
        """`draft` gives what is to be kept now; None while nothing is."""
        self._screen = screen
        self._draft = draft
        self._timer: Timer | None = None
        self._text = ""

    def save_soon(self) -> None:
        """Write the draft when the keys rest."""
        if self._timer is not None:
            self._timer.stop()
        self._timer = self._screen.set_timer(SAVE_PAUSE, self.save_now)

    def save_now(self) -> None:
        """Write the draft, if it says something else than its file."""
        draft = self._draft()
        if draft is None or not draft.edited or (text := draft.to_json()) == self._text:
            return
        self._text = text
        write = partial(self._write, draft)
        self._screen.run_worker(write, name="keep the draft", group="draft", thread=True, exit_on_error=False)

    def _write(self, draft: Draft) -> None:
        try:
            save_draft(draft)
        except (FtError, OSError) as error:
            why = error.problems[0].why if isinstance(error, FtError) else error.strerror or str(error)
            self._screen.post_message(DraftFailed(why))

    def failed(self) -> None:
        """What was written last is not there: the next time it is tried again."""
        self._text = ""
