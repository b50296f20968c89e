"""Batch size, accumulation and checkpointing: the largest micro-batch that fits, for the effective batch wanted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from finetune_core.plan.advice.margin import margin_of, unmeasured
from finetune_core.plan.memory.estimate import MemoryEstimate, estimate, length_of
from finetune_core.plan.situation import Choice, DataFacts, Situation
from finetune_core.plan.steps import sequences
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.text import counted, memory_text

USUAL_BATCH = 16
_STEPS_PER_EPOCH = 4
# Matrix products of about 2k tokens fill a GPU; beyond these sizes a larger micro-batch only takes memory.
_MOST_TOKENS = {"cuda": 16384, "cpu": 4096}
# Of so many, a step of small micro-batches takes little longer than one of large ones.
_BUSY_TOKENS = 2048
# Below this, keeping activations saves less than the larger micro-batch that checkpointing allows.
_LEAST_TOKENS = 1024
_MICRO, _ACCUMULATION = "training.micro_batch", "training.accumulation"
_CHECKPOINTING = "training.activation_checkpointing"


# The layout of a step that needs the least memory.
SMALLEST: Final[Mapping[str, object]] = {_MICRO: 1, _CHECKPOINTING: True}


@dataclass(frozen=True)
class Trial:
    """One way to lay a step out in memory, and what it needs (None: unknown); `margin` are bytes it should leave free.

    `usual` says that the accumulation is the one that makes the effective batch wanted.
    """

    micro_batch: int
    accumulation: int
    checkpointing: bool
    need: MemoryEstimate | None
    margin: int = 0
    usual: bool = True

    def fits(self, free: int) -> bool:
        """Whether it needs no more than `free` bytes."""
        return self.need is not None and self.need.total <= free

    def has_room(self, free: int) -> bool:
        """Whether it leaves its margin of `free` bytes as well."""
        return self.fits(free - self.margin)


def advise_batch(now: Situation) -> list[Choice]:
    """Micro-batch, accumulation and checkpointing where they are on auto."""
    training = now.recipe.training
    gpus = max(1, len(now.gpus))
    batch, why_batch = effective_batch(now.recipe, now.data)
    wanted = max(1, batch // (gpus * (training.accumulation or 1)))
    trial = _best(now, wanted)
    choices = []
    if training.micro_batch is None:
        choices.append(Choice(_MICRO, trial.micro_batch, _micro_reason(now, trial, wanted)))
    if training.activation_checkpointing is None:
        choices.append(Choice(_CHECKPOINTING, trial.checkpointing, _checkpointing_reason(now, trial, wanted)))
    if training.accumulation is None:
        reason = f"{trial.accumulation} x {trial.micro_batch} sequences" + (f" x {gpus} GPUs" if gpus > 1 else "")
        total = trial.accumulation * trial.micro_batch * gpus
        why = why_batch
        if not trial.usual:
            why = f"{batch} would be usual, but gradients that are summed need room of their own"
        choices.append(Choice(_ACCUMULATION, trial.accumulation, f"{reason} make an effective batch of {total}: {why}"))
    return choices


def smallest(now: Situation) -> dict[str, object]:
    """The layout that needs the least memory, as far as the user has not chosen another, with its accumulation."""
    training = now.recipe.training
    batch, _ = effective_batch(now.recipe, now.data)
    summed = _summed(now.recipe, training.micro_batch or 1, max(1, batch // max(1, len(now.gpus))))
    values = {**SMALLEST, _ACCUMULATION: summed}
    return {field: value for field, value in values.items() if now.recipe.get(field) is None}


def busy(now: Situation) -> dict[str, object]:
    """The layout that needs the least memory of those whose micro-batches keep the device busy, as far as it is free.

    That is 2k tokens or, where that is less, the whole batch.
    """
    batch, _ = effective_batch(now.recipe, now.data)
    wanted = max(1, batch // (max(1, len(now.gpus)) * (now.recipe.training.accumulation or 1)))
    enough = math.ceil(_BUSY_TOKENS / length_of(now.model, now.recipe))
    micro = 2 ** math.ceil(math.log2(enough)) if enough < wanted else wanted
    values = {_MICRO: micro, _ACCUMULATION: _summed(now.recipe, micro, wanted), _CHECKPOINTING: True}
    return {field: value for field, value in values.items() if now.recipe.get(field) is None}


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


def _summed(recipe: Recipe, micro: int, wanted: int) -> int:
    """The accumulation that makes a batch of `wanted` sequences, unless the user has set another."""
    return recipe.training.accumulation or max(1, round(wanted / micro))


def _best(now: Situation, wanted: int) -> Trial:
    """The fastest layout that leaves its margin free; else the smallest there is, whether or not it fits."""
    trials = _trials(now, wanted)
    free = now.free_memory
    with_room = next((trial for trial in trials if trial.has_room(free)), None)
    if with_room is not None:
        return with_room
    least = min(trials, key=lambda trial: trial.need.total if trial.need else 0)
    if least.need is None or least.fits(free) or now.recipe.training.accumulation is not None:
        return least
    # Gradients that are summed stay in memory: where that is what is too much, a smaller batch is better than no run.
    alone = _trial(now, least.micro_batch, 1, checkpointing=least.checkpointing, usual=least.accumulation == 1)
    return alone if alone.fits(free) else least


def _trials(now: Situation, wanted: int) -> list[Trial]:
    """Layouts from the fastest to the smallest."""
    training = now.recipe.training
    length = length_of(now.model, now.recipe)
    sizes = [training.micro_batch] if training.micro_batch else _sizes(wanted, _MOST_TOKENS[now.device] // length)
    asked = training.activation_checkpointing
    if estimate(now.model, now.recipe, now.device) is None:
        again = True if asked is None else asked
        return [Trial(sizes[-1], _summed(now.recipe, sizes[-1], wanted), again, None)]
    enough = min(_LEAST_TOKENS, sizes[0] * length)
    kept = [(size, False) for size in sizes if asked is False or size * length >= enough]
    computed_again = [(size, True) for size in sizes]
    layouts = (kept if asked is not True else []) + (computed_again if asked is not False else [])
    return [_trial(now, size, _summed(now.recipe, size, wanted), checkpointing=again) for size, again in layouts]


def _trial(now: Situation, micro: int, summed: int, *, checkpointing: bool, usual: bool = True) -> Trial:
    """A layout tried with the accumulation it will have: summed micro-batches keep their gradients."""
    recipe = with_values(now.recipe, {_MICRO: micro, _ACCUMULATION: summed, _CHECKPOINTING: checkpointing})
    need = estimate(now.model, recipe, now.device)
    return Trial(micro, summed, checkpointing, need, margin_of(recipe, now.free_memory, now.device), usual)


def _sizes(wanted: int, most: int) -> list[int]:
    """Powers of two from what is wanted (or makes sense) down to 1."""
    top = int(math.log2(max(1, min(wanted, most))))
    return [2**power for power in range(top, -1, -1)]


def _micro_reason(now: Situation, trial: Trial, wanted: int) -> str:
    free = f"{memory_text(now.free_memory)} of free {now.memory_name}"
    if trial.need is None:
        return "the smallest, because the shapes of the model are unknown until it is on this machine"
    need = memory_text(trial.need.total)
    if not trial.fits(now.free_memory):
        return f"the smallest; even so it needs about {need}, more than {free}"
    if not trial.has_room(now.free_memory):
        return f"the smallest; it needs about {need} of {free}, which is tight: {_left(trial)} should stay free"
    if trial.micro_batch >= wanted:
        return f"the whole batch at once needs about {need} of {free}"
    length = length_of(now.model, now.recipe)
    if trial.micro_batch * 2 * length > _MOST_TOKENS[now.device]:
        return f"{trial.micro_batch * length} tokens at once keep the device busy; needs about {need} of {free}"
    return f"the most that fits with {_left(trial)} to stay free: needs about {need} of {free}"


def _checkpointing_reason(now: Situation, trial: Trial, wanted: int) -> str:
    if trial.need is None:
        return "on, because the shapes of the model are unknown until it is on this machine"
    if not trial.checkpointing:
        return (
            f"off: the activations fit with {_left(trial)} to stay free, and computing them again would take about 1.4"
            " times the time"
        )
    single = _trial(now, 1, _summed(now.recipe, 1, wanted), checkpointing=False)
    if single.need is None or single.has_room(now.free_memory):
        return "on: it allows a larger micro-batch, which is faster here"
    kept = next((one for one in reversed(_trials(now, wanted)) if not one.checkpointing), single)
    assert kept.need is not None
    need, free = memory_text(kept.need.total), memory_text(now.free_memory)
    words = f"on: keeping the activations would need about {need}, {counted(kept.micro_batch, 'sequence')} at a time"
    if not kept.fits(now.free_memory):
        return f"{words}, and {free} are free"
    layout = with_values(now.recipe, {_CHECKPOINTING: False})
    why = ": no GPU has confirmed what NF4 needs without checkpointing" if unmeasured(layout, now.device) else ""
    return f"{words}, of {free}, and {_left(kept)} should stay free{why}"


def _left(trial: Trial) -> str:
    return memory_text(trial.margin)
