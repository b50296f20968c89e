"""Batch size, accumulation and checkpointing: the largest micro-batch that fits, for the effective batch wanted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ft_core.plan.facts import Choice, DataFacts, Situation
from ft_core.plan.memory import MemoryEstimate, estimate, length_of
from ft_core.plan.steps import sequences
from ft_core.recipe.check import with_values
from ft_core.recipe.schema import Recipe
from ft_core.text import memory_text

USUAL_BATCH = 16
_STEPS_PER_EPOCH = 4
# Matrix products of about 2k tokens fill a GPU; beyond these sizes a larger micro-batch only takes memory.
_MOST_TOKENS = {"cuda": 16384, "cpu": 4096}
# Below this, keeping activations saves less than the larger micro-batch that checkpointing allows.
_LEAST_TOKENS = 1024
_MICRO, _ACCUMULATION = "training.micro_batch", "training.accumulation"
_CHECKPOINTING = "training.activation_checkpointing"


# The layout of a step that needs the least memory.
SMALLEST: Final[Mapping[str, object]] = {_MICRO: 1, _CHECKPOINTING: True}


@dataclass(frozen=True)
class Trial:
    """One way to lay a step out in memory, and what it needs (None: unknown)."""

    micro_batch: int
    checkpointing: bool
    need: MemoryEstimate | None


def advise_batch(now: Situation) -> list[Choice]:
    """Micro-batch, accumulation and checkpointing where they are on auto."""
    training = now.recipe.training
    gpus = max(1, len(now.gpus))
    batch, why_batch = effective_batch(now.recipe, now.data)
    wanted = max(1, batch // (gpus * (training.accumulation or 1)))
    trial, fits = _best(now, wanted)
    micro = training.micro_batch or trial.micro_batch
    choices = []
    if training.micro_batch is None:
        choices.append(Choice(_MICRO, micro, _micro_reason(now, trial, wanted, fits=fits)))
    if training.activation_checkpointing is None:
        choices.append(
            Choice(_CHECKPOINTING, trial.checkpointing, _checkpointing_reason(now, trial, wanted, fits=fits))
        )
    if training.accumulation is None:
        summed = max(1, round(batch / (micro * gpus)))
        total = summed * micro * gpus
        reason = f"{summed} x {micro} sequences" + (f" x {gpus} GPUs" if gpus > 1 else "")
        choices.append(Choice(_ACCUMULATION, summed, f"{reason} make an effective batch of {total}: {why_batch}"))
    return choices


def effective_batch(recipe: Recipe, data: DataFacts | None) -> tuple[int, str]:
    """Sequences in a step, a power of two, and why.

    16 rows a step is usual; a packed sequence holds several rows, and a small data set needs smaller steps to
    take enough of them.
    """
    if data is None:
        return USUAL_BATCH, f"{USUAL_BATCH} is usual"
    count = sequences(recipe, data)
    rows_each = max(1, data.cut(recipe.data.max_length).rows) / max(1, count)
    usual = max(1, 2 ** round(math.log2(max(1.0, USUAL_BATCH / rows_each))))
    most = 2 ** int(math.log2(max(1, count // _STEPS_PER_EPOCH)))
    packed = f", and a packed sequence holds about {rows_each:.0f} rows" if rows_each >= 1.5 else ""
    if most < usual:
        kind = "packed sequences" if packed else "rows"
        return most, f"with only {count} {kind} smaller steps allow {_STEPS_PER_EPOCH} or more an epoch"
    return usual, f"{USUAL_BATCH} rows a step are usual{packed}"


def _laid_out(recipe: Recipe, micro: int, wanted: int, *, checkpointing: bool) -> Recipe:
    """The recipe with this micro-batch and checkpointing, and on auto the accumulation that makes `wanted` of it.

    Summed micro-batches keep their gradients beside the activations.
    """
    summed = recipe.training.accumulation or max(1, round(wanted / micro))
    return with_values(recipe, {_MICRO: micro, _ACCUMULATION: summed, _CHECKPOINTING: checkpointing})


def _best(now: Situation, wanted: int) -> tuple[Trial, bool]:
    """The fastest layout that fits, else the smallest there is; and whether it fits."""
    trials = _trials(now, wanted)
    for trial in trials:
        if trial.need is not None and trial.need.total <= now.free_memory:
            return trial, True
    return min(trials, key=lambda trial: trial.need.total if trial.need else 0), False


def _trials(now: Situation, wanted: int) -> list[Trial]:
    """Layouts from the fastest to the smallest."""
    training = now.recipe.training
    length = length_of(now.model, now.recipe)
    sizes = [training.micro_batch] if training.micro_batch else _sizes(wanted, _MOST_TOKENS[now.device] // length)
    asked = training.activation_checkpointing
    if estimate(now.model, now.recipe, now.device) is None:
        return [Trial(sizes[-1], True if asked is None else asked, None)]
    enough = min(_LEAST_TOKENS, sizes[0] * length)
    kept = [(size, False) for size in sizes if asked is False or size * length >= enough]
    computed_again = [(size, True) for size in sizes]
    layouts = (kept if asked is not True else []) + (computed_again if asked is not False else [])
    return [Trial(size, again, _need(now, size, wanted, checkpointing=again)) for size, again in layouts]


def _need(now: Situation, size: int, wanted: int, *, checkpointing: bool) -> MemoryEstimate | None:
    return estimate(now.model, _laid_out(now.recipe, size, wanted, checkpointing=checkpointing), now.device)


def _sizes(wanted: int, most: int) -> list[int]:
    """Powers of two from what is wanted (or makes sense) down to 1."""
    top = int(math.log2(max(1, min(wanted, most))))
    return [2**power for power in range(top, -1, -1)]


def _micro_reason(now: Situation, trial: Trial, wanted: int, *, fits: bool) -> str:
    free = f"{memory_text(now.free_memory)} of free {now.memory_name}"
    if trial.need is None:
        return "the smallest, because the shapes of the model are unknown until it is on this machine"
    need = memory_text(trial.need.total)
    if not fits:
        return f"the smallest; even so it needs about {need}, more than {free}"
    if trial.micro_batch >= wanted:
        return f"the whole batch at once needs about {need} of {free}"
    length = length_of(now.model, now.recipe)
    if trial.micro_batch * 2 * length > _MOST_TOKENS[now.device]:
        return f"{trial.micro_batch * length} tokens at once keep the device busy; needs about {need} of {free}"
    return f"the most that fits: needs about {need} of {free}"


def _checkpointing_reason(now: Situation, trial: Trial, wanted: int, *, fits: bool) -> str:
    if trial.need is None:
        return "on, because the shapes of the model are unknown until it is on this machine"
    if not trial.checkpointing:
        return "off: the activations fit into memory, and computing them again would take about 1.4 times the time"
    kept = _need(now, trial.micro_batch, wanted, checkpointing=False)
    need = memory_text(kept.total) if kept else "more memory"
    if fits and kept and kept.total <= now.free_memory:
        return "on: it allows a larger micro-batch, which is faster here"
    return f"on: keeping the activations would need about {need}, and {memory_text(now.free_memory)} are free"
