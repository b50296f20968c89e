"""The models one can tune, to look at and to choose from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.binding import BindingType
from textual.message import Message
from textual.widgets import DataTable

from finetune_core.models.facts import ModelFacts
from finetune_core.text import bytes_text, count_text, one_line
from finetune_tui.run_words import glyph
from finetune_tui.widgets.paging import PageKeysPass

_COLUMNS = (" ", "Model", "Params", "Fits", "Context", "Chat", "Licence", "Size", "Architecture")
_NAME_WIDTH = 28
# The mark and what fits may change while the list stays.
_CHANGING = 4
# Least width of the table, and how many of the columns it then shows.
_COLUMNS_FOR = ((104, 9), (94, 8), (84, 7), (68, 6), (0, 4))


def chat_word(model: ModelFacts) -> str:
    """Whether the model has a chat template, as a word."""
    return {True: "yes", False: "no", None: "?"}[model.has_chat_template]


def cells_of(model: ModelFacts, fits: str, *, chosen: bool) -> tuple[str, ...]:
    """One model as the table's cells; what is not known is a question mark. `fits` says what fits the device."""
    name = f"demo {glyph('·', '-')} ships with ft-tui" if model.kind == "demo" else model.source
    if len(name) > _NAME_WIDTH and model.kind == "folder":
        name = glyph("…", "~") + name[-(_NAME_WIDTH - 1) :]
    return (
        glyph("●", "*") if chosen else "!" if model.problem else " ",
        one_line(name, _NAME_WIDTH),
        count_text(model.parameters) if model.parameters else "?",
        fits or "?",
        str(model.context or "?"),
        chat_word(model),
        one_line(model.licence or "?", 12),
        bytes_text(model.size_bytes) if model.size_bytes else "?",
        one_line(model.architecture or "?", 30),
    )


class ModelTable(PageKeysPass, DataTable[Text]):
    """The list of models found here; Enter or a click takes one."""

    BINDINGS: ClassVar[list[BindingType]] = []
    DEFAULT_CSS = """
    ModelTable { height: auto; max-height: 9; background: transparent; }
    """

    @dataclass
    class Looked(Message):
        """The cursor stands on another model."""

        model: ModelFacts

    @dataclass
    class Taken(Message):
        """A model was chosen."""

        model: ModelFacts

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(cursor_type="row", zebra_stripes=False, id=id)
        self._models: tuple[ModelFacts, ...] = ()
        self._rows: list[tuple[str, ...]] = []
        self._columns = 0
        self._wanted = ""

    def on_resize(self) -> None:
        """As many columns as there is room for; the details below the table say everything."""
        columns = next(count for least, count in _COLUMNS_FOR if self.size.width >= least)
        if columns == self._columns:
            return
        self._columns = columns
        self.clear(columns=True)
        for index, label in enumerate(_COLUMNS[:columns]):
            self.add_column(Text(label), key=str(index))
        self._add_rows()

    def makes_wait(self, key: str) -> bool:
        """The keys that move in the list, or take from it, wait until it has been read."""
        return not self._models and key in self._bindings.key_to_bindings

    @property
    def looked_at(self) -> ModelFacts | None:
        """The model under the cursor."""
        return self._models[self.cursor_row] if 0 <= self.cursor_row < len(self._models) else None

    def show(self, models: Sequence[ModelFacts], fits: Mapping[str, str], chosen: str) -> None:
        """Show these models and, by their source, what of them fits; the one whose source is `chosen` is marked."""
        rows = [cells_of(model, fits.get(model.source, ""), chosen=model.source == chosen) for model in models]
        same_models = tuple(models) == self._models
        if same_models and rows == self._rows:
            return
        if same_models and self._columns:
            for number, row in enumerate(rows):
                for column in range(min(self._columns, _CHANGING)):
                    self.update_cell(str(number), str(column), Text(row[column]))
        else:
            self._fill(models, rows, chosen)
        self._rows = rows

    def _fill(self, models: Sequence[ModelFacts], rows: list[tuple[str, ...]], chosen: str) -> None:
        # Nobody looked at a row of a table that was never laid out.
        here = self.looked_at if self._columns else None
        was_there = chosen in {model.source for model in self._models}
        self._wanted = here.source if here is not None and was_there else chosen
        self._models, self._rows = tuple(models), rows
        self.clear()
        self._add_rows()

    def _add_rows(self) -> None:
        if not self._columns:
            return
        for number, row in enumerate(self._rows):
            self.add_row(*(Text(cell) for cell in row[: self._columns]), key=str(number))
        sources = [model.source for model in self._models]
        self.move_cursor(row=sources.index(self._wanted) if self._wanted in sources else 0, animate=False)

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Report which model one looks at."""
        event.stop()
        if self.looked_at is not None:
            self.post_message(self.Looked(self.looked_at))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Report which model was taken."""
        event.stop()
        if self.looked_at is not None:
            self.post_message(self.Taken(self.looked_at))
