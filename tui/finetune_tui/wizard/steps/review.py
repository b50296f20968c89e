"""The last step: what will happen, in words and as a file; then save it, or launch it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message
from textual.worker import get_current_worker

from finetune_core.errors import FtError, Problem
from finetune_core.hardware.look import Hardware
from finetune_core.paths import runs_root
from finetune_core.plan.prepare import prepare
from finetune_core.plan.report import packing_gain, packing_words, plan_data
from finetune_core.plan.resolve import Resolved
from finetune_core.plan.situation import TokenCount
from finetune_core.plan.speed.estimate import Speed
from finetune_core.recipe.schema import GUIDES, Recipe
from finetune_core.recipe.yaml_io import dump
from finetune_core.runs.gpu_locks import taken
from finetune_core.runs.start.launch import logout_risk
from finetune_core.runs.start.preflight import preflight
from finetune_core.text import bytes_text, clean, count_text, counted, duration_text, one_line, plural
from finetune_tui.run_words import measured_words
from finetune_tui.start import Known
from finetune_tui.widgets.field_form import problem_words
from finetune_tui.widgets.memory_bar import MemoryBar
from finetune_tui.widgets.words import Words
from finetune_tui.wizard.draft import epochs_text, number_text
from finetune_tui.wizard.session import REVIEW, STEP_NAMES, Session, step_of
from finetune_tui.wizard.step import Step

# A recipe, and its rows in tokens where they are known.
Question = tuple[Recipe, TokenCount | None]


class ReviewStep(Step):
    """A dry run of the recipe, in words; the recipe; the command that does the same."""

    NUMBER: ClassVar[int] = REVIEW
    DEFAULT_CSS = """
    ReviewStep Words { margin-bottom: 1; }
    ReviewStep MemoryBar { margin-bottom: 1; }
    ReviewStep #review-yaml { color: $text-muted; }
    """

    @dataclass
    class Prepared(Message):
        """The dry run is done: a plan, or what stands in its way."""

        asked: Question
        prepared: Resolved | None
        problems: tuple[Problem, ...]
        risks: tuple[Problem, ...]

    @dataclass
    class Measured(Message):
        """How a measurement of this plan goes, or what it found."""

        prepared: Resolved
        words: str
        done: bool = False

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._asked: Question | None = None
        self.prepared: Resolved | None = None
        self._risks: tuple[Problem, ...] = ()
        # What the draft's file holds, once it was saved: with the values chosen by then, and as it was asked for.
        self.saved: tuple[Recipe, ...] = ()

    def parts(self) -> ComposeResult:
        """Words, memory, warnings, command, recipe."""
        yield Words("Checking the recipe …", id="review-words")
        yield Words(id="review-problems")
        yield MemoryBar(id="review-memory")
        yield Words(id="review-measured")
        yield Words(id="review-warnings")
        yield Words(id="review-place")
        yield Words(id="review-command")
        yield Words(id="review-yaml")

    def show(self) -> None:
        """Start a dry run if the recipe is another one than at the last; show what is known."""
        if not self.built or not self.display:
            return
        session = self.session
        asked = (session.recipe, session.counted)
        if self._asked != asked:
            # A plan of another recipe, or without its rows, must be neither shown nor saved while the new one is made.
            self._asked, self.prepared = asked, None
            self._say_measured("")
            self._prepare(asked, session.hardware)
        self._fill()

    def disk_changed(self) -> None:
        """What the plan was made from has changed: it is made anew when it is next looked at."""
        self._asked = self.prepared = None

    @work(thread=True, exclusive=True, group="prepare", exit_on_error=False)
    def _prepare(self, asked: Question, hardware: Hardware | None) -> None:
        recipe, tokens = asked
        risk = logout_risk()
        risks = (risk,) if risk is not None else ()
        try:
            prepared = prepare(recipe, counted=tokens, hardware=hardware)
            self.post_message(self.Prepared(asked, prepared, (), (*risks, *_queueing(prepared.recipe))))
        except FtError as error:
            self.post_message(self.Prepared(asked, None, error.problems, risks))

    def on_review_step_prepared(self, message: Prepared) -> None:
        """Take the result, unless something was changed meanwhile."""
        if message.asked != self._asked:
            return
        self.prepared, self._risks = message.prepared, message.risks
        self.session.dry_run = message.problems
        self._fill()
        self.post_message(self.Checked())

    def measure(self) -> None:
        """Have a worker prepare everything and measure the longest batch; it stands beside the plan then."""
        if self.prepared is None or self.session.problems():
            self._say_measured("Nothing can be measured before the recipe is complete.")
            return
        if self.session.counting:
            self._say_measured("Nothing can be measured before the tokens are counted.")
            return
        self._say_measured("Measuring: a worker starts …")
        self._measure(self.prepared)

    @work(thread=True, exclusive=True, group="measure", exit_on_error=False)
    def _measure(self, prepared: Resolved) -> None:
        worker = get_current_worker()

        def report(phase: str) -> None:
            self.post_message(self.Measured(prepared, f"Measuring: {phase} …"))

        try:
            found = preflight(prepared.recipe, report, lambda: worker.is_cancelled)
            words = measured_words(plan_data(prepared), found) if found else ""
            self.post_message(self.Measured(prepared, words[:1].upper() + words[1:], done=bool(found)))
        except FtError as error:
            first = error.problems[0]
            self.post_message(self.Measured(prepared, f"Not measured: {first.what}: {first.why}; {first.remedy}"))

    def on_review_step_measured(self, message: Measured) -> None:
        """Show it, unless the plan is another one meanwhile."""
        if message.prepared is self.prepared:
            self._say_measured(message.words)
            if message.done and self._asked is not None:
                # Speed, duration and cost follow from what was measured.
                self._prepare(self._asked, self.session.hardware)

    def _say_measured(self, words: str) -> None:
        if self.built:
            self.query_one("#review-measured", Words).say(clean(words))

    class Checked(Message):
        """The dry run's result is shown; the steps may have other problems now."""

    @property
    def recipe(self) -> Recipe:
        """The recipe that is shown and saved: resolved, but for what waits for the rows in tokens."""
        return self.prepared.to_launch if self.prepared is not None else self.session.recipe

    @property
    def known(self) -> Known:
        """What the plan in view was drawn from, so that the run is drawn from the same."""
        hardware = self.prepared.hardware if self.prepared is not None else self.session.hardware
        return Known(self.session.counted, hardware)

    def _fill(self) -> None:
        problems = self.session.problems()
        ready = self.prepared is not None and not problems
        self.query_one("#review-words", Words).say(
            what_will_happen(self.prepared, self.session.counting)
            if self.prepared is not None and ready
            else self._not_ready()
        )
        self.query_one("#review-problems", Words).say(problems_by_step(problems))
        self._show_memory()
        self._show_warnings()
        self.query_one("#review-place", Words).say(self._place_words())
        self.query_one("#review-command", Words).say(self._command_words())
        self.query_one("#review-yaml", Words).say(dump(self.recipe))

    def _not_ready(self) -> str:
        return "" if self.session.problems() else "Checking the recipe …"

    def _show_memory(self) -> None:
        name, total, free = self.session.device_memory()
        found = self.prepared if self.prepared is not None else self.session.found_out
        counting = self.session.counting
        need = found.memory if found is not None and not counting else None
        basis = f"for {found.basis}" if found is not None and not found.counted else ""
        unknown = f"Memory: {counting}" if counting else "The memory cannot be estimated yet."
        self.query_one(MemoryBar).show_need(need, name, total, free, unknown, basis=basis)

    def _show_warnings(self) -> None:
        warnings = list(self.prepared.warnings) if self.prepared is not None else []
        if self.session.counting:
            # What the memory lacks is known when the tokens are.
            warnings = [one for one in warnings if one.where not in {"hardware.gpus", "hardware.device"}]
        warnings += [risk for risk in self._risks if risk not in warnings]
        lines = [f"{one.where.rpartition('/')[2]}: {one.what}: {one.why}\n  {one.remedy}" for one in warnings]
        text = "\n".join(f"! {line}" for line in lines)
        self.query_one("#review-warnings", Words).say(Content(clean(text)).stylize("$text-warning"))

    def _place_words(self) -> Content:
        hardware = self.session.hardware
        free = f"  {bytes_text(hardware.host.disk_free)} free there." if hardware is not None else ""
        return Content.assemble(("Written to  ", "bold"), clean(one_line(f"{runs_root()}/", 300)), free)

    def _command_words(self) -> Content:
        path = self.session.draft.save_path or "recipe.yaml"
        # A file with open values comes to the plan in view as well: `train` chooses them as this page does.
        held = self.recipe in self.saved or self.session.recipe in self.saved
        note = "" if held else "  (after s has saved it)"
        return Content.assemble(("As a command  ", "bold"), f"ft-tui train {clean(shlex.quote(path))}", note)


