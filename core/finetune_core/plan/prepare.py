"""From a recipe to a plan: everything checked, every value filled, all problems at once. No torch."""

from __future__ import annotations

from dataclasses import replace

from finetune_core.data.templates import AUTO
from finetune_core.errors import FtError, Problem, gather
from finetune_core.hardware.look import Hardware, look
from finetune_core.models.facts import ModelFacts
from finetune_core.models.find import find, hub_forbidden_by
from finetune_core.plan.advice.advice import situation
from finetune_core.plan.advice.float16 import overflow, without_bfloat16
from finetune_core.plan.advice.remedies import disk_problem
from finetune_core.plan.advice.targets import dropout_on_experts, targets_in_files
from finetune_core.plan.describe import what_is_known
from finetune_core.plan.memory.attention import packing_problem
from finetune_core.plan.resolve import Resolved, completed, resolve
from finetune_core.plan.rows import ROW_FIELDS, count_rows, open_files
from finetune_core.plan.situation import Situation, TokenCount
from finetune_core.plan.tokenizer import tokenizer_problems
from finetune_core.recipe.check import check
from finetune_core.recipe.read_recipe import Given
from finetune_core.recipe.schema import Recipe
from finetune_core.text import one_line, plural

_MODEL_FIELDS = ("model.source", "model.revision")
_DEVICE_FIELDS = ("hardware.device", "hardware.gpus")


def prepare(
    recipe: Recipe | Given,
    *,
    counted: TokenCount | None = None,
    hardware: Hardware | None = None,
    to_run: bool = True,
) -> Resolved:
    """Check the recipe against machine, model and data, and fill what is on auto.

    `counted` are the rows in tokens, and `hardware` a look at the machine, where the caller has them already. Where
    nothing is `to_run`, a model may be out of reach whose shapes are known: that is a warning then.
    Raises FtError with all problems found, those of reading it included; of fields that could not be read, nothing
    more is asked.
    """
    given = recipe if isinstance(recipe, Given) else Given(recipe)
    problems: list[Problem] = []
    gathered = _gathered(given, problems, counted, hardware, to_run=to_run)
    if given.problems or problems or gathered is None:
        raise FtError([*given.problems, *given.placed(problems)])
    now, warnings = gathered
    found = completed(resolve(now.recipe, now.hardware, now.model, now.data), warnings)
    if counted is not None and found.counted and not counted.train.kept(found.recipe.data.max_length):
        raise FtError(given.placed([nothing_trained(found.recipe, len(counted.train.lengths))]))
    return replace(found, warnings=given.placed(found.warnings))


def _gathered(
    given: Given, problems: list[Problem], counted: TokenCount | None, hardware: Hardware | None, *, to_run: bool
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
        data = gather(problems, lambda: count_rows(recipe, counted))
    else:
        problems += open_files(recipe.data, broken)
    asked = model or ModelFacts(source=recipe.model.source, kind="hub")
    before = None
    if broken.isdisjoint(_DEVICE_FIELDS):
        before = gather(problems, lambda: situation(recipe, machine, asked, data[0] if data else None))
    warnings = list(data[1]) if data is not None else []
    if model is not None:
        planned = not to_run and model.hidden is not None and hub_forbidden_by() is not None
        needs_template = data is not None and data[2]
        problems += model_problems(recipe, model, needs_template=needs_template, to_run=not planned)
        problems += tokenizer_problems(model)
        if planned and model.kind == "hub":
            warnings.append(_planned_only(model))
    if before is not None:
        problems += _device_problems(before)
        if (disk := disk_problem(before)) is not None:
            (warnings if machine.elsewhere else problems).append(disk)
    return None if before is None or data is None else (before, tuple(warnings))


def nothing_trained(recipe: Recipe, rows: int) -> Problem:
    """That not one of the training rows holds a token with a loss, where they are cut."""
    return Problem(
        "no row holds a token to train on",
        where=recipe.data.source,
        why=f"the loss is taken on `{recipe.data.train_on}`, rows are cut at {recipe.data.max_length} tokens, and"
        f" {rows} {plural(rows, 'row has', 'rows have')} nothing trained within that",
        remedy="raise data.max_length, look at the rows in the preview, or set data.train_on to all",
    )


def model_problems(recipe: Recipe, model: ModelFacts, *, needs_template: bool, to_run: bool = True) -> list[Problem]:
    """Why this model cannot be trained as the recipe says; what is not known of it is no problem.

    Where nothing is `to_run`, its weights may be out of reach.
    """
    if model.problem is not None:
        return [model.problem]
    found = []
    if to_run and model.kind == "hub" and (forbidden := hub_forbidden_by()) is not None:
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
    found += filter(None, [dropout_on_experts(recipe, model), _no_router(recipe, model)])
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


def _planned_only(model: ModelFacts) -> Problem:
    forbidden = hub_forbidden_by()
    return Problem(
        what_is_known(model),
        "model.source",
        f"{one_line(model.source, 100)} is not on this machine, and {forbidden} forbids asking the hub for it",
        f"unset {forbidden} to plan by what the hub says of it now, and to train it here",
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


def _no_router(recipe: Recipe, model: ModelFacts) -> Problem | None:
    if not recipe.training.router_loss or not model.model_type or model.experts:
        return None
    return Problem(
        "the model has no experts to use evenly",
        "training.router_loss",
        f"{one_line(model.source, 100)} is no mixture of experts",
        "set training.router_loss to 0, or choose a mixture of experts",
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
    slow = without_bfloat16(now)
    if slow is not None and dtype == "bfloat16":
        found.append(
            Problem(
                f"{slow.name} does not compute in bfloat16",
                "model.dtype",
                "bfloat16 needs compute capability 8.0 or newer",
                "set it to auto" if overflow(now.model.model_type) else "set it to auto or float16",
            )
        )
    return found
