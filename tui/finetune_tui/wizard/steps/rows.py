"""The rows of the opened file: read as one goes through them, and each as the chosen model sees it."""

from __future__ import annotations

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.worker import Worker, get_current_worker

from finetune_core.data.files.open import Row
from finetune_core.data.scan.search import find_row
from finetune_core.data.shapes.recognise import Shape
from finetune_core.data.tokens.client import Preview
from finetune_core.errors import FtError, Problem
from finetune_core.text import one_line
from finetune_tui.widgets.field_form import problem_words
from finetune_tui.widgets.row_view import PAGE, RowView, preview_content, tokens_content
from finetune_tui.wizard.data_news import Asked, Found, PageRead, Previewed
from finetune_tui.wizard.data_words import token_words
from finetune_tui.wizard.row_facts import Opened
from finetune_tui.wizard.step import report_failure
from finetune_tui.wizard.token_link import TokenLink

_BY_ONE = frozenset({"left_square_bracket", "right_square_bracket"})
_STARTING = "Starting the tokenizer: the first time takes some seconds …"


class RowPages(Vertical):
    """A view of rows that reads what is looked at, and asks the tokenizer about the row one stands on."""

    DEFAULT_CSS = "RowPages { height: auto; }"

    def __init__(self, link: TokenLink) -> None:
        super().__init__()
        self._link = link
        self._opened: Opened | None = None
        self._asked: Asked | None = None
        self._asked_for: object = None
        self._preview: Preview | None = None
        self._problems: tuple[Problem, ...] = ()
        self._without = ""
        # The page that is read from where the file is known to have rows.
        self._reading: Worker[None] | None = None

    def makes_wait(self, key: str) -> bool:
        """A step to the next row or the one before goes from the row that is still being read."""
        return key in _BY_ONE and self._reading is not None and not self._reading.is_finished

    def compose(self) -> ComposeResult:
        """The view; all of its words come from here."""
        yield RowView(id="rows")

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A thread ended."""
        report_failure(self, event)

    @property
    def view(self) -> RowView:
        """The rows as they are shown."""
        return self.query_one(RowView)

    def open(self, opened: Opened | None) -> None:
        """Show the first rows of a file; None while there is none."""
        self._opened, self._asked_for, self._preview, self._problems = opened, None, None, ()
        rows = opened.first if opened is not None else ()
        self.view.show_total(None)
        self.view.show_page(rows, rows[0].number if rows else 1)

    # Going to rows

    def on_row_view_wanted(self, message: RowView.Wanted) -> None:
        """Go to a row; read its page first when it is on another one."""
        message.stop()
        if self._opened is None:
            return
        shown = [row.number for row in self.view.rows]
        if message.number in shown:
            self.view.show_row(message.number)
            self._ask()
        else:
            start = max(1, message.number - (PAGE - 1 if shown and message.number < shown[0] else 0))
            self._reading = self._read_page(self._opened, message.number, start)

    @work(thread=True, exclusive=True, group="page", exit_on_error=False)
    def _read_page(self, opened: Opened, number: int, start: int) -> None:
        worker = get_current_worker()

        def progress(seen: int) -> None:
            news = f"Row {number:,} is not found yet: {seen:,} rows seen … (any other row gives it up)"
            self.post_message(Found(opened.source, "", None, news))

        if not opened.far.wait_for(number, progress, lambda: worker.is_cancelled):
            return
        try:
            rows = tuple(opened.far.rows(start, PAGE))
        except (FtError, OSError):
            rows = ()
        self.post_message(PageRead(opened.source, number, rows))

    def on_page_read(self, message: PageRead) -> None:
        """Show the page; past the end of the file, its last rows stay."""
        if self._opened is None or message.source != self._opened.source or not message.rows:
            return
        numbers = [row.number for row in message.rows]
        self.view.show_page(message.rows, message.number if message.number in numbers else numbers[-1])
        self._ask()

    # Looking for a text

    def on_row_view_sought(self, message: RowView.Sought) -> None:
        """Look for the next row with a text; going to any row gives the search up."""
        message.stop()
        if self._opened is not None:
            self._search(self._opened, message.text, message.behind + 1)

    @work(thread=True, exclusive=True, group="page", exit_on_error=False)
    def _search(self, opened: Opened, text: str, start: int) -> None:
        worker = get_current_worker()

        def progress(row: int) -> None:
            self.post_message(Found(opened.source, text, None, f"Looking through the rows … {row:,}"))

        try:
            number = find_row(opened.file, opened.source, text, start, progress, lambda: worker.is_cancelled)
        except (FtError, OSError) as error:
            why = error.problems[0].why if isinstance(error, FtError) else str(error)
            self.post_message(Found(opened.source, text, None, f"The rows cannot be looked through: {why}"))
        else:
            nothing = f"No row holds “{one_line(text, 40)}”." if number is None else ""
            if not worker.is_cancelled:
                self.post_message(Found(opened.source, text, number, nothing))

    def on_found(self, message: Found) -> None:
        """Go to the row that was found, or say that there is none."""
        if self._opened is None or message.source != self._opened.source:
            return
        # A row that is far off is not waited for: any other one gives it up.
        self._reading = None
        if message.number is not None:
            self.on_row_view_wanted(RowView.Wanted(message.number))
        else:
            self.view.show_news(message.news)

    # As the model sees it

    def ask(self, asked: Asked | None, without: str) -> None:
        """Ask the tokenizer in this way from now on; None while it cannot be asked, `without` says why."""
        self._asked, self._without = asked, without
        self._ask()

    def show_problems(self, problems: tuple[Problem, ...]) -> None:
        """Rows cannot be shown as the model sees them."""
        self._problems = problems
        self._say()

    def _ask(self) -> None:
        row, asked, opened = self.view.row, self._asked, self._opened
        if row is None or opened is None or opened.shape is None or asked is None:
            self._asked_for = self._preview = None
            self._say()
            return
        key = (opened.source, row.number, asked)
        if key != self._asked_for:
            self._asked_for, self._preview, self._problems = key, None, ()
            self._make_preview(key, row, opened.shape, asked)
        self._say()

    @work(thread=True, exclusive=True, group="preview", exit_on_error=False)
    def _make_preview(self, key: object, row: Row, shape: Shape, asked: Asked) -> None:
        try:
            preview = self._link.preview(row, shape, asked)
            self.post_message(Previewed(key, preview, ()))
        except FtError as error:
            self.post_message(Previewed(key, None, error.problems))

    def on_previewed(self, message: Previewed) -> None:
        """Show the row as the model sees it."""
        if message.key == self._asked_for:
            self._preview, self._problems = message.preview, message.problems
            self._say()

    def _say(self) -> None:
        if self._problems:
            self.view.show_model(problem_words(self._problems))
        elif self._preview is not None:
            preview = self._preview
            self.view.show_model(preview_content(preview), token_words(preview), tokens_content(preview))
        elif self._asked is None:
            self.view.show_model(self._without)
        else:
            known = self._opened is not None and self._opened.shape is not None
            self.view.show_model(_STARTING if known else "")
