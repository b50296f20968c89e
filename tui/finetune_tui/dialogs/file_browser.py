"""A dialog that chooses a file or a folder by walking through the file system."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import HorizontalGroup, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, Input, OptionList
from textual.widgets.option_list import Option

from finetune_core.text import bytes_text, clean, one_line
from finetune_tui.dialogs.dialog import Dialog
from finetune_tui.widgets.line_input import LineInput
from finetune_tui.widgets.words import Line

ENTRIES_SHOWN: Final = 2000


@dataclass(frozen=True)
class Entry:
    """One line of a folder; `size` in bytes, None for folders."""

    name: str
    size: int | None


def read_folder(folder: Path, suffixes: Sequence[str]) -> tuple[list[Entry], str]:
    """Folders first, then files with one of the suffixes, by name; and what is to be said about them."""
    found: list[Entry] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    found.append(Entry(entry.name, None))
                elif entry.name.lower().endswith(tuple(suffixes)):
                    found.append(Entry(entry.name, _size(entry)))
    except OSError as error:
        return [], f"This folder cannot be read: {error.strerror}"
    found.sort(key=lambda entry: (entry.size is not None, entry.name.casefold()))
    cut = len(found) - ENTRIES_SHOWN
    note = f"{cut} more are not shown: type a part of the name" if cut > 0 else ""
    return found, note or ("" if found else "Nothing to choose in this folder.")


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return 0


class Listing(OptionList):
    """A list to choose from, for page keys that come before it is drawn: it has no pages then."""

    def action_page_up(self) -> None:
        """Go up by a page."""
        with suppress(LookupError):
            super().action_page_up()  # type: ignore[no-untyped-call]

    def action_page_down(self) -> None:
        """Go down by a page."""
        with suppress(LookupError):
            super().action_page_down()  # type: ignore[no-untyped-call]


class FileBrowser(Dialog[str | None]):
    """Gives the chosen path, or None. With `folders`, a folder is chosen instead of a file."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Leave", show=False),
        Binding("backspace,left", "up", "Folder above", show=False),
        Binding("slash", "filter", "Filter", show=False),
    ]
    DEFAULT_CSS = """
    FileBrowser #browser { height: 100%; max-height: 30; }
    FileBrowser OptionList { height: 1fr; border: none; padding: 0; background: $surface; }
    FileBrowser #browser-buttons { height: 1; align-horizontal: right; }
    FileBrowser #browser-buttons Button { margin-left: 2; }
    """

    @dataclass
    class FolderRead(Message):
        """A folder was listed."""

        folder: Path
        entries: list[Entry]
        note: str

    def __init__(self, title: str, start: Path, suffixes: Sequence[str], *, folders: bool = False) -> None:
        super().__init__(classes="dialog-screen")
        self._title = title
        self._folder = start
        self._suffixes = tuple(suffixes)
        self._folders = folders
        self._entries: list[Entry] = []
        self._note = ""
        self._reading = True

    def makes_wait(self, key: str) -> bool:
        """Every key is meant for the list that is being read."""
        del key
        return self._reading

    def compose(self) -> ComposeResult:
        """Where one is, a filter, the list, the buttons."""
        with Vertical(id="browser", classes="dialog") as dialog:
            dialog.border_title = Content(self._title)
            yield Line(id="browser-folder")
            yield LineInput(placeholder="/ part of a name", compact=True, id="browser-filter")
            yield Listing(markup=False, compact=True, id="browser-list")
            yield Line(id="browser-note", classes="dim")
            with HorizontalGroup(id="browser-buttons"):
                if self._folders:
                    yield Button("Take this folder", id="browser-take", compact=True)
                yield Button("Up", id="browser-up", compact=True)
                yield Button("Cancel", id="browser-cancel", compact=True)

    def on_mount(self) -> None:
        """List the first folder."""
        self.query_one(Input).cursor_blink = False
        self.query_one(OptionList).focus()
        self._open(self._folder)

    def _open(self, folder: Path) -> None:
        self._folder, self._reading = folder, True
        self.query_one("#browser-folder", Line).say(one_line(str(folder), 300))
        self._read(folder)

    @work(thread=True, exclusive=True, group="browse", exit_on_error=False)
    def _read(self, folder: Path) -> None:
        entries, note = read_folder(folder, self._suffixes)
        self.post_message(self.FolderRead(folder, entries, note))

    def on_file_browser_folder_read(self, message: FolderRead) -> None:
        """Show the folder, unless one has gone on meanwhile."""
        if message.folder != self._folder:
            return
        self._reading = False
        self._entries, self._note = message.entries, message.note
        with self.prevent(Input.Changed):
            self.query_one(Input).value = ""
        self._fill("")

    def _fill(self, wanted: str) -> None:
        options = self.query_one(OptionList)
        options.clear_options()
        if not wanted:
            options.add_option(Option(Content("../  (folder above)"), id=".."))
        shown = [entry for entry in self._entries if wanted.casefold() in entry.name.casefold()]
        options.add_options(Option(_prompt(entry), id=f"={entry.name}") for entry in shown[:ENTRIES_SHOWN])
        nothing = "" if shown or not wanted else "Nothing here has this in its name: clear the filter to see all."
        self.query_one("#browser-note", Line).say(nothing or self._note)
        if options.option_count:
            options.highlighted = 0 if wanted or options.option_count == 1 else 1

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what contains the typed part."""
        event.stop()
        self._fill(event.value)

    def on_input_submitted(self) -> None:
        """Take what is marked: the typed part leaves little else."""
        options = self.query_one(OptionList)
        options.focus()
        options.action_select()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Open a folder, or take a file."""
        if event.option_id == "..":
            self.action_up()
            return
        name = (event.option_id or "=").removeprefix("=")
        entry = next((entry for entry in self._entries if entry.name == name), None)
        if entry is not None and entry.size is None:
            self._open(self._folder / name)
        elif entry is not None:
            self.dismiss(str(self._folder / name))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """The three buttons."""
        event.stop()
        if event.button.id == "browser-take":
            self.dismiss(str(self._folder))
        elif event.button.id == "browser-up":
            self.action_up()
        else:
            self.dismiss(None)

    def action_up(self) -> None:
        """To the folder above."""
        self._open(self._folder.parent)

    def action_filter(self) -> None:
        """To the filter."""
        self.query_one(Input).focus()


def _prompt(entry: Entry) -> Content:
    if entry.size is None:
        return Content(clean(entry.name) + "/").stylize("bold")
    return Content.assemble(clean(entry.name), (f"  {bytes_text(entry.size)}", "dim"))
