"""How fast a run can be: the arithmetic limit, what is reached of it, and time, energy and money that follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from finetune_core.plan.memory.sizes import Sizes, sizes
from finetune_core.plan.situation import Situation
from finetune_core.plan.speed.step_time import attended, device_rates, seen_length, step_time
from finetune_core.plan.steps import Steps
from finetune_core.recipe.schema import Recipe

# float32 multiplications and additions a CPU core does in a second, with AVX2 at 2-3 GHz: 32 each cycle.
_CORE_FLOPS: Final = 80e9
# What training reaches of that on a CPU, and how much slower it is where a base is packed (by the time of this many
# tokens a micro-batch) and where an adapter has dropout.
_CPU_SHARE: Final = 0.4
_UNPACKING_TOKENS: Final = 200
_DROPOUT_FACTOR: Final = 1.07
# A speed so far above what the arithmetic allows is a mistake, or the device's rate is listed too low.
_MOST_OF_LIMIT: Final = 2.0
# How far a speed may be off the formula, as factors: published ones of nine in ten lie within this on a GPU.
_RANGE: Final[dict[str, tuple[float, float]]] = {"cuda": (0.6, 1.5), "cpu": (0.375, 2.0)}
_COMPILE_SECONDS: Final = 60.0
# Imports, loading, the base's answers; then the verdict: rough, and small beside a run of hours.
_AROUND_SECONDS: Final[dict[str, tuple[float, float, float]]] = {"cuda": (20, 60, 240), "cpu": (10, 30, 180)}


@dataclass(frozen=True)
class Range:
    """An honest guess: as low as, about, as high as."""

    low: float
    mid: float
    high: float


@dataclass(frozen=True)
class Speed:
    """Tokens a second, and what follows from them for the whole run.

    `limit` is what the device's arithmetic allows; `reached` the share of it that is expected. `seconds` is the
    duration of the run, `tokens` what it trains on in all, `energy_kwh` and `cost` are None where the power limit
    or the price is unknown. `method` says where `reached` comes from.
    """

    tokens_per_s: Range
    limit: float
    reached: Range
    seconds: Range | None
    tokens: int | None
    energy_kwh: Range | None
    cost: Range | None
    method: str


@dataclass(frozen=True)
class Measured:
    """How many times as fast as the formula a device was before, and what it was measured with, where that differs.

    `of` is empty where this very model ran with settings like these; else it says in words what ran.
    """

    pace: float
    of: str = ""
    spread: float = 1.15


def useful_flops(shape: Sizes, length: float, supervised: float = 1.0) -> float:
    """Floating-point operations that one trained token cannot do without.

    LoRA: `4 N + 6 P + 4 s V H + 7 L Q l`; full: `6 N + 6 V H + 7 L Q l`. N are the matrix parameters of the layers that
    a token meets, P those of the adapter; s is the share of tokens with a loss, l the mean length of what a token sees.
    Forward and backward passes are 2 and 4 operations a parameter; a frozen weight needs no gradient of its own.
    """
    attention = 7 * shape.layers * shape.queries * length
    head = shape.vocabulary * shape.hidden
    if shape.full:
        return 6 * shape.active + 6 * head + attention
    return 4 * shape.active + 6 * shape.adapter + 4 * supervised * head + attention


def done_flops(shape: Sizes, recipe: Recipe, length: float) -> float:
    """Operations that are done: the useful ones, and with checkpointing the forward pass of the layers once more."""
    return sum(_done(shape, recipe, length))


def _done(shape: Sizes, recipe: Recipe, length: float) -> tuple[float, float]:
    """Operations done for a token: in products, and in attention."""
    seen = shape.layers * shape.queries * length
    products, attention = useful_flops(shape, length) - 7 * seen, 7 * seen
    if recipe.training.activation_checkpointing is False:
        return products, attention
    return products + 2 * shape.active + 2 * shape.adapter, attention + 2 * seen


def peak_flops(now: Situation) -> float | None:
    """Operations a second that large matrix products reach on the situation's device; None where it is unknown."""
    if now.device == "cpu":
        return now.hardware.host.cores * _CORE_FLOPS
    rates = device_rates(now)
    return None if rates is None else rates[0]


def token_seconds(now: Situation, shape: Sizes, tokens: float | None = None, *, whole: bool = True) -> float:
    """Seconds that a token takes by the formula; where the device is unknown, only good to compare two recipes.

    `tokens` are those of a micro-step, where they are known. Not `whole`: the optimiser's share is left out.
    """
    if now.device != "cuda":
        return _on_a_cpu(now, shape, seen_length(now), peak_flops(now) or _CORE_FLOPS)
    found = step_time(now, shape, _done(shape, now.recipe, attended(now)), tokens)
    return found.token if whole else found.micro_step / found.tokens


