"""Rows of a data file: a list of some, and one of them as data, as the model will see it, and token by token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, HorizontalGroup, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from finetune_core.data.files.open import Row
from finetune_core.data.scan.permutation import SampledOrder
from finetune_core.data.tokens.client import Preview
from finetune_core.errors import Problem
from finetune_core.text import clean, one_line
from finetune_tui.actions import bindings
from finetune_tui.run_words import glyph
from finetune_tui.widgets.cells import safe
from finetune_tui.widgets.choice_row import ChoiceRow
from finetune_tui.widgets.line_input import LineInput
from finetune_tui.widgets.paging import PageKeysPass
from finetune_tui.widgets.words import Line, Words

PAGE: Final = 50
TEXT_SHOWN: Final = 4000
TOKENS_SHOWN: Final = 400
VIEWS: Final = ("data", "model", "tokens")
_LINE_SHOWN: Final = 160
_KEYS: Final = "[ ] next  j to  r any  / search  v view"
_TRAINED: Final = "bold $text-success"


def marks() -> tuple[str, str]:
    """What stands before and after text that is trained on; shown by signs, not by colour alone."""
    return glyph("▌", "[["), glyph("▐", "]]")


def row_text(row: Row) -> str:
    """A row as indented JSON, cut; or what is wrong with it."""
    if row.value is None:
        return _problem_text(row.problem) if row.problem is not None else "(empty)"
    return safe(json.dumps(row.value, ensure_ascii=False, indent=2), TEXT_SHOWN)


def _problem_text(found: Problem) -> str:
    return f"{found.what}\n{found.why}\n{found.remedy}"


def row_line(row: Row) -> str:
    """A row on one line of the list."""
    if row.value is None:
        return f"{row.number} ! {row.problem.what if row.problem else 'empty'}"
    texts = _texts(row.value) or [json.dumps(row.value, ensure_ascii=False)[: 2 * _LINE_SHOWN]]
    return one_line(f"{row.number} {' | '.join(texts)}", _LINE_SHOWN)


def _texts(value: object) -> list[str]:
    """The longer texts of a row, which distinguish rows better than their braces and keys."""
    if isinstance(value, str):
        return [value[:_LINE_SHOWN]] if " " in value or len(value) > 12 else []
    if isinstance(value, dict):
        return [text for item in list(value.values())[:8] for text in _texts(item)]
    return [text for item in value[:4] for text in _texts(item)] if isinstance(value, list) else []


def preview_content(preview: Preview) -> Content:
    """The row as the model sees it: what is trained on stands underlined between marks; what is cut is struck out."""
    begin, end = marks()
    parts: list[str | tuple[str, str]] = []
    shown = 0
    for span in preview.spans:
        text = clean(span.text[: TEXT_SHOWN - shown])
        shown += len(span.text)
        looks = "" if span.kept else "strike dim"
        if span.trained:
            parts += [(begin, _TRAINED), (text, f"underline {looks or '$text-success'}"), (end, _TRAINED)]
        else:
            parts.append((text, looks))
        if shown >= TEXT_SHOWN:
            parts.append(f" {glyph('…', '...')} (more is not shown)")
            break
    return Content.assemble(*parts)


def tokens_content(preview: Preview) -> Content:
    """The row token by token: number, and text between marks where it is trained on; what is cut is struck out."""
    begin, end = marks()
    parts: list[str | tuple[str, str]] = []
    for piece in preview.pieces[:TOKENS_SHOWN]:
        ids = " ".join(map(str, piece.ids))
        text = clean(json.dumps(piece.text, ensure_ascii=False))
        looks = "" if piece.kept else "strike dim"
        parts.append((f"{ids:>8}  ", "dim"))
        parts += [(begin, _TRAINED), (text, looks), (end, _TRAINED)] if piece.trained else [(f" {text}", looks)]
        parts.append("\n")
    if preview.tokens > TOKENS_SHOWN:
        parts.append(f"{glyph('…', '...')} (more is not shown)")
    return Content.assemble(*parts)


class RowList(PageKeysPass, OptionList):
    """The rows of the page, a line each."""


class RowPane(VerticalScroll):
    """The row in one way; it scrolls by itself."""

    def __init__(self, view: str, content: Content | str) -> None:
        super().__init__(id=f"as-{view}", classes="row-pane")
        self.words = Words(content, id=f"row-{view}")

    def compose(self) -> ComposeResult:
        """The words alone."""
        yield self.words


class RowView(Vertical):
    """A page of rows to walk through, beside (or above) the row one stands on."""

    DEFAULT_CSS = """
    RowView { height: 22; margin: 1 0; }
    RowView #row-head { height: 1; }
    RowView #row-jump { width: 9; margin-left: 1; }
    RowView #row-search { width: 1fr; margin-left: 1; display: none; }
    RowView.-searching #row-search { display: block; }
    RowView.-searching #row-view { display: none; }
    RowView.-searching #row-jump { display: none; }
    RowView #row-view { width: auto; margin-left: 1; }
    RowView #row-body { height: 1fr; layout: vertical; }
    RowView #row-list { height: 5; border: none; padding: 0; background: $surface; }
    RowView #row-list { text-wrap: nowrap; text-overflow: ellipsis; }
    RowView .row-pane { height: 1fr; width: 1fr; padding: 0 1 0 0; scrollbar-size-vertical: 1; }
    RowView .row-pane { border-top: solid $border; }
    RowView .row-pane:focus { border-top: heavy $primary; }
    RowView #row-legend { color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = bindings("rows")

    @dataclass
    class Wanted(Message):
        """The user goes to this row (from 1)."""

        number: int

    @dataclass
    class Sought(Message):
        """The user looks for the next row behind this one (from 1) that holds a text."""

        text: str
        behind: int

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self._rows: tuple[Row, ...] = ()
        self._number = 1
        self._total: int | None = None
        self._tokens = ""
        self._news = ""
        self._sampled = -1
        # A pane is made when it is first looked at; what it is to show is kept for it until then.
        self._contents: dict[str, Content | str] = dict.fromkeys(VIEWS, "")
        self._panes: dict[str, RowPane] = {}

    def compose(self) -> ComposeResult:
        """Where one is and how to go on; the list; below or beside it the row."""
        with HorizontalGroup(id="row-head"):
            yield Line(id="row-where")
            yield ChoiceRow(tuple((view, view) for view in VIEWS), "model", id="row-view")
            yield LineInput(placeholder="j: row", compact=True, restrict=r"[0-9]*", max_length=12, id="row-jump")
            yield LineInput(placeholder="text to look for, then Enter", compact=True, max_length=500, id="row-search")
        with Container(id="row-body"):
            yield RowList(markup=False, compact=True, id="row-list")
            for name in VIEWS:
                if name in self._in_sight("model"):
                    self._panes[name] = RowPane(name, self._contents[name])
                    yield self._panes[name]
        yield Line(id="row-legend")

    def on_mount(self) -> None:
        """One view at a time where there is no room for two."""
        for field in self.query(Input):
            field.cursor_blink = False
        self._say_where()
        self._place()

    def on_resize(self, event: events.Resize) -> None:
        """Two views side by side on a wide terminal."""
        del event
        self._place()

    def _in_sight(self, view: str) -> set[str]:
        """The panes that are seen: on a wide terminal the data too, and beside them the row as the model sees it."""
        if not self.screen.has_class("-wide"):
            return {view}
        return {"data", "model" if view == "data" else view}

    def _place(self) -> None:
        seen = self._in_sight(self.query_one("#row-view", ChoiceRow).value)
        for name in VIEWS:
            if name in self._panes:
                self._panes[name].display = name in seen
            elif name in seen:
                self._make_pane(name)

    def _make_pane(self, name: str) -> None:
        """Put a pane in its place behind those before it."""
        before = [self._panes[one] for one in VIEWS[: VIEWS.index(name)] if one in self._panes]
        pane = self._panes[name] = RowPane(name, self._contents[name])
        self.query_one("#row-body").mount(pane, after=before[-1] if before else self.query_one("#row-list"))

    def _tell(self, name: str, content: Content | str) -> None:
        """Have the pane show this, if it is there."""
        self._contents[name] = content
        if name in self._panes:
            self._panes[name].words.say(content)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of the page."""
        return self._rows

    @property
    def number(self) -> int:
        """The row one stands on."""
        return self._number

    @property
    def row(self) -> Row | None:
        """The row one stands on, if it is on the page."""
        return next((row for row in self._rows if row.number == self._number), None)

    def show_page(self, rows: Sequence[Row], number: int) -> None:
        """List these rows and stand on one of them."""
        listing = self.query_one("#row-list", OptionList)
        if tuple(rows) != self._rows:
            self._rows = tuple(rows)
            with self.prevent(OptionList.OptionHighlighted):
                listing.clear_options()
                listing.add_options(Option(Content(row_line(row)), id=str(row.number)) for row in rows)
        self.show_row(number)

    def show_row(self, number: int) -> None:
        """Stand on another row of the page."""
        self._number, self._news = number, ""
        listing = self.query_one("#row-list", OptionList)
        numbers = [row.number for row in self._rows]
        if number in numbers and listing.highlighted != numbers.index(number):
            with self.prevent(OptionList.OptionHighlighted):
                listing.highlighted = numbers.index(number)
        self._tell("data", row_text(self.row) if self.row is not None else "")
        self._say_where()

    def show_total(self, total: int | None) -> None:
        """How many rows there are."""
        if total != self._total:
            self._total, self._sampled = total, -1
        self._say_where()

    def show_news(self, text: str) -> None:
        """What is under way, or came to nothing, until one stands on another row."""
        self._news = text
        self._say_where()

    def _say_where(self) -> None:
        total = f" of {self._total}" if self._total is not None else ""
        self.query_one("#row-where", Line).say(f"row {self._number}{total}" if self._rows else "no rows yet")
        if self._news:
            self.query_one("#row-legend", Line).say(self._news)
            return
        begin, end = marks()
        tokens = f"{self._tokens}: " if self._tokens else ""
        self.query_one("#row-legend", Line).say(f"{tokens}{begin}trained on{end}.  {_KEYS}")

    def show_model(self, content: Content | str, tokens: str = "", listed: Content | str = "") -> None:
        """The row as the model sees it, its number of tokens in words, and each of them; or why it cannot be shown."""
        self._tell("model", content)
        self._tell("tokens", listed or content)
        self._tokens = tokens
        self._say_where()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """The cursor went to another row."""
        event.stop()
        if event.option_id is not None and int(event.option_id) != self._number:
            self.post_message(self.Wanted(int(event.option_id)))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter in the list changes the view."""
        event.stop()
        self.action_view()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go to the row with the typed number, or to the next one with the typed text."""
        event.stop()
        if event.input.id == "row-search":
            self._leave_search()
            if event.value:
                self.post_message(self.Sought(event.value, self._number))
            return
        if event.value:
            self.post_message(self.Wanted(max(int(event.value), 1)))
            event.input.value = ""
        self.query_one(OptionList).focus()

    def _leave_search(self) -> None:
        self.query_one(OptionList).focus()
        self.remove_class("-searching")

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        """A search field that is left gives its place back; what was typed stays for the next time."""
        if event.widget.id == "row-search":
            self.remove_class("-searching")

    def on_input_changed(self, event: Input.Changed) -> None:
        """What is typed here is nothing to keep."""
        event.stop()

    def on_choice_row_chosen(self, event: ChoiceRow.Chosen) -> None:
        """The other view."""
        event.stop()
        self._place()

    def action_by(self, by: int) -> None:
        """One row on, or back."""
        wanted = self._number + by
        if wanted >= 1 and (self._total is None or wanted <= self._total):
            self.post_message(self.Wanted(wanted))

    def action_view(self) -> None:
        """The next view: as data, as the model sees it, token by token."""
        view = self.query_one("#row-view", ChoiceRow)
        view.show(VIEWS[(VIEWS.index(view.value) + 1) % len(VIEWS)])
        self._place()

    def action_sample(self, by: int) -> None:
        """The next row, or the one before, in a seeded order through all of them."""
        if self._total:
            self._sampled += by
            self.post_message(self.Wanted(SampledOrder(self._total).row(self._sampled)))
        else:
            self.show_news("The rows are still being counted.")

    def action_search(self) -> None:
        """Type a text to look for."""
        self.add_class("-searching")
        field = self.query_one("#row-search", Input)
        field.focus()
        field.select_all()

    def action_jump(self) -> None:
        """Type a row number."""
        self.query_one("#row-jump").focus()
