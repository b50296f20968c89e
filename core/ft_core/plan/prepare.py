"""From a recipe to a plan: everything checked, every value filled, all problems at once. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ft_core.data.hub import HUB
from ft_core.data.templates import AUTO, SHIPPED
from ft_core.errors import FtError, Problem, gather
from ft_core.hardware.look import Hardware, look
from ft_core.models.facts import ModelFacts
from ft_core.models.find import find, hub_forbidden_by
from ft_core.paths import expanded
from ft_core.plan.advice import advise, apply, situation, steps_of
from ft_core.plan.alternatives import Alternative, alternatives
from ft_core.plan.amount import rank_warning
from ft_core.plan.attention import packing_problem
from ft_core.plan.calibration import remembered
from ft_core.plan.facts import Choice, DataFacts, Situation
from ft_core.plan.fit import disk_problem, memory_warning
from ft_core.plan.foreign_code import code_warning
from ft_core.plan.memory import MemoryEstimate, estimate
from ft_core.plan.rows import ROW_FIELDS, count_rows, open_files
from ft_core.plan.speed import Speed, speed
from ft_core.plan.steps import Steps
from ft_core.plan.targets import targets_in_files
from ft_core.recipe.check import check, with_values
from ft_core.recipe.given import Given
from ft_core.recipe.schema import DEMO, Recipe
from ft_core.text import one_line

_MODEL_FIELDS = ("model.source", "model.revision")
_DEVICE_FIELDS = ("hardware.device", "hardware.gpus")


@dataclass(frozen=True)
class Prepared:
    """A recipe ready to run, with what is known of its run. `warnings` do not forbid it.

    `choices` are the values that were on auto, and `alternatives` what else fields that decide memory and speed could
    be; `situation` is the recipe with all that it meets.
    """

    recipe: Recipe
    hardware: Hardware
    model: ModelFacts
    data: DataFacts | None
    steps: Steps | None
    memory: MemoryEstimate | None
    speed: Speed | None
    choices: tuple[Choice, ...]
    alternatives: Mapping[str, tuple[Alternative, ...]]
    situation: Situation
    warnings: tuple[Problem, ...]


def prepare(
    recipe: Recipe | Given, *, lengths: Sequence[int] | None = None, hardware: Hardware | None = None
) -> Prepared:
    """Check the recipe against machine, model and data, and fill what is on auto.

    `lengths` are the token counts of the training rows, and `hardware` a look at the machine, where the caller has
    them already. Paths become absolute, since the run does not live where it was started.
    Raises FtError with all problems found, those of reading it included; of fields that could not be read, nothing
    more is asked.
    """
    given = recipe if isinstance(recipe, Given) else Given(recipe)
    problems: list[Problem] = []
    gathered = _gathered(given, problems, lengths, hardware)
    if given.problems or problems or gathered is None:
        raise FtError([*given.problems, *given.placed(problems)])
    prepared = _prepared(*gathered)
    return replace(prepared, warnings=given.placed(prepared.warnings))


def _gathered(
    given: Given, problems: list[Problem], lengths: Sequence[int] | None, hardware: Hardware | None
) -> tuple[Situation, tuple[Problem, ...]] | None:
    """The situation, and warnings about the data; what forbids the run is put to the problems."""
    recipe, broken = given.recipe, given.broken
    problems += check(recipe, broken)
    machine = hardware or look()
    model = None
    if broken.isdisjoint(_MODEL_FIELDS):
        model = gather(problems, lambda: find(recipe.model.source, recipe.model.revision))
    data = None
    if broken.isdisjoint(ROW_FIELDS):
        data = gather(problems, lambda: count_rows(recipe, lengths))
    else:
        problems += open_files(recipe.data, broken)
    asked = model or ModelFacts(source=recipe.model.source, kind="hub")
    before = None
    if broken.isdisjoint(_DEVICE_FIELDS):
        before = gather(problems, lambda: situation(recipe, machine, asked, data[0] if data else None))
    if model is not None:
        problems += model_problems(recipe, model, needs_template=data is not None and data[2])
    if before is not None:
        problems += [*_device_problems(before), *filter(None, [disk_problem(before)])]
    return None if before is None or data is None else (before, data[1])


def _prepared(before: Situation, warnings: tuple[Problem, ...]) -> Prepared:
    choices = advise(before.recipe, before.hardware, before.model, before.data)
    recipe = _absolute(apply(before.recipe, choices), before.model)
    now = situation(recipe, before.hardware, before.model, before.data)
    memory = estimate(now.model, recipe, now.device)
    rows = now.data.rows if now.data is not None else 0
    more = tuple(filter(None, (code_warning(now.model), memory_warning(now, memory), rank_warning(recipe, rows))))
    return Prepared(
        recipe=recipe,
        hardware=now.hardware,
        model=now.model,
        data=now.data,
        steps=steps_of(now),
        memory=memory,
        speed=speed(now, steps_of(now), remembered(now)),
        choices=choices,
        alternatives=alternatives(now),
        situation=now,
        warnings=(*more, *warnings),
    )


def _absolute(recipe: Recipe, model: ModelFacts) -> Recipe:
    values: dict[str, object] = {}
    if model.kind == "folder":
        values["model.source"] = str(model.path)
    for field in ("data.source", "data.held_out"):
        value = recipe.get(field)
        if isinstance(value, str):
            values[field] = _absolute_path(value)
    if recipe.data.mix:
        values["data.mix"] = {_absolute_path(path): share for path, share in recipe.data.mix.items()}
    if recipe.model.chat_template not in {AUTO, *SHIPPED}:
        values["model.chat_template"] = _absolute_path(recipe.model.chat_template)
    return with_values(recipe, values)


def _absolute_path(text: str) -> str:
    return text if text == DEMO or text.startswith(HUB) else str(expanded(text).absolute())


def model_problems(recipe: Recipe, model: ModelFacts, *, needs_template: bool) -> list[Problem]:
    """Why this model cannot be trained as the recipe says; what is not known of it is no problem."""
    if model.problem is not None:
        return [model.problem]
    found = []
    if model.kind == "hub" and (forbidden := hub_forbidden_by()) is not None:
        found.append(_out_of_reach(model, forbidden))
    if model.quantized is not None and model.quantized != "bitsandbytes":
        found.append(_packed(model))
    elif model.quantized is not None and (recipe.quantization.packed or recipe.adapter.kind == "none"):
        found.append(_packed_already(recipe, model))
    if (unknown := targets_in_files(recipe, model)) is not None:
        found.append(unknown)
    if (unpackable := packing_problem(recipe, model.model_type)) is not None:
        found.append(unpackable)
    if needs_template and model.has_chat_template is False and recipe.model.chat_template == AUTO:
        found.append(_no_template(model))
    if model.context and recipe.data.max_length and recipe.data.max_length > model.context:
        found.append(
            Problem(
                f"rows of {recipe.data.max_length} tokens are longer than the model can read",
                "data.max_length",
                f"its context ends at {model.context} tokens",
                f"set it to {model.context} or less, or to auto",
            )
        )
    return found


def _out_of_reach(model: ModelFacts, forbidden: str) -> Problem:
    return Problem(
        f"{one_line(model.source, 100)} is not on this machine",
        "model.source",
        f"it is not in the cache, and {forbidden} forbids asking the hub for it",
        f"unset {forbidden} to download it, or choose a model from the cache or a folder",
    )


def _packed(model: ModelFacts) -> Problem:
    return Problem(
        f"the weights are packed with {model.quantized}",
        "model.source",
        "that form is made for running a model; adapters are trained on bitsandbytes' forms or on 16 bits",
        "choose the original model, and quantization.method nf4 or int8 if memory is short",
    )


def _packed_already(recipe: Recipe, model: ModelFacts) -> Problem:
    full = recipe.adapter.kind == "none"
    return Problem(
        "a quantised model cannot be tuned whole" if full else "the model is quantised already",
        "adapter.kind" if full else "quantization.method",
        f"its weights are stored with {model.quantized}",
        "set adapter.kind to lora" if full else "set quantization.method to none, or choose the original model",
    )


def _no_template(model: ModelFacts) -> Problem:
    return Problem(
        "the model has no chat template",
        "model.source",
        "the rows are conversations, and without a template nothing says how turns are written for this model",
        f"set model.chat_template to plain (or chatml), choose the instruct version of {model.source}, or rows with "
        "prompt and completion texts",
    )


def _device_problems(now: Situation) -> list[Problem]:
    found = []
    dtype = now.recipe.model.dtype
    if len(now.gpus) > 1:
        found.append(
            Problem(
                f"{len(now.gpus)} GPUs are named",
                "hardware.gpus",
                "this version trains on one GPU",
                "name one of them, or none for the freest",
            )
        )
    if now.device == "cpu" and dtype == "float16":
        found.append(
            Problem(
                "float16 cannot be trained on a CPU",
                "model.dtype",
                "its gradients underflow, and loss scaling exists on GPUs only",
                "set it to auto, float32 or bfloat16",
            )
        )
    slow = next((gpu for gpu in now.gpus if not gpu.bf16), None)
    if slow is not None and dtype == "bfloat16":
        found.append(
            Problem(
                f"{slow.name} does not compute in bfloat16",
                "model.dtype",
                "bfloat16 needs compute capability 8.0 or newer",
                "set it to auto or float16",
            )
        )
    return found
