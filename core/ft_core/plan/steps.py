"""How many steps a run takes."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from ft_core.recipe.schema import Recipe


@dataclass(frozen=True)
class Steps:
    """Optimiser steps of a run. `effective_batch` is in sequences: micro-batch x accumulation x GPUs."""

    rows: int
    effective_batch: int
    per_epoch: int
    total: int
    epochs: float


def count_steps(recipe: Recipe, rows: int, gpus: int = 1, total_tokens: int | None = None) -> Steps:
    """Steps over `rows` training rows, as the trainer will count them (transformers' `set_initial_training_values`).

    With packing the number of sequences is estimated from the tokens; the trainer tells the exact one when it has
    packed them. Fields still on auto count as 1.
    """
    training = recipe.training
    micro, accumulation = training.micro_batch or 1, training.accumulation or 1
    micro_batches = math.ceil(sequences(recipe, rows, total_tokens) / (micro * max(1, gpus)))
    per_epoch = max(1, math.ceil(micro_batches / accumulation))
    total = training.max_steps or math.ceil((training.epochs or 1.0) * per_epoch)
    return Steps(rows, micro * accumulation * max(1, gpus), per_epoch, total, total / per_epoch)


def padded_share(lengths: Sequence[int], rows: int, most: int) -> float:
    """Tokens computed for one that is real when `rows` shuffled rows at a time are padded to their longest.

    `most` is where rows are cut. 1 is no padding at all; packing computes next to none.
    """
    cut = [min(length, most) for length in lengths]
    random.Random(0).shuffle(cut)  # noqa: S311 - an estimate, the same each time
    batches = (cut[start : start + rows] for start in range(0, len(cut), rows))
    return sum(max(batch) * len(batch) for batch in batches) / max(1, sum(cut))


def sequences(recipe: Recipe, rows: int, total_tokens: int | None) -> int:
    """Sequences in an epoch: the rows, or what they fill when packed.

    Best-fit decreasing wastes at most 22 % and with many short rows next to nothing (Johnson 1973).
    """
    length = recipe.data.max_length
    if recipe.data.packing == "none" or not total_tokens or not length:
        return rows
    return min(rows, math.ceil(total_tokens / length))
