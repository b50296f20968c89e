"""The list of runs: where one starts, and comes back to."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.screen import Screen
from textual.widgets import DataTable, Input, Static

from finetune_core.errors import FtError
from finetune_core.paths import runs_root
from finetune_core.text import bytes_text, counted, one_line
from finetune_tui.actions import actions, bindings
from finetune_tui.dialogs.confirm import Confirm
from finetune_tui.navigation import navigator
from finetune_tui.widgets.key_bar import KeyBar
from finetune_tui.widgets.line_input import LineInput
from finetune_tui.widgets.run_table import RunTable

# What reads runs is imported in threads, once the first frame is drawn: it takes as long as the frame.
if TYPE_CHECKING:
    from finetune_tui.run_rows import RunRow

_LOOK_SECONDS = 1.0
_OF_A_RUN = frozenset({"open_run", "clone", "resume", "delete"})
_NO_RUN = "No run is chosen."
_ON_CHOSEN = {action.key for action in actions("home") if action.name in _OF_A_RUN}
_CAN_RESUME = frozenset({"created", "stopped", "preempted", "failed", "crashed"})
_EMPTY = """\
There are no runs yet.

  n   set up a new run, step by step
  D   try the demo: a small model learns to answer
      as JSON, in about a minute, GPU or not
  i   see what this machine has
  ?   what the keys do
