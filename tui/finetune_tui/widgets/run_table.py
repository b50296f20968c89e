"""The table of runs: columns that fit the width, cells drawn again only when they say something new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from finetune_core.text import one_line

if TYPE_CHECKING:
    from finetune_tui.run_rows import RunRow

_NAME: Final = "name"
_MODEL_FROM: Final = 100
_AGE_FROM: Final = 70
_PADDING: Final = 2
_WIDTHS: Final = {"state": 12, "share": 4, "progress": 14, "loss": 8, "age": 7, "model": 24}
_HEADS: Final = {
    "state": "State",
    "share": "Done",
    "progress": "Done",
    "loss": "Loss",
    "age": "Age",
    "model": "Model",
    _NAME: "Run",
}


class RunTable(DataTable[Text], inherit_bindings=False):
    """Rows by the run's name. Enter is left to the screen, which shows it in the footer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor_up", show=False),
        Binding("down,j", "cursor_down", show=False),
        Binding("pageup", "page_up", show=False),
        Binding("pagedown", "page_down", show=False),
        Binding("home,g", "scroll_top", show=False),
        Binding("end,G", "scroll_bottom", show=False),
    ]

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - as Textual names it
        super().__init__(cursor_type="row", zebra_stripes=False, id=id)
        self._runs: Sequence[RunRow] = ()
        self._now = 0.0
        self._drawn: dict[str, tuple[str, ...]] = {}
        self._names: tuple[str, ...] = ()
        self._wanted = ""  # the run to go to
        self._titles: Counter[str] = Counter()

    @property
    def moving_keys(self) -> Collection[str]:
        """The keys that move the cursor."""
        return self._bindings.key_to_bindings

    @property
    def chosen(self) -> str | None:
        """Name of the run under the cursor."""
        names = list(self._drawn)
        return names[self.cursor_row] if 0 <= self.cursor_row < len(names) else None

    def choose(self, name: str) -> None:
        """Put the cursor on this run, now or when it is shown next."""
        self._wanted = name
        if name in self._drawn:
            self._stand_on_wanted()

    def _stand_on_wanted(self) -> None:
        names = list(self._drawn)
        if self._wanted in names:
            self.move_cursor(row=names.index(self._wanted))
            self._wanted = ""

    def on_resize(self, event: events.Resize) -> None:
        """Other widths, other columns."""
        self._set_columns(event.size.width)
        self.show(self._runs, self._now)

    def _set_columns(self, width: int) -> None:
        left_out = {"share"} if width >= _AGE_FROM else {"progress", "age"}
        names = [name for name in _WIDTHS if name not in left_out and (name != "model" or width >= _MODEL_FROM)]
        taken = sum(_WIDTHS[name] + _PADDING for name in names)
        self.clear(columns=True)
        self._drawn = {}
        self._names = (*names, _NAME)
        self._name_width = max(10, width - taken - _PADDING - self.styles.scrollbar_size_vertical)
        for name in self._names:
            self.add_column(Text(_HEADS[name]), width=_WIDTHS.get(name, self._name_width), key=name)

    def show(self, runs: Sequence[RunRow], now: float) -> None:
        """Show these runs. The cursor stays on its run, or on its line when the run is gone."""
        self._runs, self._now = runs, now
        if not self._names:
            return
        self._titles = Counter(row.summary.title for row in runs)
        wanted = {row.run.name: self._cells(row) for row in runs}
        if list(wanted) == list(self._drawn):
            self._update_cells(wanted)
        else:
            self._replace_rows(wanted)
        self._drawn = wanted
        self._stand_on_wanted()

    def _cells(self, row: RunRow) -> tuple[str, ...]:
        values = {
            "state": row.state,
            "share": row.progress[:4],
            "progress": row.progress,
            "loss": row.loss,
            "age": row.age(self._now),
            "model": one_line(row.model, _WIDTHS["model"]),
            _NAME: row.title(self._name_width, row.minute if self._titles[row.summary.title] > 1 else ""),
        }
        return tuple(values[name] for name in self._names)

    def _update_cells(self, wanted: dict[str, tuple[str, ...]]) -> None:
        for run, cells in wanted.items():
            for name, old, new in zip(self._names, self._drawn[run], cells, strict=True):
                if old != new:
                    self.update_cell(run, name, Text(new))

    def _replace_rows(self, wanted: dict[str, tuple[str, ...]]) -> None:
        line, chosen = self.cursor_row, self.chosen
        self.clear()
        for run, cells in wanted.items():
            self.add_row(*(Text(cell) for cell in cells), key=run)
        if wanted:
            names = list(wanted)
            self.move_cursor(row=names.index(chosen) if chosen in wanted else min(line, len(names) - 1))
