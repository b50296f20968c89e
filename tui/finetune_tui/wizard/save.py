"""A dialog that writes the recipe to a file, and never over another one unasked."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import HorizontalGroup, Vertical
from textual.message import Message
from textual.widgets import Button, Input

from finetune_core.errors import FtError
from finetune_core.paths import expanded
from finetune_core.recipe.schema import Recipe
from finetune_core.recipe.yaml_io import save
from finetune_core.text import clean, one_line
from finetune_tui.dialogs.confirm import Confirm
from finetune_tui.dialogs.dialog import Dialog
from finetune_tui.widgets.path_input import PathInput
from finetune_tui.widgets.words import Words


class SaveRecipe(Dialog[str | None]):
    """Gives the path the recipe was written to, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Leave", show=False)]
    DEFAULT_CSS = """
    SaveRecipe #save-buttons { height: 1; align-horizontal: right; margin-top: 1; }
    SaveRecipe #save-buttons Button { margin-left: 2; }
    SaveRecipe Words { color: $text-error; }
    """

    class Done(Message):
        """The file was written, or not: `refused` says why."""

        def __init__(self, path: Path, refused: str, *, exists: bool = False) -> None:
            super().__init__()
            self.path = path
            self.refused = refused
            self.exists = exists

    def __init__(self, recipe: Recipe, path: str) -> None:
        super().__init__(classes="dialog-screen")
        self._recipe = recipe
        self._path = path
        self._writing = False

    def makes_wait(self, key: str) -> bool:
        """What is typed behind Enter is for what comes after the dialog."""
        del key
        return self._writing

    def compose(self) -> ComposeResult:
        """A path and two buttons."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Save the recipe as"
            yield PathInput(self._path, placeholder="recipe.yaml", suffixes=(".yaml", ".yml"), id="save-path")
            yield Words(id="save-problem")
            with HorizontalGroup(id="save-buttons"):
                yield Button("Save", id="save-yes", compact=True, variant="primary")
                yield Button("Cancel", id="save-no", compact=True)

    def on_mount(self) -> None:
        """Type at once."""
        self.query_one(PathInput).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter saves."""
        event.stop()
        self._save(overwrite=False)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Save or leave."""
        event.stop()
        if event.button.id == "save-yes":
            self._save(overwrite=False)
        else:
            self.dismiss(None)

    def action_cancel(self) -> None:
        """Leave without writing."""
        self.dismiss(None)

    def _save(self, *, overwrite: bool) -> None:
        typed = self.query_one(PathInput).value.strip()
        if not typed:
            self.query_one("#save-problem", Words).say("Give the file a name.")
            return
        self._writing = True
        self._write(expanded(typed).absolute(), overwrite=overwrite)

    @work(thread=True, exclusive=True, group="save", exit_on_error=False)
    def _write(self, path: Path, *, overwrite: bool) -> None:
        if path.is_dir():
            self.post_message(self.Done(path, "This is a folder: give a file name in it."))
            return
        if path.exists() and not overwrite:
            self.post_message(self.Done(path, "", exists=True))
            return
        try:
            save(self._recipe, path)
        except (FtError, OSError) as error:
            why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            self.post_message(self.Done(path, f"It cannot be written: {why}"))
        else:
            self.post_message(self.Done(path, ""))

    def on_save_recipe_done(self, message: Done) -> None:
        """Close, or say what is in the way."""
        self._writing = False
        if message.refused:
            self.query_one("#save-problem", Words).say(clean(message.refused))
        elif message.exists:
            question = f"{one_line(str(message.path), 300)} is there already."
            choices = (("overwrite", "Write over it"), ("keep", "Keep it"))
            self.app.push_screen(Confirm("Write over the file?", question, choices), self._overwrite)
        else:
            self.dismiss(str(message.path))

    def _overwrite(self, answer: str | None) -> None:
        if answer == "overwrite":
            self._save(overwrite=True)