def what_will_happen(prepared: Resolved, counting: str = "") -> Content:
    """The run in a few sentences; while `counting` says how far the tokens are counted, none that follows from them."""
    recipe, model = prepared.recipe, prepared.model
    size = f", {count_text(model.parameters)} parameters" if model.parameters else ""
    method = "every weight" if recipe.adapter.kind == "none" else "LoRA"
    head = f"{size}, {method if counting else _method(recipe)}, {_device(prepared)}.\n"
    parts: list[str | tuple[str, str]] = ["Tune ", (clean(one_line(model.source, 120)), "bold"), head]  # fmt: skip
    if counting:
        parts.append(f"{counting}\nSteps, batch, memory and time follow from the rows in tokens. A run that is "
                     "launched now counts them itself, before it trains, and comes to the same.\n")  # fmt: skip
    else:
        parts += _numbers(prepared)
    parts.append("Training goes on without this program: leave, close the terminal, come back with ft-tui attach.")
    return Content.assemble(*parts)


def _numbers(prepared: Resolved) -> list[str]:
    """Rows, steps, packing, time: exact where the tokens are counted, else called what they are."""
    recipe, about = prepared.recipe, "" if prepared.counted else "about "
    parts = []
    if prepared.data is not None:
        loss = "the assistant's words" if recipe.data.train_on == "assistant" else "every word"
        apart = prepared.data.held_out_rows
        held = f"; {apart} {plural(apart, 'is', 'are')} held out to measure it by" if apart else ""
        source = clean(one_line(recipe.data.source, 120))
        parts.append(f"It learns {loss} of {about}{counted(prepared.data.rows, 'row')} of {source}{held}.\n")
    if prepared.steps is not None:
        steps, rate = prepared.steps, recipe.training.learning_rate
        # A number that was given is no guess, whatever the rows.
        total = f"{about if recipe.training.max_steps is None else ''}{counted(steps.total, 'step')}"
        more = f", learning rate {number_text(rate)}, {recipe.training.schedule}" if rate is not None else ""
        parts.append(
            f"{total} of {counted(steps.effective_batch, 'sequence')}: {about}{epochs_text(steps.epochs)}{more}.\n"
        )
    if saved := packing_words(packing_gain(prepared)):
        parts.append(f"{saved[0].upper()}{saved[1:]}.\n")
    parts += [f"{line}\n" for line in speed_lines(prepared.speed)]
    if not prepared.counted:
        parts.append(f"{_why_about(prepared)}\n")
    return parts


