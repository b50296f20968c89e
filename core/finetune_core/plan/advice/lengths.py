"""The longest row of a run where it is on auto, what of the rows it cuts, and what that loses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from finetune_core.errors import Problem
from finetune_core.plan.advice.batch import smallest
from finetune_core.plan.advice.margin import margin
from finetune_core.plan.memory.estimate import DEFAULT_LENGTH, estimate
from finetune_core.plan.situation import Choice, DataFacts, RowTokens, Situation
from finetune_core.recipe.check import with_values
from finetune_core.text import counted, memory_text, plural

_FIELD: Final = "data.max_length"
_METHOD: Final = "quantization.method"
# The recipe takes no longer rows.
_LONGEST: Final = 2**20
# Kernels work on tiles of 64 or 128 tokens; beyond that a longer sequence only takes memory.
MULTIPLE: Final = 128
_SHORTEST: Final = 256
# Nearly all rows stay whole; the last half percent is often a few runaways that would double every sequence. Where they
# hold more than this share of the tokens they are no runaways.
_COVERED: Final = 0.995
_RUNAWAY_TOKENS: Final = 0.05
# Below this share of rows with something left to train on, a shorter limit is no way to make a run fit.
_LEAST_KEPT: Final = 0.5


@dataclass(frozen=True)
class Cut:
    """What a limit does to `rows` rows.

    `cut` rows are longer and lose their end, `empty` ones have nothing trained before it; `lost` is the share of all
    tokens behind it. Raw text loses nothing: it goes on in a row of its own.
    """

    rows: int
    cut: int
    empty: int
    lost: float


def advise_length(now: Situation) -> list[Choice]:
    """Where rows are cut: not at all, as long as the model reads them and the memory holds them."""
    if now.recipe.data.max_length is not None:
        return []
    value, reason = _length(now)
    return [Choice(_FIELD, value, reason)]


def cut_by(data: DataFacts, most: int) -> Cut | None:
    """What is lost of the rows where they are cut at `most` tokens; None where their lengths are unknown."""
    rows = data.row_tokens
    if rows is None or not rows.lengths:
        return None
    long = [place for place, length in enumerate(rows.lengths) if length > most and not rows.texts[place]]
    empty = sum(rows.lengths[place] > rows.firsts[place] >= most for place in long)
    lost = sum(rows.lengths[place] - most for place in long) / max(1, sum(rows.lengths))
    return Cut(data.rows_whole, data.scaled(len(long)), data.scaled(empty), lost)


def longest_that_fits(now: Situation, changes: Mapping[str, object], below: int) -> int | None:
    """The longest limit below `below` tokens that leaves the margin free in the smallest layout; None where none does.

    `changes` are made to the recipe before.
    """
    free = now.free_memory - margin(now.free_memory)
    low, high = _SHORTEST // MULTIPLE - 1, math.ceil(below / MULTIPLE) - 1
    while low < high:
        middle = (low + high + 1) // 2
        need = _need(now, {**changes, _FIELD: middle * MULTIPLE})
        if need is not None and need <= free:
            low = middle
        else:
            high = middle - 1
    return low * MULTIPLE if low * MULTIPLE >= _SHORTEST else None


def rounded(tokens: int) -> int:
    """The next multiple of 128."""
    return max(1, math.ceil(tokens / MULTIPLE)) * MULTIPLE


def cut_warning(now: Situation) -> Problem | None:
    """How many rows a filled recipe cuts and what is lost with it; None where that is nothing, or a few runaways."""
    most, data = now.recipe.data.max_length, now.data
    found = cut_by(data, most) if most is not None and data is not None else None
    if most is None or data is None or found is None or not found.cut:
        return None
    chosen = _FIELD in now.recipe.reasons
    rows = data.row_tokens
    assert rows is not None
    wanted = min(_wanted(rows.lengths), _context(now))
    if chosen and most >= wanted and most < _context(now) and not found.empty:
        return None
    about = "" if data.exact else "about "
    left_out = (
        ""
        if not found.empty
        else (
            f"; {about}{counted(found.empty, 'row has', 'rows have')} nothing left to train on and"
            f" {plural(found.empty, 'is', 'are')} left out"
        )
    )
    return Problem(
        f"{about}{found.cut:,} of {found.rows:,} rows are longer than {most:,} tokens and lose their end",
        where=_FIELD,
        why=f"{_because(now, most, chosen=chosen)}; that is {_percent(found.lost)} of all tokens{left_out}",
        remedy=_remedy(now, most, rounded(max(rows.lengths))),
    )


def _because(now: Situation, most: int, *, chosen: bool) -> str:
    if most >= _context(now):
        return "the model's context ends there"
    if chosen:
        return f"{memory_text(now.free_memory)} of {now.memory_name} are free, and longer rows do not fit"
    return "the recipe says so"


def _remedy(now: Situation, most: int, longest: int) -> str:
    if most >= _context(now):
        return "split or shorten these rows, or choose a model with a longer context"
    need = _need(now, {_FIELD: longest})
    if need is not None and need > now.free_memory:
        return f"split or shorten these rows; whole, they need about {memory_text(need)} of {now.memory_name}"
    return f"set data.max_length to {min(longest, _context(now))}, which cuts none, or split them"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %" if share >= 0.01 else "less than 1 %"


def _context(now: Situation) -> int:
    return min(now.model.context or _LONGEST, _LONGEST)


def _length(now: Situation) -> tuple[int, str]:
    most, data = _context(now), now.data
    rows = data.row_tokens if data is not None else None
    if data is None or rows is None or not rows.lengths:
        return _unknown(most, data.bound if data is not None else None)
    # Held-out rows are cut at the same limit, and one that loses its answer measures nothing.
    lengths = (*rows.lengths, *(data.counted.held_out.lengths if data.counted is not None else ()))
    wanted = min(_wanted(lengths), most)
    if data.counted is None and data.bound is not None:
        wanted = min(wanted, rounded(data.bound))
    held = _held(now, rows, wanted)
    how = "" if data.counted is not None else ", by the size of the texts"
    longest, found = max(lengths), cut_by(data, held)
    longer = sum(length > held for length in rows.lengths)
    if not longer or found is None:
        return held, f"the longest row has {'' if data.exact else 'about '}{longest} tokens{how}, none is cut"
    about = "" if data.exact else "about "
    words = "are longer and get cut" if found.cut else "are longer and go on in rows of their own"
    why = "the few longest would make every step dearer"
    if held < wanted:
        why = f"with {memory_text(now.free_memory)} free no longer ones fit"
    elif held == most:
        why = "the model's context ends there"
    lost = f", {_percent(found.lost)} of all tokens" if found.cut else ""
    return held, f"{about}{data.scaled(longer)} of {found.rows} rows {words}{lost}{how}: {why}"


def _unknown(most: int, bound: int | None) -> tuple[int, str]:
    if bound is not None and rounded(bound) < min(DEFAULT_LENGTH, most):
        return rounded(bound), f"by the size of their texts, no row can have more than {bound} tokens"
    if most < DEFAULT_LENGTH:
        return most, "the model's context ends there"
    return DEFAULT_LENGTH, "usual while nothing is known of the rows"


def _wanted(lengths: Sequence[int]) -> int:
    """The limit that cuts none of rows of these lengths, or none but a few runaways."""
    ordered = sorted(lengths)
    usual = rounded(ordered[min(len(ordered) - 1, math.ceil(_COVERED * len(ordered)))])
    longest = rounded(ordered[-1])
    # Up to a usual length, or where the longest row costs little more, no row is cut.
    if longest <= max(1.5 * usual, DEFAULT_LENGTH):
        return longest
    lost = sum(length - usual for length in ordered if length > usual) / sum(ordered)
    return usual if lost <= _RUNAWAY_TOKENS else longest


def _held(now: Situation, rows: RowTokens, wanted: int) -> int:
    """The limit wanted; where rows of it fit in no layout, the longest that does and leaves most rows of use."""
    need = _need(now, {_FIELD: wanted, "training.accumulation": now.recipe.training.accumulation or 1})
    if need is None or need <= now.free_memory:
        return wanted
    limit = longest_that_fits(now, {}, wanted)
    if limit is None:
        return wanted
    of_use = sum(text or first < limit for first, text in zip(rows.firsts, rows.texts, strict=True))
    return limit if of_use >= _LEAST_KEPT * len(rows.lengths) else wanted


def _need(now: Situation, changes: Mapping[str, object]) -> int | None:
    """Bytes the smallest layout needs, in the smaller form of the base where that is on auto; None: unknown."""
    recipe = with_values(now.recipe, changes)
    layout = smallest(replace(now, recipe=recipe))
    methods = ["none", "nf4"] if recipe.quantization.method == "auto" else [recipe.quantization.method]
    if recipe.adapter.kind == "none" or now.model.quantized is not None:
        methods = methods[:1]
    needs = (estimate(now.model, with_values(recipe, {**layout, _METHOD: one}), now.device) for one in methods)
    return min((need.total for need in needs if need is not None), default=None)
