"""Rank, alpha and learning rate, reasoned together: the rate that suits an adapter is that of its alpha.

With alpha held fixed the best rate is the same for every rank (Schulman et al. 2025, "LoRA Without Regret", who hold it
at 32). What a step moves grows with the product of alpha and rate, so another alpha takes another rate.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from finetune_core.plan.advice.base_format import has_room
from finetune_core.plan.memory.estimate import estimate
from finetune_core.plan.memory.sizes import sizes
from finetune_core.plan.situation import Choice, Situation
from finetune_core.plan.steps import count_steps
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import USUAL_RANK
from finetune_core.text import count_text, memory_text

USUAL_ALPHA: Final = 32.0
_RANK: Final = "adapter.rank"
# The best rates of sweeps over 27 models with alpha 32 and 128 rows a step (tinker-cookbook, sft_sweep.md, 2026): 1e-3
# for Llama 1B and 3B and Qwen 3 4B, 3e-4 for Qwen 3.5 4B; 3e-4 and 1e-3 for Llama and Qwen 3 8B; 3e-4 from 27B to 70B.
# By their rule that the rate goes with the root of the rows, 16 rows take 0.35 of that: 3.5e-4 and 1.1e-4. In between
# stands the usual 2e-4. From 33B on half the rate was best before too (Dettmers et al. 2023, table 9).
_RATES: Final = (
    (5e9, 3e-4, "best in sweeps of models below 5B, reckoned for 16 rows a step"),
    (25e9, 2e-4, "usual for LoRA"),
)
_LARGE_RATE, _LARGE_WORDS = 1e-4, "best in sweeps of models from 25B on, reckoned for 16 rows a step"
# LoRA takes ten times the rate of full fine-tuning, and fifteen times in runs of some hundred steps (Schulman et al.);
# of large models nothing was published for such runs.
_FULL_RATE: Final = 1e-5
_SHORT_STEPS, _SHORT_FACTOR = 100, 1.5
# A small alpha raises the rate at most twice: a rate that is too high ruins a run, one that is too low slows it.
_MOST_RAISED: Final = 2.0
# Below so many tokens a small adapter learns rows by heart less easily.
_FEW_TOKENS, _FEW_RANK = 50_000, 8
_MOST_RANK: Final = 256
# An adapter wider than this share of the model's own width is hardly of low rank.
_WIDEST: Final = 4


def advise_adapter(now: Situation) -> list[Choice]:
    """Rank and alpha."""
    adapter = now.recipe.adapter
    if adapter.kind == "none":
        return []
    made = [Choice(_RANK, *_rank(now))] if adapter.rank is None else []
    if adapter.alpha is None:
        reason = "held at 32 for every rank: the learning rates of published sweeps are for it"
        made.append(Choice("adapter.alpha", USUAL_ALPHA, reason))
    return made


def _rank(now: Situation) -> tuple[int, str]:
    """As many parameters as there are tokens to train on, where their number is known.

    One parameter for each trained token is the rule of Tinker's cookbook and of TRL's guide to LoRA, up to rank 256.
    """
    tokens = now.data.tokens if now.data is not None else None
    if tokens is None:
        return USUAL_RANK, "usual while the amount of data is unknown"
    shown = f"about {count_text(tokens)} tokens"
    if tokens < _FEW_TOKENS:
        return _FEW_RANK, f"{shown}: a small adapter holds them, and learns them by heart less easily"
    shape = sizes(now.model, with_values(now.recipe, {_RANK: 1}), now.device)
    if shape is None:
        return USUAL_RANK, f"{shown}: usual while the shapes of the model are unknown"
    widest = max(USUAL_RANK, min(_MOST_RANK, _power_of_two(shape.hidden // _WIDEST)))
    rank = next((rank for rank in _ranks(widest) if rank * shape.adapter >= tokens), widest)
    fitting = _fitting(now, rank)
    words = _words(now, fitting, shape.adapter)
    if fitting < rank:
        return fitting, f"{shown} suit rank {rank}, and that does not fit; {words}"
    enough = "enough to hold" if rank * shape.adapter >= tokens else "the most that is usual, for"
    return rank, f"{words}: {enough} {shown}"


def _words(now: Situation, rank: int, each: int) -> str:
    """`84M parameters (1.3 GiB with their gradients and optimiser's states)`."""
    # Gradients stay in memory where more than one micro-batch is summed.
    summed = {"training.accumulation": now.recipe.training.accumulation or 2}
    need = estimate(now.model, with_values(now.recipe, {_RANK: rank, **summed}), now.device)
    parts = need.parts if need is not None else {}
    size = sum(parts.get(name, 0) for name in ("adapter", "gradients", "optimiser"))
    return f"{count_text(rank * each)} parameters ({memory_text(size)} with their gradients and optimiser's states)"


def _fitting(now: Situation, rank: int) -> int:
    """The rank, or the largest below it that leaves the base in the form it could have with the usual rank."""
    method = now.recipe.quantization.method
    forms = ("none", "nf4") if method == "auto" and now.model.quantized is None else (method,)
    form = next((form for form in forms if _fits(now, USUAL_RANK, form)), None)
    if form is None:
        return min(rank, USUAL_RANK)
    return next((lower for lower in reversed(_ranks(rank)) if _fits(now, lower, form)), USUAL_RANK)


def _fits(now: Situation, rank: int, method: str) -> bool:
    return has_room(replace(now, recipe=with_values(now.recipe, {_RANK: rank})), method)


def _ranks(most: int) -> list[int]:
    """16, 32, 64 ... up to `most`."""
    return [1 << power for power in range(USUAL_RANK.bit_length() - 1, most.bit_length())]


def _power_of_two(number: int) -> int:
    return 1 << max(number.bit_length() - 1, 0)


def advise_rate(now: Situation) -> list[Choice]:
    """The peak learning rate."""
    if now.recipe.training.learning_rate is not None:
        return []
    value, reason = _rate(now)
    return [Choice("training.learning_rate", value, reason)]


def _rate(now: Situation) -> tuple[float, str]:
    if now.recipe.adapter.kind == "none":
        return _FULL_RATE, "usual for tuning every weight; more makes a model forget"
    parameters = now.model.parameters
    rate, words = next(
        ((rate, words) for below, rate, words in _RATES if parameters is not None and parameters < below),
        (_LARGE_RATE, _LARGE_WORDS) if parameters is not None else _RATES[-1][1:],
    )
    steps = count_steps(now.recipe, now.data, len(now.gpus) or 1) if now.data is not None else None
    if steps is not None and steps.total < _SHORT_STEPS and rate > _LARGE_RATE:
        rate *= _SHORT_FACTOR
        words += f", and half as much again for only {steps.total} steps"
    alpha = now.recipe.adapter.alpha or USUAL_ALPHA
    if alpha == USUAL_ALPHA:
        return _rounded(rate), f"{words}; with alpha {alpha:g} it is the same for every rank"
    factor = min(USUAL_ALPHA / alpha, _MOST_RAISED)
    most = ", and no more than twice is worth the risk" if USUAL_ALPHA / alpha > _MOST_RAISED else ""
    return _rounded(
        rate * factor
    ), f"{words}: {rate:g} with alpha 32; alpha {alpha:g} takes {factor:.2g} times that{most}"


def _rounded(rate: float) -> float:
    """Two digits: more would promise more than is known."""
    return float(f"{rate:.1e}")
