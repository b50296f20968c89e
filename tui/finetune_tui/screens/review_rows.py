"""Synthetic rows, looked at one by one: accepted, changed or left out before any of them joins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.screen import Screen

from finetune_core.data.rows import Message as Turn
from finetune_core.data.synthetic.review import Review, ReviewedRow, counts
from finetune_core.errors import FtError
from finetune_core.text import one_line
from finetune_tui.actions import bindings
from finetune_tui.dialogs.confirm import Confirm
from finetune_tui.dialogs.edit_row import EditRow
from finetune_tui.navigation import navigator
from finetune_tui.run_words import glyph
from finetune_tui.widgets.cells import Cells, Span, spread, wrapped
from finetune_tui.widgets.cells import Line as CellLine
from finetune_tui.widgets.key_bar import KeyBar
from finetune_tui.widgets.pager import Pager
from finetune_tui.widgets.words import Line

_LOOK_SECONDS: Final = 2.0
# Nobody can decide on what is not shown, so far more of a row is shown here than elsewhere.
_SHOWN: Final = 200_000

# A decision, made in a thread; gives the rows it was about.
Job = Callable[[Review], Sequence[str]]


class ReviewRowsScreen(Screen[None]):
    """The rows of one pending file. Each decision is on the disk before the next row is shown."""

    SCOPE: ClassVar[str] = "review"
    CSS_PATH = "review_rows.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings("review")
    AUTO_FOCUS = "#review-row"

    class Read(Message):
        """The rows as they are now; `go_to` names the row to stand on, "" leaves it as it is."""

        def __init__(self, review: Review, go_to: str = "") -> None:
            super().__init__()
            self.rows = review.rows
            self.problems = tuple(review.problems)
            self.go_to = go_to

    class Failed(Message):
        """A decision could not be made, or the file not be opened."""

        def __init__(self, error: FtError, *, fatal: bool) -> None:
            super().__init__()
            self.error = error
            self.fatal = fatal

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._rows: tuple[ReviewedRow, ...] = ()
        self._at = 0
        self._opened = False
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self._busy = True

    def makes_wait(self, key: str) -> bool:
        """A decision leads to the next row, which the next key is meant for."""
        del key
        return self._busy or not self._jobs.empty()

    def compose(self) -> ComposeResult:
        """How far one is, the row, a word on what is odd, keys."""
        yield Cells(id="review-head")
        yield Pager(id="review-row")
        yield Line(one_line(self._path.name, 60), id="review-notice")
        yield KeyBar(compact=True)

    def on_mount(self) -> None:
        """Open the file, and look now and then for rows that are still being made."""
        self.run_worker(self._work(), name=f"review {self._path.name}", group="review")
        self.set_interval(_LOOK_SECONDS, self._look_for_more)
        self._draw()

    async def _work(self) -> None:
        """Do the jobs one after the other, each in a thread, so that none waits for a disk."""
        try:
            review = await asyncio.to_thread(Review, self._path)
        except FtError as error:
            self.post_message(self.Failed(error, fatal=True))
            return
        try:
            self.post_message(self.Read(review, go_to=_first_waiting(review.rows)))
            while True:
                job = await self._jobs.get()
                self._busy = True
                await self._do(review, job)
        finally:
            review.close()

    async def _do(self, review: Review, job: Job) -> None:
        try:
            changed = await asyncio.to_thread(job, review)
        except FtError as error:
            self.post_message(self.Failed(error, fatal=False))
        else:
            self.post_message(self.Read(review, go_to=changed[0] if changed else ""))

    def _look_for_more(self) -> None:
        if self._opened and self.is_active and self._jobs.empty():
            self._jobs.put_nowait(_reload)

    def on_review_rows_screen_read(self, message: Read) -> None:
        """Show what is there now."""
        self._busy = False
        before = self.row.id if self.row is not None else ""
        here = message.go_to or before
        self._opened, self._rows = True, message.rows
        places = {row.id: place for place, row in enumerate(self._rows)}
        self._at = places.get(here, min(self._at, max(len(self._rows) - 1, 0)))
        self._say(len(message.problems), message.problems[0].where if message.problems else "")
        if here == before:
            self._draw()
        else:
            self._draw_from_top()

    def on_review_rows_screen_failed(self, message: Failed) -> None:
        """Say why; without a file there is nothing to stay for."""
        self._busy = False
        if message.fatal:
            navigator(self).go_home()
        navigator(self).show_error(message.error)

    @property
    def row(self) -> ReviewedRow | None:
        """The row one looks at."""
        return self._rows[self._at] if self._rows else None

    # Showing

    def _draw(self) -> None:
        row = self.row
        self.query_one("#review-head", Cells).show(lambda width, _: _head(self._rows, self._at, width))
        pager = self.query_one("#review-row", Pager)
        if row is None:
            words = "No rows wait in this file." if self._opened else "Opening the file …"
            pager.show(lambda width, _: wrapped(words, width))
        else:
            pager.show(lambda width, _: row_lines(row, width))

    def _say(self, unread: int, where: str) -> None:
        name = one_line(self._path.name, 60)
        if unread:
            lines = f"{unread} lines hold no row and are" if unread > 1 else "One line holds no row and is"
            words = f"{lines} passed over: {where}"
        elif self._rows and not counts(self._rows).waiting:
            words = f"All rows of {name} are decided. q leaves."
        else:
            words = name
        self.query_one("#review-notice", Line).say(words)

    # What the keys do

    def action_accept(self) -> None:
        """Let the row join."""
        self._decide(lambda review, id_: review.accept(id_))

    def action_reject(self) -> None:
        """Leave the row out."""
        self._decide(lambda review, id_: review.reject(id_))

    def _decide(self, decision: Callable[[Review, str], None]) -> None:
        row = self.row
        if row is None:
            return

        def job(review: Review) -> Sequence[str]:
            decision(review, row.id)
            return (_next_waiting(review.rows, row.id),)

        self._jobs.put_nowait(job)

    def action_undo(self) -> None:
        """Take the last decision back, and look at its row again."""
        if self._opened:
            self._jobs.put_nowait(Review.undo)

    def action_go(self, by: int) -> None:
        """To the row after, or before."""
        self._at = min(max(self._at + by, 0), max(len(self._rows) - 1, 0))
        self._draw_from_top()

    def _draw_from_top(self) -> None:
        self.query_one("#review-row", Pager).action_edge(0)
        self._draw()

    def action_edit(self) -> None:
        """Change the row's turns."""
        row = self.row
        if row is not None:
            self.app.push_screen(EditRow(row.row.messages), lambda turns: self._change(row.id, turns))

    def _change(self, id_: str, turns: tuple[Turn, ...] | None) -> None:
        if turns is None:
            return

        def job(review: Review) -> Sequence[str]:
            review.edit(id_, turns)
            return (id_,)

        self._jobs.put_nowait(job)

    def action_accept_all(self) -> None:
        """Accept what waits, after a question."""
        waiting = tuple(row.id for row in self._rows if row.state == "waiting")
        if not waiting:
            return
        rows = f"{len(waiting)} rows" if len(waiting) > 1 else "One row"
        text = f"{rows} would join without having been looked at. Undo (u) takes it back."
        choices = (("accept", f"Accept {len(waiting)}"), ("cancel", "Go on looking"))
        self.app.push_screen(Confirm("Accept all rows that wait?", text, choices), lambda a: self._all(a, waiting))

    def _all(self, answer: str | None, ids: tuple[str, ...]) -> None:
        if answer != "accept":
            return

        def job(review: Review) -> Sequence[str]:
            review.accept(*ids)
            return ()

        self._jobs.put_nowait(job)

    def action_leave(self) -> None:
        """Back to the list of runs."""
        navigator(self).go_home()


