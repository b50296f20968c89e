"""A dialog for what is held out and what is mixed in, with the rows each choice comes to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import HorizontalGroup, Vertical, VerticalGroup, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Button, Input
from textual.worker import Worker

from finetune_core.errors import FtError, Problem
from finetune_core.paths import expanded
from finetune_core.plan.rows import count_rows
from finetune_core.plan.situation import DataFacts
from finetune_core.recipe.check import check, with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.text import one_line, plural
from finetune_tui.dialogs.dialog import Dialog
from finetune_tui.dialogs.file_browser import FileBrowser
from finetune_tui.widgets.field_form import problem_words
from finetune_tui.widgets.line_input import LineInput
from finetune_tui.widgets.path_input import PathInput
from finetune_tui.widgets.share_bars import Share, ShareBars
from finetune_tui.widgets.words import Line, Words
from finetune_tui.wizard.draft import number_text, text_of
from finetune_tui.wizard.row_facts import SUFFIXES
from finetune_tui.wizard.step import report_failure

PROPOSED_SHARE: Final = 15.0
_TYPING_PAUSE: Final = 0.2
_FIELDS: Final = ("data.held_out", "data.held_out_share", "data.mix")


class MixedFile(HorizontalGroup):
    """One file that is mixed in: its path, its share of all training rows in percent, and a way to take it out."""

    DEFAULT_CSS = """
    MixedFile .mixed-path { width: 1fr; }
    MixedFile Input { width: 8; }
    MixedFile .mixed-sign { width: 3; }
    """

    def __init__(self, path: str, percent: str) -> None:
        super().__init__()
        self.path = path
        self._percent = percent

    def compose(self) -> ComposeResult:
        """A line."""
        yield Line(one_line(self.path, 200), classes="mixed-path")
        yield LineInput(self._percent, compact=True, select_on_focus=False, max_length=8)
        yield Line(" %", classes="mixed-sign")
        yield Button("Out", compact=True, classes="mixed-out")

    @property
    def percent(self) -> str:
        """The share as it is typed."""
        return self.query_one(Input).value


class MixRows(Dialog[dict[str, str] | None]):
    """Gives what is to be typed for `data.held_out`, `data.held_out_share` and `data.mix`; None when one leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", show=False),
        Binding("f2", "take", "Take", show=False),
    ]
    DEFAULT_CSS = """
    MixRows .dialog { width: 90; height: auto; max-height: 100%; }
    MixRows .mix-label { width: 20; }
    MixRows #mix-share { width: 8; }
    MixRows PathInput { width: 1fr; }
    MixRows .mix-title { text-style: bold; margin-top: 1; }
    MixRows #mix-files { height: auto; }
    MixRows #mix-result { margin-top: 1; }
    """

    @dataclass
    class Counted(Message):
        """What a choice comes to."""

        values: dict[str, object]
        facts: DataFacts | None
        problems: tuple[Problem, ...]

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(classes="dialog-screen")
        self._recipe = recipe
        self._pause: Timer | None = None
        self._asked: dict[str, object] | None = None
        # What was counted last, and whether it is taken as soon as that is what the fields say.
        self._counted: dict[str, object] | None = None
        self._taking = False

    def makes_wait(self, key: str) -> bool:
        """What is typed behind F2 is for what comes after the dialog."""
        return self._taking and key != "escape"

    def compose(self) -> ComposeResult:
        """What is held out, what is mixed in, and the rows that come of it."""
        data = self._recipe.data
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Hold out and mix in"
            with VerticalScroll(classes="dialog-body", can_focus=False):
                with HorizontalGroup():
                    yield Line("hold out", classes="mix-label")
                    share = number_text(100 * data.held_out_share)
                    yield LineInput(share, compact=True, select_on_focus=False, max_length=8, id="mix-share")
                    yield Line(" % of the rows, to measure by")
                with HorizontalGroup():
                    yield Line("or the rows of", classes="mix-label")
                    hint = "a file of their own"
                    yield PathInput(data.held_out or "", placeholder=hint, suffixes=SUFFIXES, id="mix-held-out")
                yield Line("Mixed in, by share of all training rows:", classes="mix-title")
                with VerticalGroup(id="mix-files"):
                    for path, part in data.mix.items():
                        yield MixedFile(path, number_text(100 * part))
                yield Button("Add a file", id="mix-add", compact=True)
                yield Words(id="mix-result")
                yield ShareBars(id="mix-bars")
            with HorizontalGroup(classes="dialog-buttons"):
                yield Button("Take (F2)", id="take", compact=True, variant="primary")
                yield Button("Leave (Esc)", id="leave", compact=True)

    def on_mount(self) -> None:
        """Count what holds now."""
        for field in self.query(Input):
            field.cursor_blink = False
        self._count_now()

    def on_resize(self, event: events.Resize) -> None:
        """The fields scroll, so that the buttons stay in sight."""
        self.query_one(".dialog-body").styles.max_height = max(4, event.size.height - 4)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A thread ended."""
        report_failure(self, event)

    # What was typed

    def _values(self) -> dict[str, object]:
        """The fields as they are typed. FtError with every text that is no share."""
        problems: list[Problem] = []
        held_out = self.query_one("#mix-held-out", PathInput).value.strip()
        share = _share(self.query_one("#mix-share", Input).value, "data.held_out_share", problems)
        mix = {one.path: _share(one.percent, "data.mix", problems) for one in self.query(MixedFile)}
        if problems:
            raise FtError(problems)
        return {"data.held_out": held_out or None, "data.held_out_share": share, "data.mix": mix}

    def _count_soon(self) -> None:
        if self._pause is not None:
            self._pause.stop()
        self._pause = self.set_timer(_TYPING_PAUSE, self._count_now)

    def _count_now(self) -> None:
        try:
            values = self._values()
            recipe = with_values(self._recipe, values)
        except FtError as error:
            self._asked = None
            self._show(None, error.problems)
            return
        found = tuple(one for one in check(recipe) if one.where in _FIELDS)
        if found:
            self._asked = None
            self._show(None, found)
        elif values != self._asked:
            self._asked = values
            self.query_one("#mix-result", Words).say("Counting rows …")
            self._count(values, recipe)

    @work(thread=True, exclusive=True, group="count", exit_on_error=False)
    def _count(self, values: dict[str, object], recipe: Recipe) -> None:
        try:
            facts, _, _ = count_rows(recipe)
        except FtError as error:
            self.post_message(self.Counted(values, None, error.problems))
        else:
            self.post_message(self.Counted(values, facts, ()))

    def on_mix_rows_counted(self, message: Counted) -> None:
        """Show what it comes to, unless something else was typed meanwhile."""
        if message.values != self._asked:
            return
        self._counted = message.values
        self._show(message.facts, message.problems)
        if self._taking:
            self.action_take()

    def _show(self, facts: DataFacts | None, problems: tuple[Problem, ...]) -> None:
        self.query_one("#take", Button).disabled = facts is None
        bars = self.query_one(ShareBars)
        if facts is None:
            self.query_one("#mix-result", Words).say(problem_words(problems))
            bars.show_shares(())
            return
        words = f"{facts.rows:,} {plural(facts.rows, 'row')} to learn from, {facts.held_out_rows:,} held out."
        self.query_one("#mix-result", Words).say(Content(words).stylize("bold"))
        bars.show_shares(source_shares(self._recipe.data.source, [one.path for one in self.query(MixedFile)], facts))

    # Acting

    def on_input_changed(self, event: Input.Changed) -> None:
        """Count when the typing pauses."""
        event.stop()
        self._count_soon()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes on."""
        event.stop()
        self.focus_next()

    async def on_button_pressed(self, event: Button.Pressed) -> None:
        """Add or take out a file; take it all, or leave."""
        event.stop()
        if event.button.id == "take":
            self.action_take()
        elif event.button.id == "leave":
            self.dismiss(None)
        elif event.button.id == "mix-add":
            self._browse()
        elif isinstance(event.button.parent, MixedFile):
            await event.button.parent.remove()
            self.query_one("#mix-add").focus()
            self._count_now()

    def _browse(self) -> None:
        start = expanded(self._recipe.data.source).absolute().parent
        folder = start if start.is_dir() else Path.cwd()
        self.app.push_screen(FileBrowser("Choose rows to mix in", folder, SUFFIXES, folders=True), self._add)

    async def _add(self, path: str | None) -> None:
        if path is None or any(one.path == path for one in self.query(MixedFile)):
            return
        file = MixedFile(path, number_text(PROPOSED_SHARE))
        await self.query_one("#mix-files").mount(file)
        file.query_one(Input).focus()
        self._count_now()

    def action_take(self) -> None:
        """Give the fields as they stand, once they are counted and rows come of them."""
        if self._pause is not None:
            self._pause.stop()
        self._count_now()
        self._taking = self._asked is not None and self._asked != self._counted
        if self._taking:
            return
        if self._asked is None or self.query_one("#take", Button).disabled:
            self.refuse("No rows come of this: the dialog says what is wrong.")
            return
        before = {path: self._recipe.get(path) for path in _FIELDS}
        changed = {path: value for path, value in self._asked.items() if value != before[path]}
        self.dismiss({path: text_of(value) if value not in (None, {}) else "" for path, value in changed.items()})

    def action_leave(self) -> None:
        """Change nothing."""
        self.dismiss(None)


def source_shares(source: str, mixed: list[str], facts: DataFacts) -> tuple[Share, ...]:
    """How many training rows come from which file."""
    names = [path.rstrip("/").rpartition("/")[2] or path for path in (source, *mixed)]
    rows = [facts.rows - facts.mixed_in, *facts.mixed]
    return tuple(Share(name, count) for name, count in zip(names, rows, strict=False))


def _share(text: str, field: str, problems: list[Problem]) -> float:
    """A percentage as a share from 0 to 1; whether it is in range is the recipe's to say."""
    try:
        return round(float(text.strip().removesuffix("%")) / 100, 9)
    except ValueError:
        problems.append(
            Problem(f"`{one_line(text, 20)}` is no percentage", field, "it has to be a number", "type one such as 15")
        )
        return 0.0
