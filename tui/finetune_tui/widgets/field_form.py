"""A form for recipe fields, made from their guides: a field added to the schema appears by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from textual import events
from textual.app import ComposeResult
from textual.containers import HorizontalGroup, Vertical
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.widgets import Input

from finetune_core.errors import Problem
from finetune_core.recipe.fields import AUTO, FieldGuide
from finetune_core.text import clean
from finetune_tui.widgets.choice_row import ChoiceRow
from finetune_tui.widgets.line_input import LineInput
from finetune_tui.widgets.words import Line, Words

# What these hold, the field's name alone says.
_PLAIN_SECTIONS = ("training", "data")
_LABEL_WIDTH: Final = 18
_NARROW_INDENT: Final = 2
_VALUE_GAP: Final = 2


def label_of(path: str, *, mixed: bool) -> str:
    """`training.learning_rate` as the form calls it: `learning rate`; among other sections `adapter rank`."""
    section, _, name = path.partition(".")
    label = name.replace("_", " ")
    return f"{section} {label}" if mixed and section not in _PLAIN_SECTIONS else label


def id_of(path: str) -> str:
    """The widget id of a field's control."""
    return "field-" + path.replace(".", "-")


def problem_words(problems: Sequence[Problem]) -> Content:
    """Problems as they stand below a field: what, why, and what to do."""
    lines = [f"! {one.what}: {one.why}\n  {one.remedy}" for one in problems]
    return Content(clean("\n".join(lines))).stylize("$text-error")


def set_text(control: Input, text: str) -> None:
    """Put a text into a field from outside; never into one that is typed in, whose letters are ahead of the draft."""
    if control.value != text and not control.has_focus:
        with control.prevent(Input.Changed):
            control.value = text


@dataclass(frozen=True)
class FieldView:
    """What a form shows beside one field: the value that holds now, why, and what is wrong with it.

    A field that is `hidden` is not shown: the run has no use for it.
    """

    value: str
    reason: str
    problems: tuple[Problem, ...] = ()
    hidden: bool = False


@dataclass
class Typed(Message):
    """Something was typed or chosen for a field; empty text means the automatic or default value."""

    path: str
    text: str


