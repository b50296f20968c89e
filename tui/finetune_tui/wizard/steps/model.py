"""The second step: which model is tuned, and how its base is compressed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

from textual import work
from textual.app import ComposeResult
from textual.containers import HorizontalGroup
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Button, Input
from textual.worker import get_current_worker

from finetune_core.errors import FtError, Problem
from finetune_core.models.catalogue import catalogue
from finetune_core.models.facts import ModelFacts
from finetune_core.models.find import find, hub_forbidden_by, list_models
from finetune_core.models.json_file import CODE
from finetune_core.paths import expanded
from finetune_core.plan.advice.fits import Verdict, order, verdicts
from finetune_core.plan.describe import describe, undescribed
from finetune_core.plan.look_up import not_described
from finetune_core.plan.memory.estimate import estimate
from finetune_core.plan.memory.traced import figures_of, untraced
from finetune_core.recipe.check import with_values
from finetune_core.text import bytes_text, clean, count_text, counted, memory_text, one_line
from finetune_tui.dialogs.file_browser import FileBrowser
from finetune_tui.widgets.choice_row import ChoiceRow
from finetune_tui.widgets.field_form import FieldForm, Typed, problem_words, set_text
from finetune_tui.widgets.memory_bar import MemoryBar
from finetune_tui.widgets.model_table import ModelTable
from finetune_tui.widgets.path_input import PathInput
from finetune_tui.widgets.words import Line, Words
from finetune_tui.wizard.session import MODEL, Session, guides_of
from finetune_tui.wizard.step import FactsChanged, Step

TYPING_PAUSE: Final = 0.3
METHODS: Final = ("none", "int8", "nf4")
CHOICES: Final = ("auto", *METHODS)
METHOD_WORDS: Final = {
    "none": "The weights stay as they are: the fastest steps and the most exact base, for the most memory.",
    "int8": "Half the memory of 16 bits for the frozen base; steps are slower, its answers all but the same.",
    "nf4": (
        "QLoRA: about a quarter of the memory of 16 bits for the frozen base. Steps take about 1.04 times as long with "
        "4096 tokens in a micro-batch, 1.45 times with 512. A little of the base's exactness goes."
    ),
}
# Device, its free memory in units of half a gibibyte, and the chosen model.
# The device, half gibibytes that are free on it, whether it computes in bfloat16, and the model that is chosen.
JudgedFor = tuple[str, int, bool, tuple[ModelFacts, ...]]
_ASKING: Final = "Asking the hub what {name} is: its shapes, tokenizer and chat template …"
_AS_A_LLAMA: Final = "The memory is estimated as of a Llama of these shapes."
_TRACING: Final = (
    "No formula knows {name}: until its layers are traced, which takes half a minute, its memory is that of a Llama."
)
_TRACED: Final = "The layers of {name} were traced without weights: the memory is exact to a few percent."


class ModelStep(Step):
    """The models found here, a field for any other, quantisation, and what it all needs in memory."""

    NUMBER: ClassVar[int] = MODEL
    DEFAULT_CSS = """
    ModelStep .line { height: 1; }
    ModelStep .line-label { width: 12; }
    ModelStep #field-model-source { width: 1fr; margin-right: 2; }
    ModelStep #model-problem, ModelStep #quantisation-words { margin-left: 12; }
    ModelStep #quantisation-words { color: $text-muted; }
    ModelStep #look-at-code { margin-left: 12; display: none; }
    ModelStep #model-details { margin: 1 0; }
    ModelStep MemoryBar { margin: 1 0 0 0; }
    ModelStep FieldForm { margin-top: 1; }
    """

    @dataclass
    class Listed(Message):
        """The models of this machine were listed."""

        models: tuple[ModelFacts, ...]

    @dataclass
    class Judged(Message):
        """What of each model fits, in words, and what else is worth offering."""

        judged_for: JudgedFor
        offered: tuple[ModelFacts, ...]
        fits: dict[str, str]

    @dataclass
    class Found(Message):
        """The model named in the recipe was looked at."""

        asked: tuple[str, str | None]
        model: ModelFacts | None
        problems: tuple[Problem, ...]

    @dataclass
    class LookedUp(Message):
        """The model with what was found of it, and in words what that is or why it is not known."""

        asked: tuple[str, str | None]
        model: ModelFacts
        words: str
        failed: bool = False

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._how = Content("")
        self._models: tuple[ModelFacts, ...] = ()
        self._offered: tuple[ModelFacts, ...] = ()
        self._fits: dict[str, str] = {}
        self._judged_for: JudgedFor | None = None
        self._asked: tuple[str, str | None] | None = None
        self._pause: Timer | None = None
        self._looked_at: ModelFacts | None = None
        self._ask_again = False

    def parts(self) -> ComposeResult:
        """A list, a field for anything else, details, quantisation, memory."""
        yield ModelTable(id="models")
        with HorizontalGroup(classes="line"):
            yield Line("or another", classes="line-label")
            yield PathInput(
                self.session.draft.texts.get("model.source", ""),
                placeholder="a folder, or owner/name on the hub",
                suffixes=("/",),
                id="field-model-source",
            )
            yield Button("Browse", id="browse-model", compact=True)
        yield Words(id="model-problem")
        yield Button("Look at its code", id="look-at-code", compact=True)
        yield Words("Looking for models …", id="model-details")
        with HorizontalGroup(classes="line"):
            yield Line("quantise", classes="line-label")
            yield ChoiceRow([(name, name) for name in CHOICES], "auto", id="field-quantization-method")
        yield Words(id="quantisation-words")
        yield Words(id="quantisation-problem")
        yield MemoryBar(id="memory")
        yield Words(id="memory-how")
        yield FieldForm(guides_of(MODEL, "first"), self.session.draft.texts)

    def on_mount(self) -> None:
        """List the models, and look at the chosen one."""
        self._list()
        self.find_model()

    def opened(self) -> None:
        """What the hub refused or could not say is asked again: a licence may be accepted, the network back."""
        if self._ask_again:
            self._asked = None
            self.find_model()

    def first_focus(self) -> Widget:
        """The list."""
        return self.query_one(ModelTable)

    @work(thread=True, exclusive=True, group="models", exit_on_error=False)
    def _list(self) -> None:
        self.post_message(self.Listed(list_models((Path.cwd(),))))

    def on_model_step_listed(self, message: Listed) -> None:
        """Show the list."""
        self._models = message.models
        self._judged_for = None
        self.show()

    def _judge_again(self) -> None:
        """Say of each model whether it fits, when that may be otherwise than at the last time."""
        session = self.session
        if session.hardware is None or not self._models:
            return
        # Free memory of a busy machine changes all the time; half a gibibyte decides little.
        chosen = (session.model,) if session.model is not None else ()
        bfloat16 = all(gpu.bf16 for gpu in session.gpus)
        judged_for = (session.device, session.device_memory()[2] // 2**29, bfloat16, chosen)
        if judged_for != self._judged_for:
            self._judged_for = judged_for
            known = (*self._models, *chosen)
            self._judge(judged_for, session.device_memory()[2], known)

    @work(thread=True, exclusive=True, group="judge", exit_on_error=False)
    def _judge(self, judged_for: JudgedFor, free: int, here: tuple[ModelFacts, ...]) -> None:
        offered, fits = judge(here, free, judged_for[0], bfloat16=judged_for[2])
        self.post_message(self.Judged(judged_for, offered, fits))

    def on_model_step_judged(self, message: Judged) -> None:
        """Show it, unless the device is another one meanwhile."""
        if message.judged_for == self._judged_for:
            self._offered, self._fits = message.offered, message.fits
            self.show()

    def find_model(self) -> None:
        """Look at the model the recipe names, if it is another one than before."""
        model = self.session.recipe.model
        asked = (model.source, model.revision)
        if asked != self._asked:
            self._asked = asked
            self._find(*asked)

    def disk_changed(self) -> None:
        """The model's folder is another one under the same name."""
        self._asked = None
        self.find_model()

    @work(thread=True, exclusive=True, group="model", exit_on_error=False)
    def _find(self, source: str, revision: str | None) -> None:
        try:
            model = find(source, revision)
        except FtError as error:
            self.post_message(self.Found((source, revision), None, error.problems))
        else:
            self.post_message(self.Found((source, revision), model, (model.problem,) if model.problem else ()))
            if undescribed(model):
                self._describe((source, revision), model)
            elif untraced(model):
                self._trace((source, revision), model)

    def _describe(self, asked: tuple[str, str | None], model: ModelFacts) -> None:
        """Have the hub say what this model is, before anything is decided about it."""
        worker = get_current_worker()
        self.post_message(self.LookedUp(asked, model, _ASKING.format(name=one_line(model.source, 100))))
        try:
            described = describe(model, lambda: worker.is_cancelled)
        except FtError as error:
            self.post_message(self.LookedUp(asked, model, not_described(model, error), failed=True))
            return
        if described is None:
            return
        problems = (described.problem,) if described.problem else ()
        self.post_message(self.Found(asked, described, problems))
        if untraced(described):
            self._trace(asked, described)

    def _trace(self, asked: tuple[str, str | None], model: ModelFacts) -> None:
        """Have the layers traced of an architecture that the formula does not know."""
        self.post_message(self.LookedUp(asked, model, _TRACING.format(name=one_line(model.model_type or "", 60))))
        try:
            traced = replace(model, figures=figures_of(model))
        except FtError as error:
            words = f"{error.problems[0].what}: {error.problems[0].why}. {_AS_A_LLAMA}"
            self.post_message(self.LookedUp(asked, model, words, failed=True))
        else:
            self.post_message(self.LookedUp(asked, traced, _TRACED.format(name=one_line(model.model_type or "", 60))))

    def on_model_step_looked_up(self, message: LookedUp) -> None:
        """Take the model with what was found of it, unless another one was named meanwhile."""
        if message.asked == self._asked:
            self.session.model = message.model
            self._ask_again = message.failed and message.model.kind == "hub"
            self._how = Content(clean(message.words)).stylize("$text-warning" if message.failed else "dim")
            self.post_message(FactsChanged())

    def on_model_step_found(self, message: Found) -> None:
        """Take what was found, unless another model was named meanwhile."""
        if message.asked != self._asked:
            return
        self.session.model = message.model
        self._how = Content("")
        self.session.found["model.source"] = message.problems
        self._ask_again = bool(message.problems) and message.model is not None and message.model.kind == "hub"
        self._looked_at = None
        self.post_message(FactsChanged())

    def show(self) -> None:
        """Bring the page up to date."""
        session = self.session
        self._judge_again()
        if not (self.built and self.display):
            return
        self.query_one(ModelTable).show(self._listed(), self._fits, session.recipe.model.source)
        set_text(self.query_one("#field-model-source", PathInput), session.draft.texts.get("model.source", ""))
        problems = session.problems()
        wrong = problems.get("model.source", ())
        self.query_one("#model-problem", Words).say(problem_words(wrong))
        self.query_one("#look-at-code").display = any(one.kind == CODE for one in wrong)
        self._show_details()
        self.query_one("#field-quantization-method", ChoiceRow).show(session.recipe.quantization.method)
        self.query_one("#quantisation-words", Words).say(self._method_words())
        self.query_one("#quantisation-problem", Words).say(problem_words(problems.get("quantization.method", ())))
        self._show_memory()
        self.query_one(FieldForm).show(session.draft.texts, session.viewer())

    def _listed(self) -> tuple[ModelFacts, ...]:
        """The models found here, the chosen one where it is another, and what else is worth offering."""
        chosen = self.session.model
        here = self._models
        if here and chosen is not None and all(model.source != chosen.source for model in here):
            here = (*here[:1], chosen, *here[1:])
        known = {model.source for model in here}
        return (*here, *(model for model in self._offered if model.source not in known))

    def _show_details(self) -> None:
        model = self._looked_at or self.session.model
        if model is None:
            return
        chosen = model.source == self.session.recipe.model.source
        self.query_one("#model-details", Words).say(details(model, chosen=chosen))

    def _method_words(self) -> Content:
        session = self.session
        chosen = session.recipe.quantization.method
        words = METHOD_WORDS.get(chosen) or _on_auto(session)
        figures = self._method_figures()
        return Content(f"{words} {figures}".strip())

    def _method_figures(self) -> str:
        """What the weights of this model take with each method."""
        session = self.session
        if session.model is None:
            return ""
        found = []
        for method in METHODS:
            recipe = with_values(session.resolved, {"quantization.method": method})
            guess = estimate(session.model, recipe, session.device)
            if guess is not None:
                found.append(f"{method} {memory_text(guess.parts['weights'])}")
        return f"Weights of this model: {', '.join(found)}." if found else ""

    def _show_memory(self) -> None:
        session = self.session
        name, total, free = session.device_memory()
        unknown = "The memory is estimated as soon as the model's shapes are known."
        if session.model is not None and session.model.kind == "hub" and session.model.path is None:
            unknown = "The memory can be estimated once the hub has said what this model is: its shapes are not known."
        if session.counting:
            unknown = f"Memory: {session.counting}"
        self.query_one(MemoryBar).show_need(session.memory, name, total, free, unknown, basis=session.basis)
        self.query_one("#memory-how", Words).say(self._how)

    def on_model_table_looked(self, event: ModelTable.Looked) -> None:
        """Details of the model under the cursor."""
        self._looked_at = event.model
        self._show_details()

    def on_model_table_taken(self, event: ModelTable.Taken) -> None:
        """A model was chosen from the list."""
        self.post_message(Typed("model.source", event.model.source))

    def on_input_changed(self, event: Input.Changed) -> None:
        """The draft takes every letter at once; the disk is asked when the typing pauses."""
        if event.input.id == "field-model-source":
            event.stop()
            self.post_message(Typed("model.source", event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes on."""
        event.stop()
        self.screen.focus_next()

    def draft_changed(self) -> None:
        """Something was typed anywhere: look at the model once the typing pauses."""
        if self._pause is not None:
            self._pause.stop()
        self._pause = self.set_timer(TYPING_PAUSE, self.find_model)

    def on_choice_row_chosen(self, event: ChoiceRow.Chosen) -> None:
        """Another quantisation."""
        if event.control.id == "field-quantization-method":
            event.stop()
            self.post_message(Typed("quantization.method", "" if event.value == "auto" else event.value))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Browse."""
        if event.button.id == "browse-model":
            event.stop()
            self.browse()

    def browse(self) -> None:
        """Choose a model's folder."""
        start = expanded(self.session.recipe.model.source)
        folder = start if start.is_absolute() and start.is_dir() else Path.cwd()
        self.app.push_screen(FileBrowser("Choose a model's folder", folder, ("/",), folders=True), self._take_folder)

    def _take_folder(self, chosen: str | None) -> None:
        if chosen is not None:
            self.post_message(Typed("model.source", chosen))
            self.scroll_home(animate=False)


def _on_auto(session: Session) -> str:
    """What is chosen while the form of the base is on auto, and why."""
    reason = session.resolved.reasons.get("quantization.method")
    method = session.resolved.quantization.method
    return f"{method}: {reason}." if reason else "Chosen by what fits, once the model's shapes are known."


def judge(
    here: tuple[ModelFacts, ...], free: int, device: str, *, bfloat16: bool
) -> tuple[tuple[ModelFacts, ...], dict[str, str]]:
    """The models of the catalogue, those that fit best first, and of them and those `here` what fits, in words."""
    offered = catalogue()
    found = {model.source: verdicts(model, free, device, bfloat16=bfloat16) for model in (*offered, *here)}
    best_first = sorted(offered, key=lambda model: order(model, found[model.source], device))
    return tuple(best_first), {source: fits_words(verdict) for source, verdict in found.items()}


def fits_words(found: tuple[Verdict, ...]) -> str:
    """The dearest method that has room, else one that fits tightly, and its longest rows: `LoRA 8k`, `QLoRA ~1k`."""
    names = {"full": "full", "lora": "LoRA", "qlora": "QLoRA"}
    fitting = [one for fit in ("room", "tight") for one in found if one.fit == fit]
    if fitting:
        return f"{names[fitting[0].method]} {fitting[0].words}"
    return "no" if found else ""


def details(model: ModelFacts, *, chosen: bool) -> Content:
    """Everything that is known of a model, in a few lines."""
    head = "Chosen: " if chosen else "Enter takes: "
    name = clean(one_line(model.source, 200))
    if model.problem is not None and chosen:
        return Content.assemble(head, (name, "bold"), ". What is wrong with it stands above.")
    if model.kind == "hub":
        forbidden = hub_forbidden_by()
        why = (
            f"{forbidden} is set, so it cannot be downloaded." if forbidden else "It is downloaded when the run starts."
        )
        known = f" {count_text(model.parameters)} parameters, licence {model.licence}." if model.parameters else ""
        known = f" {_known(model)}." if model.path is not None else known
        gated = " The hub asks for your consent first." if model.gated and model.path is None else ""
        words = f", not on this machine.{known}{gated} {why}"
        return Content.assemble(head, (name, "bold"), words, *_wrong_with(model, chosen=chosen))
    return Content.assemble(head, (name, "bold"), f": {_known(model)}.", *_wrong_with(model, chosen=chosen))


def _wrong_with(model: ModelFacts, *, chosen: bool) -> list[tuple[str, str]]:
    """What is wrong with a model; of the chosen one that stands above."""
    if model.problem is None or chosen:
        return []
    return [(clean(f"\n! {model.problem.what}: {model.problem.why}"), "$text-error")]


def _known(model: ModelFacts) -> str:
    """What is known of a model, in a line."""
    facts = [
        model.architecture,
        f"{count_text(model.parameters)} parameters" if model.parameters else None,
        f"{counted(model.layers, 'layer')} of {model.hidden}" if model.layers and model.hidden else None,
        f"context {model.context} tokens" if model.context else None,
        f"vocabulary {model.vocabulary}" if model.vocabulary else None,
        f"stored as {model.dtype}" if model.dtype else None,
        f"already quantised ({model.quantized})" if model.quantized else None,
        f"{bytes_text(model.size_bytes)} {'to download' if model.kind == 'hub' else 'on disk'}"
        if model.size_bytes
        else None,
        f"licence {model.licence or 'not stated'}",
        {True: "has a chat template", False: "no chat template", None: "chat template unknown"}[
            model.has_chat_template
        ],
        f"tuned on text alone: its {' and '.join(model.senses)} part is out of scope and stays"
        if model.senses
        else None,
    ]
    return one_line(", ".join(fact for fact in facts if fact), 600)
