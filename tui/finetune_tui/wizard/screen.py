"""The wizard: from what is here to a run, in five steps. Whatever is typed is kept."""

from __future__ import annotations

from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Button, Input
from textual.worker import Worker

from finetune_core.errors import FtError, Problem
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.text import counted
from finetune_tui.actions import bindings
from finetune_tui.dialogs.confirm import Confirm
from finetune_tui.navigation import navigator
from finetune_tui.place import Place
from finetune_tui.start import Known, start_run
from finetune_tui.warm_link import WarmLink
from finetune_tui.widgets.field_form import Typed
from finetune_tui.widgets.key_bar import KeyBar
from finetune_tui.widgets.steps_list import StepsList, StepState
from finetune_tui.wizard.data_words import gate_question
from finetune_tui.wizard.dialogs.hub_token import HubToken
from finetune_tui.wizard.dialogs.trust_code import TrustCode
from finetune_tui.wizard.disk_watch import Stamp, data_stamp, model_stamp
from finetune_tui.wizard.draft import Draft, draft_of, drop_draft, new_name, newest_draft
from finetune_tui.wizard.draft_keeper import DraftFailed, DraftKeeper
from finetune_tui.wizard.pages import Pages
from finetune_tui.wizard.save import SaveRecipe
from finetune_tui.wizard.session import DATA, MODEL, REVIEW, STEP_NAMES, STEP_SHORTS, Session
from finetune_tui.wizard.step import PageMoved, Step, StepWanted, name_keys, report_failure
from finetune_tui.wizard.steps.data import DataStep
from finetune_tui.wizard.steps.hardware import HardwareStep
from finetune_tui.wizard.steps.model import ModelStep
from finetune_tui.wizard.steps.review import ReviewStep
from finetune_tui.wizard.steps.settings import SettingsStep
from finetune_tui.wizard.summary import summaries
from finetune_tui.wizard.ways import Ways

REREAD_PAUSE = 0.05
WATCH_SECONDS = 2.0
_GATE_WAYS = (("override", "Launch all the same"), ("go", "Go back"))