def _reload(review: Review) -> Sequence[str]:
    review.reload()
    return ()


def _first_waiting(rows: Sequence[ReviewedRow]) -> str:
    return next((row.id for row in rows if row.state == "waiting"), "")


def _next_waiting(rows: Sequence[ReviewedRow], id_: str) -> str:
    """The first row that waits after this one, else the first that waits, else this one."""
    at = next(place for place, row in enumerate(rows) if row.id == id_)
    return _first_waiting(rows[at + 1 :]) or _first_waiting(rows) or id_


def _head(rows: Sequence[ReviewedRow], at: int, width: int) -> list[CellLine]:
    if not rows:
        return []
    row, found = rows[at], counts(rows)
    sums = f"{found.waiting} wait, {found.accepted} accepted, {found.rejected} rejected"
    origin = row.found.origin
    by = one_line(f"{origin.generator} at {origin.endpoint}", max(width - 26, 10))
    changed: tuple[Span, ...] = ((", changed by you", "accent"),) if row.edited else ()
    return [
        spread(((f"row {at + 1} of {len(rows)}", "strong"),), ((sums, ""),), width),
        spread((_state(row), *changed), ((by, "dim"),), width),
    ]


def _state(row: ReviewedRow) -> Span:
    """Sign, word and colour, so that none of them stands alone."""
    looks = {"waiting": ("○", "o", "warn"), "accepted": ("✓", "+", "good"), "rejected": ("✗", "x", "bad")}
    picture, plain, style = looks[row.state]
    return f"{glyph(picture, plain)} {row.state}", style


def row_lines(row: ReviewedRow, width: int) -> list[CellLine]:
    """Every turn of a row: who speaks, then all that is said, wrapped to the width."""
    lines: list[CellLine] = []
    for turn in row.row.messages:
        style = "accent" if turn.role == "assistant" else "strong"
        lines += [
            ((f"{glyph('▸', '>')} {one_line(turn.role, 20)}", style),),
            *wrapped(turn.content, width, limit=_SHOWN),
            (),
        ]
    return lines[:-1]
