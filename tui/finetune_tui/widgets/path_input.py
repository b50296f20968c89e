"""A field for a path, which completes what is typed from the file system."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from textual import events
from textual.binding import Binding, BindingType
from textual.suggester import Suggester

from finetune_core.paths import expanded
from finetune_core.text import clean
from finetune_tui.widgets.line_input import LineInput

ENTRIES_LOOKED_AT: Final = 5000


def complete(text: str, suffixes: Sequence[str]) -> str | None:
    """The first path that begins as typed: a folder (with `/`), or a file with one of the suffixes; None without one.

    At most `ENTRIES_LOOKED_AT` entries of the folder are read. Names with control characters are never offered.
    """
    if not text.strip():
        return None
    head, slash, start = text.rpartition("/")
    folder = expanded(head + slash) if slash else Path()
    names = sorted(_names(folder, start, suffixes), key=lambda name: (name.startswith("."), name.casefold()))
    return next((head + slash + name for name in names if head + slash + name != text), None)


def _names(folder: Path, start: str, suffixes: Sequence[str]) -> list[str]:
    found: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(ENTRIES_LOOKED_AT), entries, strict=False):
                name = entry.name
                if not name.startswith(start) or clean(name) != name or (name.startswith(".") and not start):
                    continue
                if entry.is_dir():
                    found.append(name + "/")
                elif name.lower().endswith(tuple(suffixes)):
                    found.append(name)
    except OSError:
        return []
    return found


class PathSuggester(Suggester):
    """Completes from the disk, off the event loop: a folder on the network may take its time."""

    def __init__(self, suffixes: Sequence[str]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._suffixes = tuple(suffixes)

    async def get_suggestion(self, value: str) -> str | None:
        """The completion of what was typed."""
        return await asyncio.to_thread(complete, value, self._suffixes)


class PathInput(LineInput):
    """Right and Tab take the completion shown; Tab on a field that was not typed in goes on to the next one."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("tab", "complete_or_next", "Complete", show=False)]

    def __init__(self, value: str = "", *, placeholder: str, suffixes: Sequence[str], id: str) -> None:  # noqa: A002
        super().__init__(
            value,
            placeholder=placeholder,
            suggester=PathSuggester(suffixes),
            select_on_focus=False,
            compact=True,
            id=id,
        )
        self.cursor_blink = False
        self._typed_since_focus = False

    def makes_wait(self, key: str) -> bool:
        """The keys that take the completion wait until the disk has given it."""
        asked = (worker for worker in self.workers if worker.node is self)
        return key in ("tab", "right") and any(not worker.is_finished for worker in asked)

    def on_focus(self) -> None:
        """A field that is only passed through does not hold the Tab key."""
        self._typed_since_focus = False

    def on_key(self, event: events.Key) -> None:
        """Whatever else is pressed here: the field is being worked in."""
        if event.key != "tab":
            self._typed_since_focus = True

    def action_complete_or_next(self) -> None:
        """Take the completion, or go to the next field."""
        if self._typed_since_focus and self._suggestion and self.cursor_at_end:
            self.value = self._suggestion
            self.cursor_position = len(self.value)
        else:
            self.screen.focus_next()