class WizardScreen(Screen[None]):
    """Opened with a recipe it starts from that, at the review; without one, from the newest draft."""

    SCOPE: ClassVar[str] = "wizard"
    BINDINGS: ClassVar[list[BindingType]] = bindings("wizard")
    CSS_PATH = "wizard.tcss"
    AUTO_FOCUS = ""

    class Launched(Message):
        """The run was started."""

        def __init__(self, run: RunDir) -> None:
            super().__init__()
            self.run = run

    class LaunchFailed(Message):
        """The run was not started."""

        def __init__(self, problems: tuple[Problem, ...]) -> None:
            super().__init__()
            self.problems = problems

    class DiskLooked(Message):
        """The files a recipe names, as they are now."""

        def __init__(self, names: object, data: Stamp, model: Stamp) -> None:
            super().__init__()
            self.names, self.data, self.model = names, data, model

    def __init__(self, recipe: Recipe | None = None) -> None:
        super().__init__()
        restored = newest_draft() if recipe is None else None
        self._restored = restored is not None
        draft = draft_of(recipe) if recipe is not None else restored or Draft(new_name())
        self.session = Session(draft)
        self._steps: tuple[Step, ...] = ()
        self._reread_timer: Timer | None = None
        self._launching = False
        self._warm = WarmLink()
        self._keeper = DraftKeeper(self, lambda: None if self._launching else self.draft)
        self._disk: WizardScreen.DiskLooked | None = None
        self._looking = False

    @property
    def draft(self) -> Draft:
        """What was typed."""
        return self.session.draft

    @property
    def place(self) -> Place:
        """Where one is, for the next start."""
        return Place("wizard", self.draft.name)

    # Building

    def compose(self) -> ComposeResult:
        """The list of steps, the open step, the way on."""
        session = self.session
        self._steps = (
            HardwareStep(session), ModelStep(session), DataStep(session), SettingsStep(session), ReviewStep(session),
        )  # fmt: skip
        with Container(id="wizard"):
            yield StepsList(id="steps")
            yield Pages(self._steps, self.draft.step)
        yield Ways(self.draft.step)
        yield KeyBar(palette=True)

    def on_mount(self) -> None:
        """Open the step one was at."""
        if self._restored:
            self._note("Your draft is back. f starts afresh.")
        self._go(self.draft.step)
        self.set_interval(WATCH_SECONDS, self._watch_disk)

    def on_resize(self, event: events.Resize) -> None:
        """The list of steps is a column where there is room."""
        self.query_one(StepsList).set_class(event.size.width >= 100, "-column")

    # Moving

    def on_key(self, event: events.Key) -> None:
        """The paging keys turn the page from anywhere, also from the buttons below it."""
        outside = self.focused is None or self.step not in self.focused.ancestors_with_self
        if outside and event.key in ("pagedown", "pageup"):
            event.stop()
            event.prevent_default()
            (self.step.action_page_down if event.key == "pagedown" else self.step.action_page_up)()

    @on(PageMoved)
    @on(events.DescendantFocus)
    @on(events.DescendantBlur)
    def _name_keys(self) -> None:
        name_keys(self, self.step)

    @property
    def step(self) -> Step:
        """The open step."""
        return self._steps[self.draft.step]

    def _go(self, number: int) -> None:
        number = min(max(number, 0), REVIEW)
        if number != self.draft.step:
            self._note("")
        self.draft.step = number
        self.draft.visited.add(number)
        self._keeper.save_soon()
        if self.step.built:
            self._arrive()
        else:
            self.call_next(self._build, self.step)

    async def _build(self, step: Step) -> None:
        """Make the parts of a step that is opened for the first time; nothing is drawn before all of them are."""
        with self.app.batch_update():
            await step.build()
            if step.built and step is self.step:
                self._arrive()

    def _arrive(self) -> None:
        """Bring the step that was opened into view."""
        ways = self.query_one(Ways)
        self.query_one(Pages).current = self.step.id
        ways.show(self.draft.step)
        self._refresh()
        self.step.opened()
        (ways.launch if self.draft.step == REVIEW else self.step.first_focus()).focus(scroll_visible=False)
        self._name_keys()
        self.refresh_bindings()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A thread ended."""
        report_failure(self, event)

    def on_step_wanted(self, message: StepWanted) -> None:
        """A page was left at its end or its top."""
        self._go(self.draft.step + message.by)

    def on_steps_list_picked(self, message: StepsList.Picked) -> None:
        """A step was clicked."""
        self._go(message.step)

    def action_next_step(self) -> None:
        """One step on."""
        self._go(self.draft.step + 1)

    def action_previous_step(self) -> None:
        """One step back."""
        self._go(self.draft.step - 1)

    def action_step(self, number: int) -> None:
        """To a step by its number."""
        self._go(number - 1)

    def action_browse(self) -> None:
        """Choose a file or folder for the step that takes one."""
        step = self.step
        if isinstance(step, ModelStep | DataStep):
            step.browse()

    def action_look_at_code(self) -> None:
        """Look at the code that comes with the model; once it is trusted, the model is looked at again."""
        self._reread_now()
        model = self.session.recipe.model
        self.app.push_screen(TrustCode(model.source, model.revision), self._code_trusted)

    def _code_trusted(self, trusted: bool | None) -> None:  # noqa: FBT001 - the dialog's answer
        if trusted:
            self._read_again(model=True)
            self._note("The model's code is trusted.")

    def action_hub_token(self) -> None:
        """Have a token kept; then the hub is asked again for the model."""
        self.app.push_screen(HubToken(), self._token_kept)

    def _token_kept(self, name: str | None) -> None:
        if name:
            self._read_again(model=True)
            self._note(f"The token of {name} is kept by the hub's library.")

    def action_columns(self) -> None:
        """Say by hand what the rows are."""
        self.query_one(DataStep).map_columns()

    def action_mix(self) -> None:
        """Choose what is held out and mixed in."""
        self._reread_now()
        self.query_one(DataStep).mix_rows()

    def action_leave(self) -> None:
        """Leave the field; with no field to leave, the wizard."""
        if isinstance(self.focused, Input):
            self.step.focus(scroll_visible=False)
            return
        self._keeper.save_now()
        if self.draft.edited:
            self.app.notify("The draft is kept: New opens it again.")
        self.leave_wizard()

    def leave_wizard(self) -> None:
        """Back to the list of runs."""
        self.dismiss()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Save and launch belong to the review; there is nothing before the first step and after the last."""
        del parameters
        if action in ("save", "launch", "measure"):
            return self.draft.step == REVIEW
        if action in ("look_at_code", "hub_token"):
            return self.draft.step == MODEL
        if action == "browse":
            return self.draft.step in (MODEL, DATA)
        if action in ("columns", "mix"):
            return self.draft.step == DATA
        return {"next_step": self.draft.step != REVIEW, "previous_step": self.draft.step != 0}.get(action, True)

    # Typing

    def on_typed(self, message: Typed) -> None:
        """Take down what was typed; what follows from it is worked out when the keys rest for a moment."""
        if not self.draft.type(message.path, message.text):
            return
        self._keeper.save_soon()
        self._reread_soon()
        self.query_one(ModelStep).draft_changed()
        self.query_one(DataStep).draft_changed()

    def on_facts_changed(self) -> None:
        """Something was found out."""
        self._reread_soon()

    def _reread_soon(self) -> None:
        if self._reread_timer is None:
            self._reread_timer = self.set_timer(REREAD_PAUSE, self._reread)

    def _reread_now(self) -> None:
        """Take what was typed into account before something is done with it."""
        if self._reread_timer is not None:
            self._reread_timer.stop()
            self._reread()

    def _reread(self) -> None:
        self._reread_timer = None
        self.session.dry_run = ()
        self.session.reread()
        self._refresh()

    def _refresh(self) -> None:
        """Show the open step and the list of steps as things stand."""
        self.step.show()
        self.query_one(DataStep).facts_changed()
        counts, words = self.session.problem_counts(), summaries(self.session)
        self.query_one(StepsList).show(
            [
                StepState(
                    name,
                    STEP_SHORTS[index],
                    words[index],
                    index == self.draft.step,
                    index in self.draft.visited,
                    counts[index],
                )
                for index, name in enumerate(STEP_NAMES)
            ]
        )

    def on_review_step_checked(self) -> None:
        """The dry run may have found problems of other steps; else a launch may follow."""
        self._refresh()
        review = self.query_one(ReviewStep)
        if review.prepared is not None and not self.session.problems() and not self._launching:
            # Resolved, since the device decides the environment a worker must wait in.
            self._warm_up(review.recipe)

    # Files that change while one looks at them

    def _watch_disk(self) -> None:
        # A disk that does not answer holds up one thread, not one more every time.
        if self.is_current and not self._launching and not self._looking:
            self._looking = True
            self._look_at_disk(self.session.recipe)

    @work(thread=True, group="disk", exit_on_error=False)
    def _look_at_disk(self, recipe: Recipe) -> None:
        data, source = recipe.data, recipe.model.source
        names = (data.source, data.held_out, tuple(data.mix), source)
        self.post_message(self.DiskLooked(names, data_stamp(data), model_stamp(source)))

    def on_wizard_screen_disk_looked(self, message: DiskLooked) -> None:
        """Read again what is another file than a moment ago."""
        self._looking = False
        before, self._disk = self._disk, message
        if before is None or before.names != message.names:
            # What was named a moment ago and not found may have come before this first look at it.
            missing = self.session.found
            model = bool(message.model and missing.get("model.source"))
            if model or (message.data and missing.get("data.source")):
                self._read_again(model=model)
            return
        model = before.model != message.model
        if model or before.data != message.data:
            self._read_again(model=model)
            self._note("A file has changed: read again.")

    def _read_again(self, *, model: bool) -> None:
        """Look at the rows, or with `model` at the model too, as if for the first time."""
        if model:
            self.query_one(ModelStep).disk_changed()
        self.query_one(DataStep).disk_changed(model=model)
        self.query_one(ReviewStep).disk_changed()
        self._reread_soon()

    # Keeping the draft

    def on_draft_failed(self, message: DraftFailed) -> None:
        """Say that what is typed is not kept."""
        self._keeper.failed()
        self.app.notify(f"The draft cannot be kept: {message.why}.", severity="warning", markup=False)

    def action_fresh(self) -> None:
        """Begin anew, when that is really meant."""
        question = "Everything set so far is put aside, and an empty recipe is begun."
        self.app.push_screen(
            Confirm("Start afresh?", question, (("fresh", "Start afresh"), ("go", "Go on"))), self._fresh
        )

    def _fresh(self, answer: str | None) -> None:
        if answer != "fresh":
            return
        self._keeper.save_now()
        self._note("A new recipe.")
        self.session.draft = Draft(new_name())
        self.query_one(ReviewStep).saved = ()
        self._reread()
        self.query_one(ModelStep).draft_changed()
        self.query_one(DataStep).draft_changed()
        self._go(0)

    # Saving and launching

    @work(thread=True, exclusive=True, group="warm", exit_on_error=False)
    def _warm_up(self, recipe: Recipe) -> None:
        """While the review is read, a worker imports what the run will need."""
        self._warm.warm_up(recipe)

    def on_unmount(self) -> None:
        """Nobody waits for a launch any more."""
        self._warm.close()

    def _note(self, text: str) -> None:
        self.query_one(Ways).note(text, lasting=self._launching)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """The buttons below the page, and that of the model's code on its step."""
        ways = {
            "way-back": self.action_previous_step,
            "way-next": self.action_next_step,
            "way-save": self.action_save,
            "way-launch": self.action_launch,
            "look-at-code": self.action_look_at_code,
        }
        way = ways.get(event.button.id or "")
        if way is not None:
            event.stop()
            way()

    def action_save(self) -> None:
        """Write the recipe to a file; not while a field holds what would be written as its default instead."""
        self._reread_now()
        unread = sum(map(len, self.session.reading.problems.values()))
        if unread:
            self._note(f"Not saved: {counted(unread, 'field')} cannot be read, see above.")
            return
        recipe = self.query_one(ReviewStep).recipe
        dialog = SaveRecipe(recipe, self.draft.save_path or "recipe.yaml")
        asked = self.session.recipe
        self.app.push_screen(dialog, lambda path: self._saved(path, (recipe, asked)))

    def _saved(self, path: str | None, held: tuple[Recipe, ...]) -> None:
        if path is None:
            return
        self.draft.save_path = path
        self.query_one(ReviewStep).saved = held
        self._note(f"Saved to {path}")
        self._keeper.save_soon()
        self._refresh()

    def action_measure(self) -> None:
        """Measure on the device what the review predicts."""
        self._reread_now()
        self.query_one(ReviewStep).measure()

    def action_launch(self) -> None:
        """Check once more, make the run directory, start the run, and look at it."""
        self._reread_now()
        problems = self.session.problems()
        if self.session.only_the_gate():
            asked = [one for found in problems.values() for one in found]
            self.app.push_screen(
                Confirm("The template gate is not passed", gate_question(asked), _GATE_WAYS), self._override
            )
        elif problems:
            count = sum(map(len, problems.values()))
            self._note(f"{counted(count, 'problem')} in the way: see above.")
            self.query_one(ReviewStep).scroll_home(animate=False)
        elif not self._launching:
            self._launching = True
            self.query_one(Ways).launch.disabled = True
            self._note("Launching …")
            self._launch(self.session.recipe, self.query_one(ReviewStep).known)

    def _override(self, answer: str | None) -> None:
        """Launch despite the gate: the recipe says so from here on, and the run records it."""
        if answer == "override" and self.draft.type("data.template_gate", "override"):
            self._reread()
            self.action_launch()

    @work(thread=True, exclusive=True, group="launch", exit_on_error=False)
    def _launch(self, recipe: Recipe, known: Known) -> None:
        warm = self._warm.hand()
        try:
            run, _ = start_run(recipe, known, warm=warm, queue=True)
        except FtError as error:
            if warm is not None:
                warm.close()
            self.post_message(self.LaunchFailed(error.problems))
        else:
            drop_draft(self.draft)
            self.post_message(self.Launched(run))

    def on_wizard_screen_launched(self, message: Launched) -> None:
        """The run goes on by itself from here; look at it."""
        self.open_run(message.run)

    def open_run(self, run: RunDir) -> None:
        """Show the run."""
        navigator(self).open_dashboard(run)

    def on_wizard_screen_launch_failed(self, message: LaunchFailed) -> None:
        """Show each problem at its field."""
        self._launching = False
        self.query_one(Ways).launch.disabled = False
        self.session.dry_run = message.problems
        self._note("Not launched: see above.")
        self._refresh()
        self.step.scroll_home(animate=False)
