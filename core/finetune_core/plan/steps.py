"""How many steps a run takes."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from finetune_core.plan.packing import packed_sequences
from finetune_core.plan.situation import DataFacts
from finetune_core.recipe.schema import Recipe


@dataclass(frozen=True)
class Steps:
    """Optimiser steps of a run over `rows` rows in `sequences` (of several rows each where they are packed).

    `effective_batch` is in sequences: micro-batch x accumulation x GPUs.
    """

    rows: int
    sequences: int
    effective_batch: int
    per_epoch: int
    total: int
    epochs: float


def count_steps(recipe: Recipe, data: DataFacts, gpus: int = 1) -> Steps:
    """Steps over the training rows, as the trainer will count them (transformers' `set_initial_training_values`).

    Exact where the rows were counted in tokens. Fields still on auto count as 1.
    """
    training = recipe.training
    micro, accumulation = training.micro_batch or 1, training.accumulation or 1
    count = sequences(recipe, data)
    micro_batches = math.ceil(count / (micro * max(1, gpus)))
    per_epoch = max(1, math.ceil(micro_batches / accumulation))
    total = training.max_steps or math.ceil((training.epochs or 1.0) * per_epoch)
    rows = data.cut(recipe.data.max_length).rows
    return Steps(rows, count, micro * accumulation * max(1, gpus), per_epoch, total, total / per_epoch)


def padded_share(lengths: Sequence[int], rows: int, most: int) -> float:
    """Tokens computed for one that is real when `rows` shuffled rows at a time are padded to their longest.

    `most` is where rows are cut. 1 is no padding at all; packing computes next to none.
    """
    cut = [min(length, most) for length in lengths]
    random.Random(0).shuffle(cut)  # noqa: S311 - an estimate, the same each time
    batches = (cut[start : start + rows] for start in range(0, len(cut), rows))
    return sum(max(batch) * len(batch) for batch in batches) / max(1, sum(cut))


def sequences(recipe: Recipe, data: DataFacts) -> int:
    """Sequences in an epoch: the rows, or what they fill when packed.

    Where nothing is known of their lengths they are taken to fill their sequences: best-fit decreasing wastes at most
    22 % and with many short rows next to nothing (Johnson 1973).
    """
    length = recipe.data.max_length
    packed = recipe.data.packing != "none"
    rows = data.row_tokens
    if rows is not None and (data.exact or packed):
        if not packed:
            return len(rows.kept(length))
        # Without a limit the longest row is one.
        filled = packed_sequences(rows, length or max(rows.lengths, default=1))
        return filled if data.exact else max(1, data.scaled(filled))
    if not packed or not data.tokens or not length:
        return data.rows
    return min(data.rows, math.ceil(data.tokens / length))
