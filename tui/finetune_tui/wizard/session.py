"""Everything the wizard knows at one moment, and what follows from it. No widgets, no I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from finetune_core.data.shapes.recognise import Shape
from finetune_core.data.tokens.client import Lengths
from finetune_core.errors import FtError, Problem
from finetune_core.hardware.choose import choose_device
from finetune_core.hardware.look import Gpu, Hardware
from finetune_core.methods import used
from finetune_core.models.facts import ModelFacts
from finetune_core.plan.advice.few_rows import rank_warning
from finetune_core.plan.memory.estimate import MemoryEstimate
from finetune_core.plan.resolve import SETTLED_AT_ONCE, Resolved, resolve
from finetune_core.plan.situation import Choice, DataFacts, TokenCount
from finetune_core.plan.steps import Steps
from finetune_core.recipe.fields import AUTO, FieldGuide
from finetune_core.recipe.schema import GUIDES, Data, Recipe
from finetune_tui.widgets.field_form import FieldView
from finetune_tui.wizard.draft import Draft, Reading, by_field, read_draft, shown_text

HARDWARE, MODEL, DATA, SETTINGS, REVIEW = range(5)
STEP_NAMES: Final = ("Hardware", "Model", "Data", "Hyperparameters", "Review")
STEP_SHORTS: Final = ("Hardw.", "Model", "Data", "Hyperp.", "Review")
# Fields with a control of their own on their step; every other field has a row in a form.
SHOWN_APART: Final = frozenset(
    {"hardware.device", "hardware.gpus", "model.source", "quantization.method", "data.source"}
)
_STEP_OF_SECTION: Final = {"hardware": HARDWARE, "model": MODEL, "quantization": MODEL, "data": DATA}


def step_of(path: str) -> int:
    """The step on which a field is shown: the first fields of a section on its own step, all others on the fourth."""
    guide = GUIDES.get(path)
    if path in SHOWN_APART or (guide is not None and guide.level == "first"):
        return _STEP_OF_SECTION.get(path.partition(".")[0], SETTINGS)
    return SETTINGS


def guides_of(step: int, level: str) -> tuple[FieldGuide, ...]:
    """The fields that a step shows in its form."""
    return tuple(
        guide
        for path, guide in GUIDES.items()
        if path not in SHOWN_APART and step_of(path) == step and guide.level == level
    )


# What a count of the rows in tokens depends on.
CountKey = tuple[Path, str, int, Data]


@dataclass
class DataLook:
    """What is known of the data file so far: rows and their number first, the rows in tokens later.

    `lengths` are of the whole file, `counted` of the rows of the recipe `counted_for`, None where they cannot be
    counted: `refused` says why the model cannot be trained on them. `progress` says how far the count is.
    """

    source: str
    shape: Shape | None = None
    facts: DataFacts | None = None
    lengths: Lengths | None = None
    counted: TokenCount | None = None
    counted_for: CountKey | None = None
    refused: tuple[Problem, ...] = ()
    progress: str = ""
    problems: tuple[Problem, ...] = ()


@dataclass
class Session:
    """The draft, what was found out about this machine, model and data, and everything that follows from these."""

    draft: Draft
    hardware: Hardware | None = None
    model: ModelFacts | None = None
    data: DataLook | None = None
    found: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    dry_run: tuple[Problem, ...] = ()
    reading: Reading = field(init=False)
    choices: dict[str, Choice] = field(default_factory=dict)
    resolved: Recipe = field(init=False)
    device: str = "cpu"
    gpus: tuple[Gpu, ...] = ()
    device_reason: str = ""
    steps: Steps | None = None
    memory: MemoryEstimate | None = None
    found_out: Resolved | None = None

    def __post_init__(self) -> None:
        self.reread()

    @property
    def recipe(self) -> Recipe:
        """What was typed, as a recipe; automatic values are still open."""
        return self.reading.recipe

    def reread(self) -> None:
        """Work out everything anew. Microseconds to a few milliseconds: it runs as one types."""
        self.reading = read_draft(self.draft)
        self.resolved, self.choices, self.steps, self.memory = self.recipe, {}, None, None
        self.found_out = None
        if self.hardware is None:
            return
        self._choose_device(self.hardware)
        self._advise(self.hardware)

    def _choose_device(self, hardware: Hardware) -> None:
        for path in ("hardware.device", "hardware.gpus"):
            self.found.pop(path, None)
        try:
            self.device, self.gpus, self.device_reason = choose_device(self.recipe, hardware)
        except FtError as error:
            self.found.update(by_field(error.problems))

    def _advise(self, hardware: Hardware) -> None:
        if self.model is None or self.found.get("hardware.device") or self.found.get("hardware.gpus"):
            return
        try:
            found = resolve(self.recipe, hardware, self.model, self._facts())
        except FtError:
            # A path that cannot be followed: the dry run says so at its field.
            return
        if self.counting:
            # What follows from the tokens would be another value a moment later.
            self.choices = {one.field: one for one in found.choices if one.field in SETTLED_AT_ONCE}
            self.resolved = found.to_launch
            return
        self.found_out = found
        self.choices = {choice.field: choice for choice in found.choices}
        self.resolved, self.memory, self.steps = found.recipe, found.memory, found.steps

    def _facts(self) -> DataFacts | None:
        facts = self.data.facts if self.data is not None else None
        return facts.with_count(self.counted) if facts is not None and self.counted is not None else facts

    @property
    def count_key(self) -> CountKey | None:
        """What the rows in tokens depend on; None where they cannot be counted now: no tokenizer here, or no rows."""
        look, model, recipe = self.data, self.model, self.recipe
        if look is None or look.shape is None or look.problems or model is None:
            return None
        if model.path is None or model.problem is not None:
            return None
        free = {"max_length": None, "packing": "auto", "template_gate": "enforce"}
        return model.path, recipe.model.chat_template, recipe.training.seed, recipe.data.model_copy(update=free)

    @property
    def counted(self) -> TokenCount | None:
        """The rows in tokens, where they are counted for the recipe as it stands."""
        look = self.data
        return look.counted if look is not None and look.counted_for == self.count_key else None

    @property
    def counting(self) -> str:
        """How far the rows are counted in tokens, in words; empty where that is done, or cannot be done now.

        While model or rows are still looked at, nobody knows whether they can be counted.
        """
        look = self.data
        if look is None or (look.shape is None and not look.problems):
            return "Reading rows …"
        if self.model is None and not self.found.get("model.source"):
            return "Looking at the model …"
        key = self.count_key
        if key is None or look.counted_for == key:
            return ""
        return f"Counting tokens … {look.progress}".rstrip()

    @property
    def basis(self) -> str:
        """What the memory is reckoned for where the rows are not counted; else empty."""
        found = self.found_out
        return "" if found is None or found.counted else f"for {found.basis}"

    def token_lengths(self) -> tuple[int, ...] | None:
        """Tokens of each training row, once they are counted."""
        return self.counted.train.lengths if self.counted is not None else None

    def device_memory(self) -> tuple[str, int, int]:
        """Device in words, its memory and what of it is free, in bytes."""
        if self.device == "cuda" and self.gpus:
            gpu = min(self.gpus, key=lambda one: one.memory_free)
            return f"GPU {gpu.index}", gpu.memory_total, gpu.memory_free
        if self.hardware is None:
            return "the CPU", 0, 0
        host = self.hardware.host
        return "the CPU", host.memory_total, host.memory_available

    def problems(self) -> dict[str, tuple[Problem, ...]]:
        """All problems by the field they belong to; what belongs to no field stands under its own place."""
        data = self.data.problems if self.data is not None else ()
        every = [
            *((path, one) for path, found in self.reading.problems.items() for one in found),
            *((path, one) for path, found in self.found.items() for one in found),
            *(("data.source", one) for one in data),
            *((self._place(one), one) for one in self._refused()),
            *((one.where, one) for one in self._gate_problems()),
            *((self._place(one), one) for one in self.dry_run),
        ]
        merged: dict[str, tuple[Problem, ...]] = {}
        for path, one in every:
            known = merged.get(path, ())
            if not any(one.what == other.what for other in known):
                merged[path] = (*known, one)
        return merged

    def only_the_gate(self) -> bool:
        """Whether nothing but the template gate keeps the run from being started."""
        gate = self._gate_problems()
        return bool(gate) and sum(map(len, self.problems().values())) == len(gate)

    def _refused(self) -> tuple[Problem, ...]:
        """Why this model cannot be trained on these rows, where their count met it: the run would refuse them too."""
        look = self.data
        return look.refused if look is not None and look.counted_for == self.count_key else ()

    def _gate_problems(self) -> tuple[Problem, ...]:
        """Why the chat template keeps this run from being started."""
        lengths = self.data.lengths if self.data is not None else None
        if lengths is None or lengths.gate is None or self.recipe.data.template_gate == "override":
            return ()
        return lengths.gate.problems()

    def _place(self, problem: Problem) -> str:
        """The field a problem of a file belongs to."""
        if problem.where in GUIDES:
            return problem.where
        for path in (path for path, guide in GUIDES.items() if guide.names_file):
            value = self.recipe.get(path)
            named = value if isinstance(value, str) else ""
            name = named.rstrip("/").rpartition("/")[2]
            if name and (named in problem.where or problem.where.startswith(name)):
                return path
        return problem.where

    def problem_counts(self) -> list[int]:
        """How many problems each step has."""
        counts = [0] * len(STEP_NAMES)
        for path, found in self.problems().items():
            counts[step_of(path) if path in GUIDES else REVIEW] += len(found)
        return counts

    def viewer(self) -> Callable[[FieldGuide], FieldView]:
        """Gives what a form shows beside a field, as things stand now."""
        problems = self.problems()
        return lambda guide: self._view(guide, problems.get(guide.path, ()))

    def _view(self, guide: FieldGuide, problems: tuple[Problem, ...]) -> FieldView:
        path = guide.path
        if not problems and not used(guide, self._method()) and self.recipe.get(path) == guide.default:
            return FieldView("", "", hidden=True)
        warning = self._rank_words() if path == "adapter.rank" else ""
        typed = self.draft.texts.get(path, "").strip()
        choice = self.choices.get(path)
        if choice is not None:
            return FieldView(
                f"auto: {shown_text(path, choice.value)}", choice.reason[:1].upper() + choice.reason[1:], problems
            )
        if self.recipe.get(path) is None and guide.takes_auto:
            when = "when the tokens are counted" if self.counting else "once model and data are known"
            return FieldView("auto", f"Chosen {when}", problems)
        if not typed or self.recipe.get(path) == guide.default:
            return FieldView("default", warning, problems)
        usual = AUTO if guide.takes_auto else shown_text(path, guide.default)
        yours = f"Yours; {'clear it for auto' if usual == 'auto' else f'the default is {usual}'}"
        return FieldView("", f"{yours}. {warning}" if warning else yours, problems)

    def _method(self) -> str | None:
        """The method of training, from the rows or the recipe; None while neither says."""
        facts = self.data.facts if self.data is not None else None
        if facts is not None and facts.method is not None:
            return facts.method
        chosen = self.recipe.training.method
        return None if chosen == AUTO else chosen

    def _rank_words(self) -> str:
        """Why the adapter's rank is too high for the rows; empty when it is not."""
        rows = self.data.facts.rows if self.data is not None and self.data.facts is not None else 0
        found = rank_warning(self.recipe, rows)
        return "" if found is None else f"{found.what[:1].upper()}{found.what[1:]}: {found.why}; {found.remedy}"