"""


class HomeScreen(Screen[None]):
    """All runs under this FT_TUI_HOME, newest first; read again every second, in a thread, while shown."""

    SCOPE: ClassVar[str] = "home"
    BINDINGS: ClassVar[list[BindingType]] = bindings("home")

    class Read(Message):
        """The runs were read; None when the folder cannot be."""

        def __init__(self, rows: tuple[RunRow, ...], problem: str = "") -> None:
            super().__init__()
            self.rows = rows
            self.problem = problem

    def __init__(self) -> None:
        super().__init__()
        self._rows: tuple[RunRow, ...] = ()
        self._begun = False
        self._reading = False
        self._known = False
        self._wanted = ""
        self._awaited = ""  # the run on which the cursor is to stand

    def compose(self) -> ComposeResult:
        """Heading, filter, the table or what to do without runs, more on the chosen run, keys."""
        yield Static(id="heading", markup=False)
        yield LineInput(placeholder="part of a name, state or model", id="filter", compact=True)
        yield RunTable(id="runs")
        yield Static(_EMPTY, id="empty", markup=False)
        yield Static(id="chosen", markup=False)
        yield KeyBar(compact=True)

    def on_mount(self) -> None:
        """Show what is there, and go on looking."""
        self._open_filter(open=False)
        self.query_one("#empty").display = False
        self.table.focus()
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self._begun = True
        self._look()
        self._purge()
        self.set_interval(_LOOK_SECONDS, self._look)

    def on_screen_resume(self) -> None:
        """Something may have happened while another screen was shown."""
        if self._begun:
            self._look()

    @property
    def table(self) -> RunTable:
        """The list itself."""
        return self.query_one(RunTable)

    @property
    def chosen(self) -> RunRow | None:
        """The run under the cursor."""
        name = self.table.chosen
        return next((row for row in self._rows if row.run.name == name), None)

    def makes_wait(self, key: str) -> bool:
        """What acts on the list waits for it, and for a change of it that is under way."""
        changes = (worker for worker in self.workers if worker.node is self and worker.group == "change")
        changing = self._reading or not self._known or any(not worker.is_finished for worker in changes)
        return changing and (key in _ON_CHOSEN or key in self.table.moving_keys)

    # Reading

    def _look(self) -> None:
        # A screen below another one counts as current for Textual, and what it repaints is sent.
        if self.is_active and not self._reading:
            self._reading = True
            self._read_runs()

    @work(thread=True, group="runs")
    def _read_runs(self) -> None:
        from finetune_tui.run_rows import read_rows

        try:
            message = self.Read(read_rows())
        except FtError as error:
            found = error.problems[0]
            message = self.Read((), f"The runs cannot be read: {found.where}: {found.why}; {found.remedy}")
        finally:
            self._reading = False
        self.post_message(message)

    def on_home_screen_read(self, message: HomeScreen.Read) -> None:
        """Show the runs; only cells that changed are drawn again."""
        self._known = True
        self._rows = message.rows
        self._show(message.problem)

    def stand_on(self, name: str) -> None:
        """Have the cursor on this run as soon as it is listed; a filter that hides it is dropped then."""
        self._awaited = name
        if not self._reading:
            self._reading = True
            self._read_runs()

    def _stand_on_awaited(self) -> None:
        row = next((row for row in self._rows if row.run.name == self._awaited), None)
        if row is None:
            return
        if not row.matches(self._wanted):
            self._drop_filter()
        self.table.choose(row.run.name)
        self._awaited = ""

    def _show(self, problem: str = "") -> None:
        from finetune_tui.run_rows import now

        self._stand_on_awaited()
        shown = [row for row in self._rows if row.matches(self._wanted)]
        self.query_one("#empty").display = not self._rows
        self.table.display = bool(self._rows)
        if self.table.display and self.focused is None:
            self.table.focus()
        self.table.show(shown, now())
        self._say("#heading", problem or self._heading(len(shown)))
        self._say("#chosen", self._about_chosen())

    def _heading(self, shown: int) -> str:
        busy = sum(row.busy for row in self._rows)
        count = f"{counted(len(self._rows), 'run')}"
        part = f", {shown} shown (/ changes the filter, Esc clears it)" if self._wanted else ""
        return f"ft-tui   {count}, {busy} at work{part}"

    def _say(self, selector: str, text: str) -> None:
        """Change a line, and send nothing to the terminal when it says the same already."""
        line = self.query_one(selector, Static)
        if line.content != text:
            line.update(text)

    def _about_chosen(self) -> str:
        row = self.chosen
        if row is None:
            return f"No run matches {one_line(self._wanted, 30)!r}." if self._rows else f"Runs lie in {runs_root()}"
        known = row.summary
        verdict = f"   {row.verdict}" if row.verdict else ""
        if known.damage:
            from finetune_tui.run_words import glyph

            return f"{row.run.name}{verdict}\n{glyph('▲', '!')} damaged: {one_line('; '.join(known.damage), 200)}"
        return f"{row.run.name}{verdict}\n{one_line(known.model, 60)} on {one_line(known.data, 60)}"

    @on(DataTable.RowHighlighted)
    def _moved(self) -> None:
        self._say("#chosen", self._about_chosen())

    @on(DataTable.RowSelected)
    def _clicked(self) -> None:
        self.action_open_run()

    # Filter

    def action_filter(self) -> None:
        """Type a part of a name."""
        self._open_filter(open=True)
        self.query_one("#filter").focus()

    def _open_filter(self, *, open: bool) -> None:  # noqa: A002 - what is done to it
        """Show or hide the filter; hidden it is disabled too, or it could have the focus and swallow every letter."""
        field = self.query_one("#filter", Input)
        field.display = open
        field.disabled = not open

    @on(Input.Changed, "#filter")
    def _filter_typed(self, event: Input.Changed) -> None:
        self._wanted = event.value.strip()
        self._show()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self._open_filter(open=bool(self._wanted))
        self.table.focus()

    def key_escape(self) -> None:
        """Drop the filter."""
        self._drop_filter()
        self.table.focus()

    def _drop_filter(self) -> None:
        self._wanted = ""
        self.query_one("#filter", Input).value = ""
        self._open_filter(open=False)

    # Actions

    def why_not(self, action: str) -> str | None:
        """Why an action cannot be done with the chosen run, in words; None where it can."""
        row = self.chosen
        if row is None:
            return _NO_RUN if action in _OF_A_RUN else None
        if action == "resume" and row.summary.state not in _CAN_RESUME:
            return f"Only a run that ended early can be resumed; this one is {one_line(row.summary.state, 12)}."
        if action == "delete" and row.busy:
            return "Stop it first: this run is at work. Enter opens it, x stops it."
        return None

    def action_leave(self) -> None:
        """Leave the program."""
        self.app.exit(0)

    def action_new_run(self) -> None:
        """Set up a run, from the draft where there is one."""
        navigator(self).open_wizard()

    def action_demo(self) -> None:
        """Set up the demo."""
        from finetune_core import demo
        from finetune_core.recipe.check import with_values
        from finetune_core.recipe.schema import Recipe

        navigator(self).open_wizard(with_values(Recipe(), demo.recipe_values()))

    def action_doctor(self) -> None:
        """Look at the machine, and show the report when it is there."""
        self._examine()

    @work(thread=True, group="doctor", exclusive=True)
    def _examine(self) -> None:
        from finetune_tui import doctor
        from finetune_tui.screens.help import PageScreen, report_table

        page = PageScreen("This machine", report_table(doctor.examine()))
        self.app.call_from_thread(self.app.push_screen, page)

    def action_open_run(self) -> None:
        """Look at the chosen run."""
        if row := self.chosen:
            navigator(self).open_dashboard(row.run)
        else:
            self._refuse(_NO_RUN)

    def action_clone(self) -> None:
        """Set up a new run like the chosen one; what was chosen automatically is chosen anew."""
        from finetune_core.recipe.yaml_io import load
        from finetune_tui.clone import as_new

        if row := self.chosen:
            try:
                recipe = as_new(load(row.run.recipe_file))
            except FtError as error:
                navigator(self).show_error(error)
            else:
                navigator(self).open_wizard(recipe)
        else:
            self._refuse(_NO_RUN)

    def action_resume(self) -> None:
        """Go on with the chosen run from its last checkpoint."""
        if why := self.why_not("resume"):
            self._refuse(why)
        elif row := self.chosen:
            self._resume(row)

    @work(thread=True, group="change")
    def _resume(self, row: RunRow) -> None:
        from finetune_tui.start import continue_run

        try:
            continue_run(row.run, queue=True)
        except FtError as error:
            self.app.call_from_thread(navigator(self).show_error, error)
        else:
            self.app.call_from_thread(navigator(self).open_dashboard, row.run)

    def action_delete(self) -> None:
        """Ask, then move the chosen run to the trash."""
        row, why = self.chosen, self.why_not("delete")
        if row is None or why:
            self._refuse(why or _NO_RUN)
            return

        def answered(answer: str | None) -> None:
            if answer == "delete":
                self._delete(row)

        choices = (("delete", "Move to the trash"), ("keep", "Keep"))
        dialog = Confirm("Delete this run?", delete_words(row, None), choices)
        self.app.push_screen(dialog, answered)
        self._measure(row, dialog)

    @work(thread=True, group="measure", exclusive=True)
    def _measure(self, row: RunRow, dialog: Confirm) -> None:
        from finetune_core.runs.upkeep import trash

        self.app.call_from_thread(dialog.say, delete_words(row, trash.size_of(row.run.path)))

    @work(thread=True, group="change")
    def _delete(self, row: RunRow) -> None:
        from finetune_core.runs.upkeep import trash

        try:
            trash.move_to_trash(row.run)
        except FtError as error:
            self.app.call_from_thread(navigator(self).show_error, error)
        else:
            words = f"{row.run.name} is in the trash for 7 days. u restores it; so does ft-tui trash restore."
            self.app.call_from_thread(self.notify, words, markup=False)
        self.app.call_from_thread(self._look)

    def action_restore(self) -> None:
        """Take the last deletion back."""
        self._restore()

    @work(thread=True, group="change")
    def _restore(self) -> None:
        from finetune_core.runs.upkeep import trash

        try:
            deleted = trash.list_trash()
            run = trash.restore(deleted[0]) if deleted else None
        except FtError as error:
            self.app.call_from_thread(navigator(self).show_error, error)
            return
        if run is None:
            self.app.call_from_thread(self._refuse, "Nothing to restore: the trash is empty.")
            return
        self.app.call_from_thread(self.notify, f"{run.name} is restored.", markup=False)
        self.app.call_from_thread(self.stand_on, run.name)

    @work(thread=True, group="purge")
    def _purge(self) -> None:
        from finetune_core.runs.upkeep import trash

        # What cannot be removed today is said by `ft-tui trash`, and tried again at the next start.
        with suppress(FtError):
            trash.empty_trash(only_expired=True)

    def _refuse(self, why: str) -> None:
        self.notify(why, severity="warning", markup=False)


def delete_words(row: RunRow, size: int | None) -> str:
    """What deleting a run means; its size in bytes comes when it has been measured."""
    weight = "measuring its size ..." if size is None else bytes_text(size)
    return (
        f"{row.run.name}\n\nIts recipe, curves, samples, checkpoints and result ({weight}) lie in the trash for 7 days "
        "and can be restored: u here, or ft-tui trash restore. Then they are deleted for good. Their space is free "
        "at once after ft-tui trash empty."
    )