def _why_about(prepared: Resolved) -> str:
    """Why numbers are no more than about right."""
    if prepared.model.path is None:
        why = "the model is not on this machine, and its tokens cannot be counted yet"
    elif prepared.data is not None and prepared.data.counted is not None:
        why = "of so many rows a sample was counted in tokens"
    else:
        why = "the rows could not be counted in tokens"
    return f"These numbers are reckoned for {prepared.basis}: {why}. The run counts them all before it trains."


def speed_lines(speed: Speed | None) -> list[str]:
    """How long the run takes and what it costs, with its range; nothing where the device's rate is unknown."""
    if speed is None or speed.seconds is None:
        return []
    seconds = speed.seconds
    low, mid, high = (duration_text(value) for value in (seconds.low, seconds.mid, seconds.high))
    cost = (
        f", at a cost of about {speed.cost.mid:.2f} ({speed.cost.low:.2f} to {speed.cost.high:.2f})"
        if speed.cost
        else ""
    )
    energy = f", {speed.energy_kwh.mid:.2g} kWh" if speed.energy_kwh else ""
    rate = f"{speed.tokens_per_s.mid:,.0f} tokens/s"
    return [f"About {mid} ({low} to {high}){cost}{energy}; {rate}, {speed.method}."]


def _method(recipe: Recipe) -> str:
    if recipe.adapter.kind == "none":
        return "every weight"
    base = {"auto": "LoRA", "none": "LoRA", "int8": "LoRA on an int8 base", "nf4": "QLoRA (LoRA on an nf4 base)"}
    return f"{base[recipe.quantization.method]} of rank {recipe.adapter.rank}"


def _device(prepared: Resolved) -> str:
    if prepared.recipe.hardware.device == "cpu" or not prepared.hardware.gpus:
        return "on the CPU"
    named = prepared.recipe.hardware.gpus
    gpus = [gpu for gpu in prepared.hardware.gpus if gpu.uuid in named or str(gpu.index) in named]
    return "on " + ", ".join(
        f"GPU {gpu.index} ({one_line(gpu.name, 40)})" for gpu in gpus or prepared.hardware.gpus[:1]
    )


def problems_by_step(problems: dict[str, tuple[Problem, ...]]) -> Content:
    """Everything that must be put right before the launch, with the step where that is done."""
    if not problems:
        return Content()
    blocks = [Content("Before it can be launched:").stylize("bold")]
    for path, found in problems.items():
        step = step_of(path) if path in GUIDES else REVIEW
        place = f"Step {step + 1}, {STEP_NAMES[step]}, {path}" if path in GUIDES else path
        blocks += [Content(clean(one_line(place, 200))), problem_words(found)]
    return Content("\n").join(blocks)


def _queueing(recipe: Recipe) -> tuple[Problem, ...]:
    """That the run will wait, where another one has its GPU."""
    holder = taken(recipe)
    if holder is None:
        return ()
    found = Problem(
        "the run will be queued: its GPU is taken by another run",
        where="hardware.gpus",
        why=holder,
        remedy="launch it all the same, and it starts when the GPU is free; or choose another GPU in the first step",
    )
    return (found,)
