"""Advice: each field of the recipe that is on auto gets a value and the reason for it, in plain words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePath

from finetune_core.hardware.choose import choose_device
from finetune_core.hardware.look import Hardware
from finetune_core.methods import named
from finetune_core.models.facts import ModelFacts
from finetune_core.plan.advice.adapter import advise_adapter, advise_rate
from finetune_core.plan.advice.base_format import advise_quantisation, advise_weights
from finetune_core.plan.advice.batch import advise_batch
from finetune_core.plan.advice.float16 import float32_reason, without_bfloat16
from finetune_core.plan.advice.lengths import advise_length
from finetune_core.plan.advice.speedups import advise_attention, advise_compiling, advise_packing
from finetune_core.plan.advice.targets import advise_targets
from finetune_core.plan.situation import Choice, DataFacts, Situation
from finetune_core.plan.steps import Steps, count_steps
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import DEMO, Recipe
from finetune_core.text import count_text, memory_text

__all__ = ["Choice", "DataFacts", "Situation", "advise", "advised", "apply", "situation", "steps_of"]

_MANY_ROWS, _VERY_MANY_ROWS = 5_000, 20_000
_MOST_STEPS_LOST = 500


def advise(recipe: Recipe, hardware: Hardware, model: ModelFacts, data: DataFacts | None) -> tuple[Choice, ...]:
    """A choice for every field on auto; what the user gave is never among them.

    Raises FtError when the recipe asks for a device that is not there.
    """
    now = situation(recipe, hardware, model, data)
    made: list[Choice] = []
    for rule in _RULES:
        choices = rule(now)
        if choices:
            made += choices
            now = replace(now, recipe=_filled(now.recipe, choices))
    return tuple(made)


def advised(recipe: Recipe, hardware: Hardware, model: ModelFacts, data: DataFacts | None) -> Recipe:
    """The recipe with every auto value filled and its reason stored. Raises FtError as `advise` does."""
    return apply(recipe, advise(recipe, hardware, model, data))


def apply(recipe: Recipe, choices: Sequence[Choice]) -> Recipe:
    """The recipe with these choices made and their reasons stored."""
    filled = _filled(recipe, choices)
    return filled.model_copy(update={"reasons": {**filled.reasons, **{made.field: made.reason for made in choices}}})


def situation(recipe: Recipe, hardware: Hardware, model: ModelFacts, data: DataFacts | None) -> Situation:
    """What advice is drawn from. Raises FtError when the recipe asks for a device that is not there."""
    device, gpus, reason = choose_device(recipe, hardware)
    return Situation(recipe, hardware, model, data, device, gpus, reason)


def steps_of(now: Situation) -> Steps | None:
    """Steps of the run as far as the data is known."""
    if now.data is None:
        return None
    return count_steps(now.recipe, now.data, len(now.gpus) or 1)


def _filled(recipe: Recipe, choices: Sequence[Choice]) -> Recipe:
    return with_values(recipe, {made.field: made.value for made in choices})


def _device(now: Situation) -> list[Choice]:
    choices = []
    if now.recipe.hardware.device == "auto":
        choices.append(Choice("hardware.device", now.device, now.device_reason))
    if now.gpus and not now.recipe.hardware.gpus and not now.hardware.elsewhere:
        choices.append(Choice("hardware.gpus", [gpu.uuid for gpu in now.gpus], now.device_reason))
    return choices


def _dtype(now: Situation) -> list[Choice]:
    if now.recipe.model.dtype != "auto":
        return []
    value, reason = _gpu_dtype(now) if now.device == "cuda" else _cpu_dtype(now)
    return [Choice("model.dtype", value, reason)]


def _gpu_dtype(now: Situation) -> tuple[str, str]:
    gpu = without_bfloat16(now) or now.gpus[0]
    capability = "unknown" if gpu.compute_capability is None else "{}.{}".format(*gpu.compute_capability)
    if gpu.bf16:
        return "bfloat16", f"{gpu.name} computes in it (compute capability {capability})"
    if wide := float32_reason(now, gpu):
        return "float32", wide
    return (
        "float16",
        f"{gpu.name} does not compute in bfloat16, which needs compute capability 8.0 (it has {capability})",
    )


def _cpu_dtype(now: Situation) -> tuple[str, str]:
    parameters, memory = now.model.parameters, now.hardware.host.memory_total
    if parameters is None:
        return "bfloat16", "the size of the model is unknown until it is on this machine; 16 bits need half the memory"
    if 4 * parameters > memory / 3:
        return (
            "bfloat16",
            f"in float32 the weights alone would take {memory_text(4 * parameters)} of {memory_text(memory)}",
        )
    return "float32", "the fastest on most CPUs, and the model is small against the memory"


def _method(now: Situation) -> list[Choice]:
    if now.recipe.training.method != "auto":
        return []
    found = now.data.method if now.data is not None else None
    method = named(found or "auto")
    reason = f"the rows are {method.rows}" if found else "usual while the rows are unknown"
    return [Choice("training.method", method.name, reason)]


def _epochs(now: Situation) -> list[Choice]:
    training = now.recipe.training
    if training.epochs is not None or training.max_steps is not None:
        return []
    if now.data is None:
        return [Choice("training.epochs", 3.0, "usual while the number of rows is unknown")]
    rows = now.data.rows
    value = 3.0 if rows < _MANY_ROWS else 2.0 if rows < _VERY_MANY_ROWS else 1.0
    words = "few enough to be seen three times" if value == 3 else "twice is enough" if value == 2 else "once is enough"
    return [Choice("training.epochs", value, f"{count_text(rows)} rows: {words}")]


def _every_steps(now: Situation) -> list[Choice]:
    steps = steps_of(now)
    total = steps.total if steps else now.recipe.training.max_steps
    choices = []
    for field, share, cap, words in (
        ("samples.every_steps", 10, _MOST_STEPS_LOST, "ten looks at its answers"),
        ("evaluation.every_steps", 10, _MOST_STEPS_LOST, "ten points of held-out loss"),
        ("saving.every_steps", 5, _MOST_STEPS_LOST, "five checkpoints"),
    ):
        if now.recipe.get(field) is not None:
            continue
        if total is None:
            choices.append(Choice(field, 50, "usual while the number of steps is unknown"))
        elif math.ceil(total / share) > cap:
            choices.append(Choice(field, cap, f"of about {count_text(total)} steps, no more than {cap} apart"))
        else:
            choices.append(Choice(field, max(1, math.ceil(total / share)), f"{words} in about {total} steps"))
    return choices


def _name(now: Situation) -> list[Choice]:
    if now.recipe.output.name is not None:
        return []
    model, data = _slug(now.recipe.model.source), _slug(now.recipe.data.source)
    name = DEMO if model == data == DEMO else "-".join(part for part in (model, data) if part)
    return [Choice("output.name", name or "run", "from the names of model and data")]


def _slug(source: str) -> str:
    last = PurePath(source).name
    stem = re.sub(r"\.(jsonl|json)$", "", last, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9.]+", "-", stem.lower())[:32].strip("-.")


_RULES: tuple[Callable[[Situation], list[Choice]], ...] = (
    _device, _dtype, _method, advise_targets, _epochs, advise_length, advise_packing, advise_adapter,
    advise_quantisation, advise_weights, advise_attention, advise_batch, advise_rate, advise_compiling,
    _every_steps, _name,
)  # fmt: skip
