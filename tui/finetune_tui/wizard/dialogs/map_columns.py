"""A dialog to say by hand what the rows are, and which column plays which part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Final

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import HorizontalGroup, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Select

from finetune_core.data.files.open import Row
from finetune_core.data.rows import passages
from finetune_core.data.shapes.recognise import PARTS, Choice, recognise
from finetune_core.data.shapes.roles import guess_mapping
from finetune_core.data.usable import Conversion
from finetune_core.errors import FtError, Problem
from finetune_core.text import clean, one_line
from finetune_tui.dialogs.dialog import Dialog
from finetune_tui.widgets.field_form import problem_words
from finetune_tui.widgets.words import Line, Words

AUTO: Final = "auto"
_NONE: Final = ""
_TURNS_SHOWN: Final = 4
_COLUMNS_SHOWN: Final = 60


class MapColumns(Dialog[tuple[str, dict[str, str]] | None]):
    """Gives the shape and the mapping from part to column, or None when the user leaves.

    What the first row becomes is shown as one chooses.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", show=False),
        Binding("f2", "take", "Take", show=False),
    ]
    DEFAULT_CSS = """
    MapColumns .dialog { width: 90; height: auto; max-height: 100%; }
    MapColumns .part-name { width: 16; }
    MapColumns Select { width: 1fr; }
    MapColumns #map-parts { height: auto; }
    MapColumns #map-result { margin-top: 1; }
    """

    def __init__(self, rows: Sequence[Row], choice: Choice, inferred: Choice) -> None:
        """`choice` is what the recipe says now; `inferred` is what holds: the same, or what the rows show."""
        super().__init__(classes="dialog-screen")
        self._rows = [row for row in rows if row.value is not None]
        self._fixes = choice.fixes
        self._shape = choice.shape if choice.shape != AUTO else inferred.shape
        self._inferred = inferred
        self._was_auto = choice.shape == AUTO and not choice.mapping
        self._mapping = dict(choice.mapping or inferred.mapping)
        self._columns = [
            name
            for name, _ in Counter(name for row in self._rows for name in row.value or ()).most_common(_COLUMNS_SHOWN)
        ]

    def compose(self) -> ComposeResult:
        """The shape, its parts, and what comes of them."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "What the rows are"
            dialog.border_subtitle = "Enter opens a choice, Tab goes on"
            with VerticalScroll(classes="dialog-body", can_focus=False):
                with HorizontalGroup():
                    yield Line("the rows are", classes="part-name")
                    shapes = [(AUTO, AUTO), *((name, name) for name in PARTS)]
                    yield Select(shapes, value=self._shape, allow_blank=False, compact=True, id="map-shape")
                yield Vertical(id="map-parts")
                yield Words(id="map-result")
            with HorizontalGroup(classes="dialog-buttons"):
                yield Button("Take (F2)", id="take", compact=True, variant="primary")
                yield Button("Leave (Esc)", id="leave", compact=True)

    async def on_mount(self) -> None:
        """Show the parts as they stand."""
        await self._show_parts()
        self.query_one("#map-shape").focus()

    def on_resize(self, event: events.Resize) -> None:
        """The choices scroll, so that the buttons stay in sight."""
        self.query_one(".dialog-body").styles.max_height = max(4, event.size.height - 4)

    async def _show_parts(self) -> None:
        parts = self.query_one("#map-parts", Vertical)
        await parts.remove_children()
        names = [] if self._shape == AUTO else _parts_of(self._shape)
        columns = [(Content(one_line(name, 60)), name) for name in self._columns]
        for name in names:
            column = self._mapping.get(name, _NONE)
            value = column if column in self._columns else _NONE
            choices = [(Content("none"), _NONE), *columns]
            select = Select(choices, value=value, allow_blank=False, compact=True, id=f"part-{name}")
            await parts.mount(HorizontalGroup(Line(name, classes="part-name"), select))
        self._say()

    @on(Select.Changed, "#map-shape")
    async def _take_shape(self, event: Select.Changed) -> None:
        event.stop()
        if event.value == self._shape:
            return
        self._shape = str(event.value)
        self._mapping = self._probable()
        await self._show_parts()

    def _probable(self) -> dict[str, str]:
        """The columns as they were recognised; for another shape as their names and what they hold suggest."""
        if self._shape == AUTO:
            return {}
        if self._shape == self._inferred.shape:
            return dict(self._inferred.mapping)
        ways, optional = PARTS[self._shape]
        row = self._rows[0].value if self._rows else None
        guesses = [guess_mapping(way, optional, self._columns, row or {}) for way in ways]
        return max(zip(guesses, ways, strict=True), key=lambda one: set(one[1]) <= set(one[0]))[0]

    @on(Select.Changed)
    def _take_column(self, event: Select.Changed) -> None:
        event.stop()
        part = (event.select.id or "").removeprefix("part-")
        if event.select.id == "map-shape":
            return
        if event.value == _NONE:
            self._mapping.pop(part, None)
        else:
            self._mapping[part] = str(event.value)
        self._say()

    @property
    def _choice(self) -> Choice:
        return Choice(self._shape, {} if self._shape == AUTO else self._mapping, self._fixes)

    def _say(self) -> None:
        words, works = result_words(self._rows, self._choice)
        self.query_one("#map-result", Words).say(words)
        self.query_one("#take", Button).disabled = not works

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Take it, or leave."""
        event.stop()
        if event.button.id == "take":
            self.action_take()
        else:
            self.dismiss(None)

    def action_take(self) -> None:
        """Give what was chosen, when rows can be read so."""
        if self.query_one("#take", Button).disabled:
            self.refuse("No row can be read so: the dialog says what is missing.")
            return
        choice = self._choice
        # What was recognised, taken as it is, stays automatic.
        same = self._was_auto and (choice.shape, choice.mapping) == (self._inferred.shape, self._inferred.mapping)
        self.dismiss((AUTO, {}) if same else (choice.shape, dict(choice.mapping)))

    def action_leave(self) -> None:
        """Change nothing."""
        self.dismiss(None)


def _parts_of(shape: str) -> list[str]:
    """The parts a shape needs, in any of its ways, then those it may have."""
    needed, optional = PARTS[shape]
    return list(dict.fromkeys([*(part for way in needed for part in way), *optional]))


def result_words(rows: Sequence[Row], choice: Choice) -> tuple[Content, bool]:
    """What the first row becomes under a choice, or why nothing does; and whether the choice can be taken."""
    try:
        shape = recognise(rows, choice)
    except FtError as error:
        return problem_words(error.problems), choice.shape == AUTO
    row = Conversion(shape, choice.fixes).of(rows[0])
    if isinstance(row, Problem):
        return Content.assemble((f"{shape.name}. ", "bold"), "Row 1 cannot be used so: ", problem_words((row,))), True
    lines: list[str | tuple[str, str]] = [(f"{shape.name}: {clean(shape.evidence)}. Row {row.number} becomes:", "bold")]
    said = list(passages(row))
    for part in said[:_TURNS_SHOWN]:
        lines += [
            "\n",
            (f"  {part.role}{' (trained)' if part.trained else ''}: ", "$text-accent"),
            one_line(part.text, 300),
        ]
    if len(said) > _TURNS_SHOWN:
        lines.append(f"\n  and {len(said) - _TURNS_SHOWN} more")
    return Content.assemble(*lines), True
