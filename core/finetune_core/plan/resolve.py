"""The one answer to what a recipe comes to: recipe and facts in, values, reasons, steps, memory, speed, warnings out.

Form, review, `plan`, `train` and worker all ask here, so that the same recipe on the same facts is the same run. What
follows from the lengths of the rows is settled once they are counted in tokens; until then those fields are open.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from finetune_core.data.files.hub import HUB
from finetune_core.data.templates import AUTO, SHIPPED
from finetune_core.errors import Problem
from finetune_core.hardware.look import Hardware
from finetune_core.models.facts import ModelFacts
from finetune_core.paths import expanded
from finetune_core.plan.advice.advice import advise, apply, situation, steps_of
from finetune_core.plan.advice.alternatives import Alternative, alternatives
from finetune_core.plan.advice.few_rows import rank_warning, verdict_warning
from finetune_core.plan.advice.float16 import overflow_warning
from finetune_core.plan.advice.lengths import cut_warning
from finetune_core.plan.advice.old_gpus import floor_warning
from finetune_core.plan.advice.remedies import memory_warning, tight_warning
from finetune_core.plan.foreign_code import code_warning
from finetune_core.plan.memory.attention import dropout_warning
from finetune_core.plan.memory.estimate import MemoryEstimate, estimate, length_of
from finetune_core.plan.occupied import occupied_warning
from finetune_core.plan.situation import Choice, DataFacts, RowTokens, Situation
from finetune_core.plan.speed.calibration import remembered
from finetune_core.plan.speed.estimate import Speed, speed
from finetune_core.plan.steps import Steps
from finetune_core.recipe.check import reopened, with_values
from finetune_core.recipe.schema import DEMO, Recipe

# What must stand fast when a run is made: its environment and its name. All else may wait for the rows in tokens.
SETTLED_AT_ONCE: Final = frozenset({"hardware.device", "hardware.gpus", "output.name", "training.method"})
# Code, figures and scripts that a vocabulary hardly knows have as few as 1.6 bytes a token, where 4 are reckoned with.
_DENSE: Final = 2.5
_LATER: Final = "chosen when the rows are counted in tokens"


@dataclass(frozen=True)
class Resolved:
    """A recipe with every value filled, and what is known of its run. `warnings` do not forbid it.

    `choices` are the values that were on auto, and `alternatives` what else fields that decide memory and speed could
    be; `situation` is the recipe with all that it meets. `counted` says that the rows are counted in tokens: values,
    steps and memory are then those of the run. Otherwise they hold for rows like those of a counted sample, or as long
    as the size of their texts says.
    """

    recipe: Recipe
    hardware: Hardware
    model: ModelFacts
    data: DataFacts | None
    steps: Steps | None
    memory: MemoryEstimate | None
    choices: tuple[Choice, ...]
    situation: Situation
    speed: Speed | None = None
    alternatives: Mapping[str, tuple[Alternative, ...]] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()

    @property
    def counted(self) -> bool:
        """Whether values, steps and memory are those of the run."""
        return self.data is not None and self.data.exact

    @property
    def open(self) -> tuple[str, ...]:
        """The fields on auto that are settled, or settled again, by the worker when it has counted the rows."""
        return tuple(choice.field for choice in self.choices if choice.field not in SETTLED_AT_ONCE)

    @property
    def to_launch(self) -> Recipe:
        """The recipe a run is made with: whole, or with those values open, and said to be, that would become others."""
        if self.counted:
            return self.recipe
        opened = reopened(self.recipe, self.open)
        return opened.model_copy(update={"reasons": {**opened.reasons, **dict.fromkeys(self.open, _LATER)}})

    @property
    def basis(self) -> str:
        """What the memory is reckoned for, in words."""
        length = length_of(self.model, self.recipe)
        if self.counted:
            return f"sequences of up to {length} tokens, from the rows counted in tokens"
        given = self.recipe.data.max_length is not None and "data.max_length" not in self.open
        known = self.data is not None and self.data.row_tokens is not None
        how = {
            "sample": ", from a sample of the rows counted in tokens",
            "estimate": ", by the size of the rows' texts",
        }.get(self.tokens_from if known else "", ", while the rows are not counted in tokens")
        return f"sequences of {'' if given or not known else 'up to '}{length} tokens" + ("" if given else how)

    @property
    def tokens_from(self) -> str:
        """Where the tokens of the rows come from: `count`, a `sample` counted, or an `estimate` row by row."""
        if self.data is None or self.data.counted is None:
            return "estimate"
        return "count" if self.counted else "sample"


def resolve(recipe: Recipe, hardware: Hardware, model: ModelFacts, data: DataFacts | None) -> Resolved:
    """The recipe with every auto value filled from the facts, and what follows; `completed` adds what takes longer.

    Paths become absolute, since a run does not live where it was started. Takes milliseconds. Raises FtError when the
    recipe asks for a device that is not there.
    """
    choices = advise(recipe, hardware, model, data)
    filled = _absolute(apply(recipe, choices), model)
    cut = data.cut(filled.data.max_length) if data is not None else None
    now = situation(filled, hardware, model, cut)
    return Resolved(filled, hardware, model, cut, steps_of(now), estimate(model, filled, now.device), choices, now)


def completed(found: Resolved, more: Sequence[Problem] = ()) -> Resolved:
    """The same with speed, alternatives and warnings; `more` warnings are known of its files. Reads a file."""
    now = found.situation
    too_large = memory_warning(now, found.memory)
    if too_large is not None and not found.counted:
        too_large = replace(too_large, why=f"{too_large.why}; reckoned for {found.basis}")
    rows = found.data.rows if found.data is not None else 0
    tokens = found.data.tokens if found.data is not None else None
    held_out = found.data.held_out_rows if found.data is not None else 0
    undropped = dropout_warning(found.recipe, found.model, now.device)
    card = (floor_warning(now), overflow_warning(now), occupied_warning(now))
    room = (too_large, tight_warning(now, found.memory), cut_warning(now))
    own = (code_warning(found.model), *card, *room, rank_warning(found.recipe, rows, tokens), undropped)
    few = verdict_warning(found.recipe, held_out)
    return replace(
        found,
        speed=speed(now, found.steps, remembered(now)),
        alternatives=alternatives(now),
        warnings=tuple(one for one in (*own, *more, few) if one is not None),
    )


def worth_counting(found: Resolved) -> bool:
    """Whether a plan from estimated rows may have rows to cut, or too little memory, where its texts are dense."""
    rows = found.data.row_tokens if found.data is not None else None
    if found.counted or found.data is None or rows is None:
        return False
    lengths = tuple(math.ceil(_DENSE * length) for length in rows.lengths)
    firsts = tuple(math.ceil(_DENSE * first) for first in rows.firsts)
    dense = replace(found.data, counted=None, estimated=RowTokens(lengths, firsts, rows.texts), bound=None)
    again = resolve(reopened(found.recipe, found.open), found.hardware, found.model, dense)
    now = again.situation
    short = memory_warning(now, again.memory) or tight_warning(now, again.memory)
    return short is not None or cut_warning(now) is not None


def _absolute(recipe: Recipe, model: ModelFacts) -> Recipe:
    values: dict[str, object] = {}
    if model.kind == "folder":
        values["model.source"] = str(model.path)
    for path in ("data.source", "data.held_out"):
        value = recipe.get(path)
        if isinstance(value, str):
            values[path] = _absolute_path(value)
    if recipe.data.mix:
        values["data.mix"] = {_absolute_path(path): share for path, share in recipe.data.mix.items()}
    if recipe.model.chat_template not in {AUTO, *SHIPPED}:
        values["model.chat_template"] = _absolute_path(recipe.model.chat_template)
    return with_values(recipe, values)


def _absolute_path(text: str) -> str:
    return text if text == DEMO or text.startswith(HUB) else str(expanded(text).absolute())
