"""The third step: what it learns from, row by row, as data and as the model will see it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

from textual import work
from textual.app import ComposeResult
from textual.containers import HorizontalGroup
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Button, Input
from textual.worker import get_current_worker

from finetune_core.data.checks.check import DataReport
from finetune_core.data.checks.findings.tally import Tally
from finetune_core.data.checks.process import check_apart
from finetune_core.data.shapes.recognise import AUTOMATIC, Choice
from finetune_core.errors import FtError, Problem
from finetune_core.paths import expanded
from finetune_core.plan.rows import count_rows
from finetune_core.recipe.fields import AUTO
from finetune_core.recipe.schema import DEMO, Recipe
from finetune_core.text import bytes_text, clean, counted, one_line
from finetune_tui.dialogs.file_browser import FileBrowser
from finetune_tui.widgets.field_form import FieldForm, Typed, problem_words, set_text
from finetune_tui.widgets.finding_list import FindingList
from finetune_tui.widgets.histogram import Histogram
from finetune_tui.widgets.path_input import PathInput
from finetune_tui.widgets.question_list import QuestionList
from finetune_tui.widgets.row_pictures import RowPictures
from finetune_tui.widgets.row_view import PAGE
from finetune_tui.widgets.words import Line, Words
from finetune_tui.wizard.data_news import Asked, Counted, Fetching, Measured, RowsChecked, RowsRead, TokensCounted
from finetune_tui.wizard.data_words import checked_words, gate_words, length_words
from finetune_tui.wizard.dialogs.map_columns import MapColumns
from finetune_tui.wizard.dialogs.mix_rows import MixRows, source_shares
from finetune_tui.wizard.draft import shown_text, text_of
from finetune_tui.wizard.per_file import SOURCE, file_key
from finetune_tui.wizard.row_facts import SUFFIXES, Opened, open_source
from finetune_tui.wizard.session import DATA, HARDWARE, CountKey, DataLook, Session, guides_of
from finetune_tui.wizard.step import FactsChanged, Step
from finetune_tui.wizard.steps.rows import RowPages
from finetune_tui.wizard.token_count import count_tokens
from finetune_tui.wizard.token_link import TokenLink

TYPING_PAUSE: Final = 0.3


class DataStep(Step):
    """A file, its rows, their lengths, and what is wrong with them."""

    NUMBER: ClassVar[int] = DATA
    DEFAULT_CSS = """
    DataStep .line { height: 1; }
    DataStep .line-label { width: 12; }
    DataStep #field-data-source { width: 1fr; margin-right: 2; }
    DataStep #data-problem, DataStep #data-switched, DataStep #data-summary { margin-left: 12; }
    DataStep #use-demo { margin-left: 2; }
    DataStep #lengths-words { margin-top: 1; }
    DataStep Histogram { margin-bottom: 1; }
    DataStep #findings { margin-bottom: 1; }
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._source = ""
        self._choice = AUTOMATIC
        self._opened: Opened | None = None
        self._pause: Timer | None = None
        self._counted_for: object = None
        self._checked_for: object = None
        self._measured_for: object = None
        self._tokens_for: object = None
        self._template_problems: tuple[Problem, ...] = ()
        self._progress = ""
        self._checked: DataReport | None = None
        self._looked_at = ""
        self._link = TokenLink()

    def parts(self) -> ComposeResult:
        """The file first, then what is in it."""
        with HorizontalGroup(classes="line"):
            yield Line("rows from", classes="line-label")
            yield PathInput(
                self.session.draft.texts.get("data.source", ""),
                placeholder="demo, or a file or folder of rows",
                suffixes=SUFFIXES,
                id="field-data-source",
            )
            yield Button("Browse", id="browse-data", compact=True)
            yield Button("Demo", id="use-demo", compact=True)
            yield Button("Columns", id="map-columns", compact=True)
            yield Button("Mix", id="mix-rows", compact=True)
        yield Words(id="data-problem")
        yield Words(id="data-switched", classes="dim")
        yield Words(id="data-summary")
        yield QuestionList(id="question")
        yield RowPages(self._link)
        yield Words(id="row-problems")
        yield FindingList(id="findings")
        yield Words(id="lengths-words")
        yield Words(id="gate-words")
        yield Histogram(id="lengths")
        yield RowPictures(id="pictures")
        yield FieldForm(guides_of(DATA, "first"), self.session.draft.texts)

    def on_mount(self) -> None:
        """Open the file that is named."""
        self.open_named()

    def catch_up(self) -> None:
        """Show the rows that were read meanwhile."""
        self.query_one(RowPages).open(self._opened)
        self._show_total()

    def on_unmount(self) -> None:
        """The tokenizer's process ends with the page."""
        self._end_tokenizer()

    def _end_tokenizer(self) -> None:
        # Not here: a process that is at work takes a moment to end.
        threading.Thread(target=self._link.close, name="end of the tokenizer").start()

    def first_focus(self) -> Widget:
        """The list of rows, or the field where there are none."""
        return self.query_one("#row-list") if self._opened is not None and self.built else self

    # What is read, in threads

    def draft_changed(self) -> None:
        """Something was typed anywhere: look again once the typing pauses."""
        if self._pause is not None:
            self._pause.stop()
        self._pause = self.set_timer(TYPING_PAUSE, self.open_named)

    def open_named(self) -> None:
        """Open the file the recipe names, if it or what is said of its rows is new; bring counts up to date."""
        recipe = self.session.recipe
        choice = Choice.of(recipe.data)
        if (recipe.data.source, choice) != (self._source, self._choice):
            self._source, self._choice = recipe.data.source, choice
            self._opened, self._checked, self._measured_for, self._tokens_for = None, None, None, None
            self.session.data = DataLook(self._source)
            self._open(self._source, choice)
        self._count_again(recipe)
        self._check_again()

    def disk_changed(self, *, model: bool) -> None:
        """Rows, or with `model` the model, are others under the same name: look at them as if for the first time."""
        self._source, self._counted_for = "", None
        if model:
            self._end_tokenizer()
        self.open_named()

    def _check_again(self) -> None:
        """Look at every row, and for rows of the held-out file that are trained on too."""
        held_out = self.session.recipe.data.held_out
        asked = (self._opened, held_out)
        if self._opened is not None and asked != self._checked_for:
            self._checked_for = asked
            self._check(self._opened, held_out)

    def _count_again(self, recipe: Recipe) -> None:
        data = recipe.data
        filters = (data.only, data.without, data.min_characters, data.max_characters)
        asked = (data.source, Choice.of(data), data.held_out, data.held_out_share, tuple(data.mix.items()), filters)
        if asked != self._counted_for:
            self._counted_for = asked
            self._count(recipe)

    @work(thread=True, exclusive=True, group="open", exit_on_error=False)
    def _open(self, source: str, choice: Choice) -> None:
        worker = get_current_worker()

        def progress(done: int, total: int) -> None:
            self.post_message(Fetching(source, f"{bytes_text(done)} of {bytes_text(total)}"))

        try:
            opened = open_source(source, choice, PAGE, progress, lambda: worker.is_cancelled)
        except FtError as error:
            self.post_message(RowsRead(source, None, error.problems))
        else:
            self.post_message(RowsRead(source, opened, opened.problems))

    @work(thread=True, exclusive=True, group="count", exit_on_error=False)
    def _count(self, recipe: Recipe) -> None:
        try:
            facts, _, _ = count_rows(recipe)
        except FtError:
            self.post_message(Counted(recipe.data.source, None))
        else:
            self.post_message(Counted(recipe.data.source, facts))

    @work(thread=True, exclusive=True, group="check", exit_on_error=False)
    def _check(self, opened: Opened, held_out: str | None) -> None:
        worker = get_current_worker()

        def progress(rows: int) -> None:
            self.post_message(RowsChecked(opened.source, None, f"Looking at every row … {rows:,}"))

        # Rows that cannot be read any more are reported by the look at them.
        with suppress(FtError):
            opened.far.find_all(progress, lambda: worker.is_cancelled)
        if opened.shape is not None:
            cancel = lambda: worker.is_cancelled  # noqa: E731
            report = check_apart(opened.source, opened.choice, progress, cancel, held_out=held_out)
            self.post_message(RowsChecked(opened.source, report))

    @work(thread=True, exclusive=True, group="lengths", exit_on_error=False)
    def _measure(self, key: object, source: str, asked: Asked) -> None:
        worker = get_current_worker()

        def progress(done: int, total: int) -> None:
            self.post_message(Measured(key, None, (), f"{done} of {total}"))

        try:
            cancel = lambda: worker.is_cancelled  # noqa: E731
            found = self._link.lengths(source, asked, progress, cancel)
            self.post_message(Measured(key, found, ()))
        except FtError as error:
            self.post_message(Measured(key, None, error.problems))

    @work(thread=True, exclusive=True, group="tokens", exit_on_error=False)
    def _count_tokens(self, key: CountKey, recipe: Recipe, asked: Asked) -> None:
        worker = get_current_worker()
        count_tokens(self._link, asked, recipe, key, self.post_message, lambda: worker.is_cancelled)

    # What came of it

    def on_rows_read(self, message: RowsRead) -> None:
        """Show the first rows at once."""
        if message.source != self._source:
            return
        self._opened = message.opened
        self.session.data = DataLook(self._source, message.opened.shape if message.opened else None)
        self.session.data.problems = message.problems
        if self.built:
            self.query_one(RowPages).open(message.opened)
        self._counted_for = None
        self._count_again(self.session.recipe)
        if message.opened is not None:
            self._check_again()
        self.post_message(FactsChanged())

    def on_fetching(self, message: Fetching) -> None:
        """Say how much of a data set is here."""
        if self.built and message.source == self._source and self._opened is None:
            self.query_one("#data-summary", Words).say(f"Fetching: {message.progress}")

    def on_counted(self, message: Counted) -> None:
        """The number of rows is known."""
        data = self.session.data
        if data is None or message.source != self._source:
            return
        data.facts = message.facts
        self._show_total()
        self.post_message(FactsChanged())

    def _show_total(self) -> None:
        if self.built:
            self.query_one(RowPages).view.show_total(self._total())

    def _total(self) -> int | None:
        data = self.session.data
        if data is None or data.facts is None:
            # Where no row can be used there are no facts; how many there are was seen all the same.
            return self._checked.rows if self._checked is not None else None
        facts, apart = data.facts, self.session.recipe.data.held_out is not None
        return facts.rows - facts.mixed_in + facts.unusable + (0 if apart else facts.held_out_rows)

    def on_rows_checked(self, message: RowsChecked) -> None:
        """What is wrong with which rows."""
        if message.source == self._source and message.report is not None:
            self._checked, self._looked_at = message.report, ""
            self._show_total()
            self.show()
        elif message.source == self._source and self._checked is None:
            self._looked_at = message.progress
            if self.built:
                self.query_one("#row-problems", Words).say(checked_words(None, self._looked_at))

    def on_finding_list_fixed(self, message: FindingList.Fixed) -> None:
        """Something else is done about a kind of finding: that is a field of the recipe like any other."""
        message.stop()
        if self._is_left():
            return
        fixes = {**self.session.recipe.data.fixes, message.kind: message.action}
        if not message.action:
            del fixes[message.kind]
        self.post_message(Typed("data.fixes", shown_text("data.fixes", fixes)))

    def _is_left(self) -> bool:
        """Whether another file has been named than the one whose rows are in view: what is said is not of that."""
        return file_key(self.session.draft.texts.get(SOURCE, "")) != file_key(self._source)

    def on_question_list_answered(self, message: QuestionList.Answered) -> None:
        """The user has decided what the rows are: that is said in the recipe."""
        message.stop()
        if not self._is_left():
            self._read_as((message.answer.shape, dict(message.answer.mapping)))

    def map_columns(self) -> None:
        """Say by hand what the rows are."""
        opened = self._opened
        if opened is None or self._is_left():
            return
        inferred = opened.choice
        if opened.shape is not None:
            inferred = replace(inferred, shape=opened.shape.name, mapping=opened.shape.mapping)
        self.app.push_screen(MapColumns(opened.first, opened.choice, inferred), self._read_as)

    def mix_rows(self) -> None:
        """Choose what is held out and what is mixed in."""
        if self._opened is not None:
            self.app.push_screen(MixRows(self.session.recipe), self._mixed)

    def _mixed(self, texts: dict[str, str] | None) -> None:
        for path, text in (texts or {}).items():
            self.post_message(Typed(path, text))

    def _read_as(self, chosen: tuple[str, dict[str, str]] | None) -> None:
        if chosen is not None:
            shape, mapping = chosen
            self.post_message(Typed("data.shape", "" if shape == AUTO else shape))
            self.post_message(Typed("data.mapping", text_of(mapping) if mapping else ""))

    def on_measured(self, message: Measured) -> None:
        """The lengths are known: automatic values may come out differently."""
        if message.key != self._measured_for or self.session.data is None:
            return
        self._progress = message.progress
        if message.lengths is not None:
            self.session.data.lengths = message.lengths
            self.post_message(FactsChanged())
        elif message.problems:
            self._template_problems = message.problems
            if self.built:
                self.query_one(RowPages).show_problems(message.problems)
        self._say_lengths()

    def on_tokens_counted(self, message: TokensCounted) -> None:
        """The rows are counted as training will have them: what follows from them is settled."""
        data = self.session.data
        if data is None or message.key != self._tokens_for:
            return
        data.progress = message.progress
        if not message.progress:
            data.counted, data.counted_for, data.refused = message.counted, message.key, message.problems
        self.post_message(FactsChanged())

    # Showing

    def facts_changed(self) -> None:
        """Model or data are other ones: count the tokens of the rows, whatever step is in view."""
        self._start_measuring()

    def show(self) -> None:
        """Bring the page up to date."""
        self._start_measuring()
        if not (self.built and self.display):
            return
        session = self.session
        set_text(self.query_one("#field-data-source", PathInput), session.draft.texts.get("data.source", ""))
        self.query_one("#data-problem", Words).say(problem_words(session.problems().get("data.source", ())))
        switched = session.draft.switched
        self.query_one("#data-switched", Words).say(clean(switched.words()) if switched is not None else "")
        self.query_one("#data-summary", Words).say(self._summary())
        shape = self._opened.shape if self._opened is not None else None
        self.query_one(QuestionList).show(shape.question if shape is not None else None)
        for name in ("#map-columns", "#mix-rows"):
            self.query_one(name, Button).disabled = self._opened is None
        self.query_one("#row-problems", Words).say(checked_words(self._checked, self._looked_at))
        self.query_one(FindingList).show(self._checked.findings if self._checked else (), session.recipe.data.fixes)
        self._show_pictures()
        self.query_one(FieldForm).show(session.draft.texts, session.viewer())
        self._show_preview()
        self._say_lengths()

    def _show_pictures(self) -> None:
        tally = self._checked.tally if self._checked is not None else Tally()
        data = self.session.data
        mixed, facts = list(self.session.recipe.data.mix), data.facts if data is not None else None
        sources = source_shares(self._source, mixed, facts) if facts is not None and mixed else ()
        self.query_one(RowPictures).show(tally, sources)

    def _summary(self) -> Content:
        opened = self._opened
        if opened is None:
            return Content("" if self.session.problems().get("data.source") else "Reading …")
        total = self._total()
        rows = f"{counted(total, 'row')}" if total is not None else "counting rows …"
        shape = f", {opened.shape.name}: {opened.shape.evidence}" if opened.shape is not None else ""
        facts = self.session.data.facts if self.session.data is not None else None
        held = f" {facts.rows} to learn from, {facts.held_out_rows} held out." if facts is not None else ""
        held += f" {facts.mixed_in} of them are mixed in." if facts is not None and facts.mixed_in else ""
        size = f"{bytes_text(opened.size)} of {opened.file.container.words}"
        return Content(clean(one_line(f"{rows}, {size}{shape}.{held}", 700)))

    def _asked(self) -> Asked | None:
        """What the tokenizer is to be asked with; None while there is no model on this machine."""
        model, recipe = self.session.model, self.session.resolved
        if model is None or model.problem is not None or model.path is None:
            return None
        return Asked(model.path, recipe.data.train_on, recipe.data.max_length, self._choice, recipe.model.chat_template)

    def _show_preview(self) -> None:
        """Have the row shown as the model sees it, while this step is in view."""
        if self.display:
            self.query_one(RowPages).ask(self._asked(), self._no_model_words())

    def _no_model_words(self) -> str:
        model = self.session.model
        if model is not None and model.problem is not None:
            return "Something is wrong with the model: how it sees the rows can be shown once another is chosen."
        if model is not None and model.kind == "hub":
            return "The model is not on this machine yet: how it sees the rows can be shown once it is."
        return "Choose a model first: how it sees the rows depends on its chat template."

    def _start_measuring(self) -> None:
        """Count the tokens of all rows as soon as model and data are known.

        An automatic max length follows from the lengths, so only a typed one makes it another question.
        """
        asked, opened = self._asked(), self._opened
        # A tokenizer takes seconds of a core to load: not before one has left the first step.
        wanted = self.session.draft.visited != {HARDWARE}
        if asked is None or opened is None or opened.shape is None or not wanted:
            return
        asked = replace(asked, limit=self.session.recipe.data.max_length)
        key = (opened.source, asked)
        if key != self._measured_for:
            self._measured_for, self._progress, self._template_problems = key, "", ()
            self._measure(key, opened.source, asked)
        count = self.session.count_key
        if count is not None and count != self._tokens_for:
            self._tokens_for = count
            self._count_tokens(count, self.session.recipe, asked)

    def _say_lengths(self) -> None:
        if not (self.built and self.display):
            return
        data = self.session.data
        lengths = data.lengths if data is not None else None
        limit = self.session.resolved.data.max_length
        words = self.query_one("#lengths-words", Words)
        if lengths is None:
            waiting = self._measured_for is not None and not self._template_problems
            self.query_one("#gate-words", Words).say("")
            words.say(f"Counting tokens … {self._progress}".rstrip() if waiting else "")
            self.query_one(Histogram).show_lengths((), limit)
            return
        words.say(length_words(lengths, limit))
        self.query_one("#gate-words", Words).say(gate_words(lengths.gate))
        self.query_one(Histogram).show_lengths(lengths.counts, limit)

    # Typing

    def on_input_changed(self, event: Input.Changed) -> None:
        """The draft takes every letter at once."""
        if event.input.id == "field-data-source":
            event.stop()
            self.post_message(Typed("data.source", event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes on."""
        event.stop()
        self.screen.focus_next()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Browse, take the demo data, or open a dialog."""
        ways: dict[str | None, Callable[[], object]] = {
            "browse-data": self.browse,
            "use-demo": lambda: self.post_message(Typed("data.source", DEMO)),
            "map-columns": self.map_columns,
            "mix-rows": self.mix_rows,
        }
        way = ways.get(event.button.id)
        if way is not None:
            event.stop()
            way()

    def browse(self) -> None:
        """Choose a file, or a folder of shards."""
        named = expanded(self.session.recipe.data.source).absolute()
        start = named.parent if named.parent.is_dir() else Path.cwd()
        self.app.push_screen(
            FileBrowser("Choose rows: a file, or a folder of them", start, SUFFIXES, folders=True), self._take_file
        )

    def _take_file(self, chosen: str | None) -> None:
        if chosen is not None:
            self.post_message(Typed("data.source", chosen))
            self.scroll_home(animate=False)
