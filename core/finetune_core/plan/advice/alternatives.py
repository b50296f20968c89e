"""What else could have been chosen, and what it would cost in memory and time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from finetune_core.plan.advice.lengths import rounded
from finetune_core.plan.memory.estimate import estimate, length_of
from finetune_core.plan.memory.sizes import sizes
from finetune_core.plan.situation import Situation
from finetune_core.plan.speed.estimate import token_seconds
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe

_METHODS = ("none", "int8", "nf4")
_LONGEST, _SHORTEST = 2**17, 256


@dataclass(frozen=True)
class Alternative:
    """Another value of a field: what the run would need and whether that fits; `time` is relative to the choice."""

    value: object
    memory_bytes: int
    fits: bool
    time: float


def alternatives(now: Situation) -> dict[str, tuple[Alternative, ...]]:
    """For a recipe that is filled: other values of the fields that decide memory and speed, by field.

    Everything else stays as it is. Empty where the model's shapes are unknown.
    """
    if sizes(now.model, now.recipe, now.device) is None:
        return {}
    return {field: tuple(_judged(now, field, value) for value in values) for field, values in _others(now)}


def _others(now: Situation) -> Iterator[tuple[str, list[object]]]:
    recipe, training = now.recipe, now.recipe.training
    yield "training.activation_checkpointing", [not (training.activation_checkpointing is not False)]
    micro = training.micro_batch or 1
    yield "training.micro_batch", [value for value in (micro // 2, micro * 2) if value]
    yield "data.max_length", _lengths(now)
    if recipe.adapter.kind == "lora":
        rank = recipe.adapter.rank_or_usual
        yield "adapter.rank", [value for value in (rank // 2, rank * 2) if value]
        if now.model.quantized is None:
            yield "quantization.method", [value for value in _METHODS if value != recipe.quantization.method]


def _lengths(now: Situation) -> list[object]:
    """Half and twice the limit; twice only while some row is longer."""
    length = length_of(now.model, now.recipe)
    rows = now.data.row_tokens if now.data is not None else None
    longer = rows is None or not rows.lengths or max(rows.lengths) > length
    values = [rounded(length // 2), *([rounded(length * 2)] if longer else [])]
    return [value for value in values if _SHORTEST <= value <= (now.model.context or _LONGEST)]


def _judged(now: Situation, field: str, value: object) -> Alternative:
    other = with_values(now.recipe, {field: value})
    need = estimate(now.model, other, now.device)
    assert need is not None
    return Alternative(value, need.total, need.total <= now.free_memory, _time(now, other) / _time(now, now.recipe))


def _time(now: Situation, recipe: Recipe) -> float:
    shape = sizes(now.model, recipe, now.device)
    assert shape is not None
    return token_seconds(replace(now, recipe=recipe), shape)