def _on_a_cpu(now: Situation, shape: Sizes, length: float, peak: float) -> float:
    recipe = now.recipe
    seconds = done_flops(shape, recipe, length) / (peak * _CPU_SHARE)
    if recipe.quantization.packed:
        tokens = (recipe.training.micro_batch or 1) * (recipe.data.max_length or length)
        seconds *= 1 + _UNPACKING_TOKENS / tokens
    return seconds * (_DROPOUT_FACTOR if recipe.adapter.dropout and recipe.adapter.kind == "lora" else 1.0)


def speed(now: Situation, steps: Steps | None, measured: Measured | None = None) -> Speed | None:
    """The speed of this run; None where the model's shapes or the device's rate are unknown.

    `measured` says how the device compared to the formula before, or in the probe (`measured_pace`). Of another model
    or other settings it is an estimate only.
    """
    shape = sizes(now.model, now.recipe, now.device)
    peak = peak_flops(now)
    if shape is None or peak is None:
        return None
    limit = peak / useful_flops(shape, seen_length(now))
    mid, (low, high) = 1 / token_seconds(now, shape), _RANGE[now.device]
    if measured is not None:
        mid, low, high = mid * measured.pace, 1 / measured.spread, measured.spread
    # What was measured may be above a limit that is too low; what is guessed is not.
    most = mid * high if measured is not None else min(mid * high, limit)
    rate = Range(mid * low, mid, max(mid, most))
    tokens = None if steps is None or now.data is None or now.data.tokens is None else trained_tokens(now, steps)
    seconds = None if tokens is None else _duration(now, tokens, rate)
    return Speed(
        tokens_per_s=rate,
        limit=limit,
        reached=Range(rate.low / limit, rate.mid / limit, rate.high / limit),
        seconds=seconds,
        tokens=tokens,
        energy_kwh=_energy(now, seconds),
        cost=_cost(now.recipe, seconds),
        method=_method(measured),
    )


def _method(measured: Measured | None) -> str:
    if measured is None:
        return "typical of such devices"
    return f"an estimate from {measured.of}" if measured.of else "measured on this machine"


def measured_pace(now: Situation, tokens_per_s: float, tokens: float | None = None) -> float | None:
    """How many times as fast as the formula a measured speed is; None where there is no formula, or it cannot be.

    `tokens` are those of the one micro-step that was measured, without the optimiser; None: whole steps were.
    """
    shape, peak = sizes(now.model, now.recipe, now.device), peak_flops(now)
    if shape is None or peak is None or not 0 < tokens_per_s < _MOST_OF_LIMIT * peak / useful_flops(shape, 1):
        return None
    return tokens_per_s * token_seconds(now, shape, tokens, whole=tokens is None)


def trained_tokens(now: Situation, steps: Steps) -> int:
    """Tokens the run goes through, those without a loss included, padding left out."""
    assert now.data is not None
    rows = now.data.row_tokens
    epoch = now.data.scaled(sum(rows.kept(now.recipe.data.max_length))) if rows is not None else now.data.tokens or 0
    return round(epoch * steps.epochs)


def _duration(now: Situation, tokens: int, rate: Range) -> Range:
    low, mid, high = _AROUND_SECONDS[now.device]
    compiling = _COMPILE_SECONDS if now.recipe.training.compile else 0.0
    return Range(tokens / rate.high + low, tokens / rate.mid + mid + compiling, tokens / rate.low + high + compiling)


def _energy(now: Situation, seconds: Range | None) -> Range | None:
    watts = [gpu.power_limit_watts for gpu in now.gpus]
    if seconds is None or not watts or None in watts:
        return None
    # A GPU that trains draws most of what it may.
    kilowatts = sum(watt for watt in watts if watt is not None) / 1000
    each = [
        share * kilowatts * time / 3600
        for share, time in ((0.7, seconds.low), (0.85, seconds.mid), (1.0, seconds.high))
    ]
    return Range(*each)


def _cost(recipe: Recipe, seconds: Range | None) -> Range | None:
    price = recipe.hardware.price_per_hour
    if seconds is None or price is None:
        return None
    return Range(*(price * time / 3600 for time in (seconds.low, seconds.mid, seconds.high)))