class FieldInput(LineInput):
    """A one-row text field that neither blinks nor is left by Enter without going on to the next one."""

    def __init__(self, value: str, placeholder: str, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(value, placeholder=placeholder, compact=True, select_on_focus=False, id=id)
        self.cursor_blink = False

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes on to the next field."""
        event.stop()
        self.screen.focus_next()


class FieldRow(HorizontalGroup):
    """Label, control and value of one field; below them its reason, its help and its problems.

    The row draws its words itself, around the control: a form has many of them, and each widget costs to be styled.
    """

    DEFAULT_CSS = """
    FieldRow { margin-bottom: 1; }
    FieldRow ChoiceRow { margin-left: 18; }
    FieldRow Input { width: 24; margin: 0 2 0 18; }
    FieldRow Input.-long { width: 2fr; }
    """

    def __init__(self, guide: FieldGuide, text: str, *, mixed: bool = False) -> None:
        super().__init__(id=f"row-{guide.path.replace('.', '-')}")
        self.guide = guide
        self._label = Content(label_of(guide.path, mixed=mixed)).truncate(_LABEL_WIDTH, ellipsis=True)
        self._choices = choices_of(guide)
        self._control = self._make_control(text)
        self._long_value = Line() if self._control.has_class("-long") else None
        self._value = Content()
        self._words: tuple[Content, ...] = ()

    def compose(self) -> ComposeResult:
        """A text field, or a row of choices; a long field shares the row with its value."""
        yield self._control
        if self._long_value is not None:
            yield self._long_value

    @property
    def plain(self) -> str:
        """What stands below the control, without colours."""
        return "\n".join(words.plain for words in self._words)

    def _lines(self, width: int) -> list[Content]:
        """What stands below the control, indented, in lines of at most this width."""
        indent = _NARROW_INDENT if self.screen.has_class("-narrow") else _LABEL_WIDTH
        shown = [words for words in self._words if words.plain]
        return [line.pad_left(indent) for words in shown for line in words.wrap(max(width - indent, 1))]

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """The rows of the control, and of the words below it."""
        return super().get_content_height(container, viewport, width) + len(self._lines(width))

    def render(self) -> Content:
        """The words around the control, which is drawn over them."""
        width, height = self.content_size
        below = self._lines(width)
        blank = [Content()] * (height - len(below) - 1)
        return Content("\n").join([self._head(width), *blank, *below])

    def _head(self, width: int) -> Content:
        """The label, and the value behind the field."""
        begin = _LABEL_WIDTH + self._control.outer_size.width + _VALUE_GAP
        if not self._value.plain or begin >= width:
            return self._label
        value = self._value.truncate(width - begin, ellipsis=True)
        return Content.assemble(self._label, " " * (begin - self._label.cell_length), value)

    def _make_control(self, text: str) -> ChoiceRow | FieldInput:
        if self._choices:
            return ChoiceRow(self._choices, self._choice(text), id=id_of(self.guide.path))
        control = FieldInput(text, self._placeholder(), id_of(self.guide.path))
        control.set_class(self._is_long, "-long")
        return control

    @property
    def _is_long(self) -> bool:
        return self.guide.kind in ("text", "value")

    def _placeholder(self) -> str:
        if self.guide.takes_auto:
            return AUTO
        return str(self.guide.default) if self.guide.default not in (None, "", []) else "none"

    def _choice(self, text: str) -> str:
        stripped = text.strip()
        if stripped:
            return stripped
        if self.guide.takes_auto:
            return AUTO
        default = self.guide.default
        return str(default).lower() if isinstance(default, bool) else str(default)

    def show(self, text: str, view: FieldView) -> None:
        """Show what was typed, the value that holds, its reason and its problems."""
        if isinstance(self._control, ChoiceRow):
            self._control.show(self._choice(text))
        else:
            set_text(self._control, text)
        value = "" if view.problems or self._choices else view.value
        if self._long_value is not None:
            self._long_value.say(value)
        elif value != self._value.plain:
            self._value = Content(clean(value))
            self.refresh()
        words = (self._help_words(view), problem_words(view.problems))
        if not all(new.is_same(old) for new, old in zip_longest(words, self._words, fillvalue=Content())):
            width = self.content_size.width
            height = len(self._lines(width)) if width else None
            self._words = words
            self.refresh(layout=height is None or len(self._lines(width)) != height)

    def _help_words(self, view: FieldView) -> Content:
        bounds = " ".join(part for part in (self.guide.range, self.guide.unit) if part)
        help_text = self.guide.help + (f" ({bounds})" if bounds else "")
        value = "" if not self._choices or view.value == "default" else view.value.capitalize()
        head = ". ".join(part for part in (value, view.reason) if part)
        return Content.assemble((f"{clean(head)}. " if head else "", "$foreground"), (help_text, "$text-muted"))

    def on_input_changed(self, event: Input.Changed) -> None:
        """A letter was typed."""
        event.stop()
        self.post_message(Typed(self.guide.path, event.value))

    def on_choice_row_chosen(self, event: ChoiceRow.Chosen) -> None:
        """Another choice was taken; the default one counts as nothing typed."""
        event.stop()
        text = "" if event.value == self._choice("") else event.value
        self.post_message(Typed(self.guide.path, text))

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """The whole field comes into view, with its help and its problems."""
        if event.widget.id == id_of(self.guide.path):
            self.scroll_visible(animate=False)


def choices_of(guide: FieldGuide) -> tuple[tuple[str, str], ...]:
    """The choices of a field as (value, word shown); empty for a field that is typed."""
    if guide.kind == "switch":
        words = (("true", "on"), ("false", "off"))
        return ((AUTO, AUTO), *words) if guide.takes_auto else words
    return tuple((choice, choice) for choice in guide.choices)


class FieldForm(Vertical):
    """Some fields under an optional title."""

    DEFAULT_CSS = """
    FieldForm { height: auto; }
    FieldForm .form-title { text-style: bold; margin-bottom: 0; }
    """

    def __init__(self, guides: Iterable[FieldGuide], texts: dict[str, str], title: str = "") -> None:
        super().__init__()
        self.guides = tuple(guides)
        self._title = title
        mixed = len({guide.path.partition(".")[0] for guide in self.guides}) > 1
        self._rows = [FieldRow(guide, texts.get(guide.path, ""), mixed=mixed) for guide in self.guides]

    def compose(self) -> ComposeResult:
        """The title and a row a field."""
        if self._title:
            yield Words(self._title, classes="form-title")
        yield from self._rows

    def show(self, texts: dict[str, str], viewer: Callable[[FieldGuide], FieldView]) -> None:
        """Bring every row up to date."""
        for row in self._rows:
            view = viewer(row.guide)
            row.display = not view.hidden
            if not view.hidden:
                row.show(texts.get(row.guide.path, ""), view)
