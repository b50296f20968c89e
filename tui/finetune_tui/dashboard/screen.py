"""The dashboard: one run, live or ended, read from its directory.

Nothing is written here but control requests; the screen may die at any moment and the run goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Key, Resize
from textual.screen import Screen
from textual.widget import Widget
from textual.worker import get_current_worker

from finetune_core.errors import FtError
from finetune_core.runs import control
from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Event
from finetune_core.runs.status import ACTIVE
from finetune_core.runs.view.run_view import RunView
from finetune_core.runs.watch import supervise
from finetune_core.text import one_line
from finetune_tui.actions import actions, bindings, relabel
from finetune_tui.clone import changed as clone_changed
from finetune_tui.clone import refusal as clone_refusal
from finetune_tui.dashboard.bell import Bell
from finetune_tui.dashboard.copy import keep_copy, text_to_copy
from finetune_tui.dashboard.metrics_grid import MetricsPane
from finetune_tui.dashboard.panes import RATES, draw
from finetune_tui.dashboard.reader import RunChanged, RunReader, terminal_writable
from finetune_tui.dashboard.requests import Requests, place_of_own_answer, refusal, resume_refusal
from finetune_tui.dialogs.confirm import Confirm
from finetune_tui.dialogs.prompt import SamplePrompt
from finetune_tui.navigation import navigator
from finetune_tui.place import Place
from finetune_tui.run_words import ascii_only
from finetune_tui.widgets.cells import Cells, Line
from finetune_tui.widgets.chart import Chart
from finetune_tui.widgets.flow_cells import FlowCells
from finetune_tui.widgets.key_bar import KeyBar
from finetune_tui.widgets.pager import Pager

if TYPE_CHECKING:
    from finetune_core.recipe.schema import Recipe

_W = TypeVar("_W", bound=Widget)
_ROOMY = 80
_LOW = 22
# The most lines a message may take.
_NOTICE, _NOTICE_LOW = 6, 4
MAIN_PANES = ("loss", "rates", "hardware", "events", "metrics")
LOWER_PANES = ("samples", "result", "log")
_ASKING = frozenset({"pause", "checkpoint", "sample", "evaluate", "stop"})
_STOP_CHOICES = (("stop", "Finish the step and save"), ("stop_now", "Stop now"), ("cancel", "Go on"))
_STOP_TEXT = (
    "Finish the step and save: the run ends with a result from what it has learned so far.\n"
    "Stop now: the worker ends within 10 seconds; it writes a checkpoint if its step ends in time, and no result."
)
_STOP_CHOICES_PREPARING = (("stop", "Stop"), ("stop_now", "Stop now"), ("cancel", "Go on"))


def stop_text_preparing(view: RunView) -> str:
    """What stopping means for a run that has not begun to train."""
    saved = f" The checkpoint of step {view.checkpoints[-1].get('step')} stays." if view.checkpoints else ""
    return (
        f"The run is still preparing: stopped now, it ends without a result.{saved}\n"
        "Stop: the worker ends as soon as it comes to it.\nStop now: the worker is ended at once."
    )


class DashboardScreen(Screen[None]):
    """One run. `clock` gives unix seconds; `back_at` is the place one comes back to."""

    SCOPE: ClassVar[str] = "dashboard"
    CSS_PATH = "dashboard.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings("dashboard")
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 - as Textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-low"), (_LOW, "-medium"), (32, "-high")]  # noqa: RUF012
    AUTO_FOCUS = ""

    def __init__(self, run: RunDir, *, clock: Callable[[], float] = time.time, back_at: Place | None = None) -> None:
        super().__init__()
        self.run = run
        self.reader = RunReader(run, self.post_message, writable=terminal_writable)
        self.requests = Requests()
        self._bell = Bell()
        self._reported_damage: list[str] = []
        self._clock = clock
        # Chosen by the user; else what fits the run's state.
        self._main = back_at.main if back_at and back_at.main in MAIN_PANES else ""
        self._lower = back_at.lower if back_at and back_at.lower in LOWER_PANES else ""
        if back_at:
            self.requests.say("You are back at the run you watched. Esc leads to the list of runs.")
        self._typed = ""
        self._offered: tuple[object, ...] = ()
        self.drawn = 0  # how often the panes were filled

    def compose(self) -> ComposeResult:
        """Every pane; classes on the screen say which are seen."""
        yield Cells(id="header")
        with Horizontal(id="upper"):
            with Vertical(id="main"):
                yield _titled(Chart(id="loss", classes="pane"), "1 Loss")
                yield from _rates("rates", "2 Rates")
                yield from _hardware("hardware", "3 Memory")
                yield _titled(Pager(id="events", follow=True), "4 Events")
                yield _titled(Pager(id="phases", follow=True), "Preparing")
                yield _titled(MetricsPane(), "5 Metrics")
            with Vertical(id="side"):
                yield from _rates("side-rates", "2 Rates")
                yield from _hardware("side-hardware", "3 Memory")
        yield Cells(id="figures")
        with Horizontal(id="lower"):
            yield _titled(Pager(id="result"), "Result")
            yield _titled(Pager(id="samples"), "Samples")
            yield _titled(Pager(id="log", follow=True), "Log")
            yield _titled(Pager(id="side-events", follow=True), "4 Events")
        yield FlowCells(id="notice")
        yield KeyBar()

    def on_mount(self) -> None:
        """Start reading."""
        self.set_class(ascii_only(), "-ascii")
        self._choose_panes()
        self.run_worker(self._read, name=f"read {self.run.name}", thread=True)
        self.set_interval(1.0, self._end_notice)

    def _read(self) -> None:
        worker = get_current_worker()
        self.reader.loop(lambda: worker.is_cancelled)

    def on_unmount(self) -> None:
        """Stop reading; the run goes on."""
        self.reader.close()

    def on_run_changed(self, event: RunChanged) -> None:
        """Draw what was read, then let the reader go on."""
        event.stop()
        self.refresh_panes()
        self._report_damage()
        if self.reader.seen.filled is None and self._bell.due(self.reader.view):
            self.app.bell()
        self.reader.applied()

    def _report_damage(self) -> None:
        found = self.reader.view.damage
        if found and found != self._reported_damage:
            self._reported_damage = list(found)
            self._say(f"This run's files are damaged: {one_line('; '.join(found), 400)}", "warn")

    def on_resize(self, event: Resize) -> None:
        """Keys closer together where it is narrow."""
        self.query_one(KeyBar).compact = event.size.width < _ROOMY
        self._show_notice()

    def refresh_panes(self) -> None:
        """Draw everything that is seen; what did not change is not sent."""
        self.requests.filled = self.reader.seen.filled
        self._hold_own_answers(self.requests.take_in(self.reader.view))
        self._choose_panes()
        draw(self, self.reader, self._clock())
        self._show_notice()
        self._offer()
        self.drawn += 1

    # What can be done now

    def _offer(self) -> None:
        """Have the footer drawn again when something else can be done than before."""
        paused = self.reader.view.state == "paused"
        relabelled = relabel(self, "pause", "Go on" if paused else "Pause")
        offered = tuple(self.why_not(action.name) is None for action in actions("dashboard"))
        if relabelled or offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What cannot be done now is not offered; its key says why."""
        del parameters
        return self.why_not(action) is None

    def why_not(self, action: str) -> str | None:
        """Why an action cannot be done now, in words; None where it can."""
        view = self.reader.view
        if action in _ASKING:
            return refusal(view, action)
        if action == "resume":
            return resume_refusal(view) if self.reader.seen.whole else "The run is still being read."
        if action == "clone":
            return clone_refusal(view) if self.reader.seen.whole else "The run is still being read."
        return "The result comes when the run has ended." if action == "result" and not self.ended else None

    def on_key(self, event: Key) -> None:
        """A key whose action is not offered now gives the reason."""
        name = next((action.name for action in actions("dashboard") if event.key in action.key.split(",")), "")
        why = self.why_not(name)
        if why is not None:
            event.stop()
            self._say(why, "warn")

    # Which panes are seen

    @property
    def place(self) -> Place:
        """Where one is, for the next start."""
        return Place("dashboard", self.run.name, self._main, self._lower)

    @property
    def ended(self) -> bool:
        """Whether the run has come to an end of any kind."""
        return self.reader.seen.ready and self.reader.view.state not in ACTIVE | {"created"}

    def _choose_panes(self) -> None:
        main, lower = self._main or self._fitting_main(), self._lower or self._fitting_lower()
        chosen = {f"main-{main}"} if main else set()
        wanted = chosen | ({f"lower-{lower}"} if lower else set()) | ({"ended"} if self.ended else set())
        known = {f"main-{name}" for name in (*MAIN_PANES, "phases")}
        known |= {*(f"lower-{name}" for name in LOWER_PANES), "ended"}
        if wanted == known & set(self.classes):
            return
        self.remove_class(*(known - wanted)).add_class(*wanted)
        self.reader.wanted.log = lower == "log"
        if main == "metrics":
            self.call_after_refresh(self.query_one(MetricsPane).grid.focus)
        elif lower:
            self.call_after_refresh(self.query_one(f"#{lower}", Pager).focus)

    def _fitting_main(self) -> str:
        """The large pane that fits what the run does; none before that is known, since it may have ended long ago."""
        if self.reader.view.step or self.ended:
            return "loss"
        return "phases" if self.reader.seen.ready else ""

    def _fitting_lower(self) -> str:
        if self.ended:
            return "result"
        return "samples" if self.reader.seen.ready or self.reader.view.step else ""

    def _show_lower(self, name: str) -> None:
        self._lower = name
        if self._main == "metrics":
            # They have the room of the lower panes.
            self._main = ""
        self._choose_panes()
        self.reader.hurry()

    def action_pane(self, number: int) -> None:
        """Choose what the large pane shows; the same key again goes back to what fits the run."""
        chosen = MAIN_PANES[number - 1]
        self._main = "" if self._main == chosen else chosen
        self.refresh_panes()

    def action_filter_metrics(self) -> None:
        """Type a part of a metric's name."""
        if self._main != "metrics":
            self.action_pane(MAIN_PANES.index("metrics") + 1)
        self.call_after_refresh(self.query_one(MetricsPane).open_filter)

    def action_log(self) -> None:
        """Show or hide the end of the worker's log."""
        self._show_lower("" if self._lower == "log" else "log")

    def action_result(self) -> None:
        """Between the result and the samples of a run that has ended."""
        shown = self._lower or "result"
        self._show_lower("samples" if shown == "result" else "result")

    def action_previous_sample(self) -> None:
        """The set of answers before."""
        self._page(-1)

    def action_next_sample(self) -> None:
        """The next set of answers; the newest again follows the run."""
        self._page(1)

    def _page(self, direction: int) -> None:
        count = len(self.reader.view.samples)
        if not count:
            self._say("There are no samples yet.")
            return
        place = self.reader.seen.place if self.reader.wanted.sample is None else self.reader.wanted.sample
        if self._lower == "samples" or not self.ended:
            place += direction
        place = max(0, min(place, count - 1))
        self._show_samples(None if place == count - 1 else place)

    def _show_samples(self, place: int | None) -> None:
        """Show one set, or follow the newest; the end of a live run still brings its result to the front."""
        self.reader.wanted.sample = place
        self._show_lower("samples" if self.ended else "")

    def _hold_own_answers(self, answers: list[Event]) -> None:
        """Keep in sight what the user asked for, however soon the next samples come; `]` goes on to those."""
        own = place_of_own_answer(self.reader.view, answers)
        if own is not None:
            self._show_samples(own)

    # Asking the run

    def action_pause(self) -> None:
        """Pause, or go on."""
        self._ask("resume" if self.reader.view.state == "paused" else "pause")

    def action_checkpoint(self) -> None:
        """Write a checkpoint now."""
        self._ask("checkpoint")

    def action_evaluate(self) -> None:
        """Measure the held-out loss now."""
        self._ask("evaluate")

    def action_sample(self) -> None:
        """Ask the model something now."""
        self.app.push_screen(SamplePrompt(self._typed), self._ask_sample)

    def _ask_sample(self, prompt: str | None) -> None:
        if prompt is not None:
            self._typed = prompt
            self._ask("sample", prompt=prompt)

    def action_stop(self) -> None:
        """Stop, after asking how."""
        view = self.reader.view
        if view.state in {"preparing", "queued"}:
            question = Confirm("Stop the run?", stop_text_preparing(view), _STOP_CHOICES_PREPARING)
        else:
            question = Confirm("Stop training?", _STOP_TEXT, _STOP_CHOICES)
        self.app.push_screen(question, self._stop_chosen)

    def _stop_chosen(self, choice: str | None) -> None:
        if choice in {"stop", "stop_now"}:
            self._ask(choice)

    def _ask(self, request: str, **args: str) -> None:
        """Leave a request in a thread: the run's disk may be slow."""
        why = refusal(self.reader.view, request)
        if why:
            self._say(why, "warn")
            return

        def leave_request() -> None:
            try:
                identity = control.ask(self.run, request, **args)
                if request == "stop_now":
                    supervise.end_orphan(self.run)
            except FtError as error:
                first = error.problems[0]
                self.app.call_from_thread(self._say, f"{first.what}: {first.why}; {first.remedy}", "warn")
            else:
                self.app.call_from_thread(self._asked, identity, request)

        self.run_worker(leave_request, name=f"ask {request}", thread=True)

    def _asked(self, identity: str, request: str) -> None:
        self.requests.asked(identity, request)
        self.refresh_panes()
        self.reader.hurry()

    def action_resume(self) -> None:
        """Continue a run that failed, crashed or was stopped, from its last checkpoint."""
        kept = self.reader.view.checkpoints
        self._say("Continuing from the last checkpoint …" if kept else "There is no checkpoint yet: beginning again …")
        self.run_worker(self._resume, name="resume", thread=True)

    def _resume(self) -> None:
        from finetune_core.runs.start.launch import resume

        try:
            resume(self.run, queue=True)
        except FtError as error:
            self.app.call_from_thread(navigator(self).show_error, error)
        else:
            self.app.call_from_thread(self._resumed)

    def _resumed(self) -> None:
        self._lower = self._main = ""
        self._say("The run goes on.", "good")
        self.reader.hurry()

    def action_clone(self) -> None:
        """Set up a run from this one's recipe, with what its verdict says to change next."""
        self.run_worker(self._clone, name="clone", thread=True)

    def _clone(self) -> None:
        try:
            recipe, said = clone_changed(self.reader.view)
        except FtError as error:
            self.app.call_from_thread(navigator(self).show_error, error)
        else:
            self.app.call_from_thread(self._open_clone, recipe, said)

    def _open_clone(self, recipe: Recipe, said: str) -> None:
        if not self.is_active:
            # It was left meanwhile: nobody waits for the wizard any more.
            return
        navigator(self).open_wizard(recipe)
        self.app.notify(said, title="What is changed", markup=False, timeout=20)

    # The rest

    def action_copy(self) -> None:
        """Copy how to load the result, or where the run lies; a file keeps it in any case."""
        text, what = text_to_copy(self.reader.view)
        self.app.copy_to_clipboard(text)

        def keep() -> None:
            try:
                path, tmux = keep_copy(text)
            except (FtError, OSError) as error:
                why = error.problems[0].why if isinstance(error, FtError) else str(error)
                self.app.call_from_thread(self._say, f"Not written to a file: {why}", "warn")
            else:
                taken = "tmux has it too" if tmux else "sent to the terminal too, which may ignore it"
                self.app.call_from_thread(self._say, f"Copied {what} to {path.name} in {path.parent}; {taken}")

        self.run_worker(keep, name="copy", thread=True)

    def action_back(self) -> None:
        """Close metrics or log, or leave."""
        if self._main == "metrics":
            if not self.query_one(MetricsPane).step_back():
                self._main = ""
                self._choose_panes()
                self.refresh_panes()
        elif self._lower == "log":
            self._show_lower("")
        else:
            self.action_leave()

    def action_leave(self) -> None:
        """Back to the list of runs; training goes on."""
        if self.reader.view.state in ACTIVE:
            self.app.notify("Training goes on without this screen.", title=self.run.name, markup=False)
        navigator(self).go_home()

    def _say(self, words: str, style: str = "") -> None:
        self.requests.say(words, style)
        self._show_notice()

    def _end_notice(self) -> None:
        """Have the hints back once a message has been read."""
        if self.requests.expire():
            self._show_notice()

    def _show_notice(self) -> None:
        """As many lines as the message needs; on a low screen the key figures make room for them."""
        self.set_class(len(self._notice(self.size.width)) > 1, "-noticed")
        # None is there any more when the answer to a request comes while the dashboard is left.
        for cells in self.query("#notice").results(FlowCells):
            cells.show(self._notice)

    def _notice(self, width: int, _height: int = 0) -> list[Line]:
        return self.requests.lines(width, _NOTICE_LOW if self.size.height < _LOW else _NOTICE)


def _titled(widget: _W, title: str) -> _W:
    widget.border_title = Content(title)
    widget.add_class("pane")
    return widget


def _rates(name: str, title: str) -> ComposeResult:
    with _titled(Vertical(id=name), title):
        for series in RATES:
            yield Chart(classes=series)


def _hardware(name: str, title: str) -> ComposeResult:
    with _titled(Vertical(id=name), title):
        yield Cells(classes="devices")
        yield Chart(classes="memory")
