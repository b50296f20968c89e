"""The plan as data: what `ft-tui plan --json` prints and plan.json keeps."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ft_core.plan.memory import MemoryEstimate, length_of
from ft_core.plan.prepare import Prepared
from ft_core.plan.speed import Speed
from ft_core.plan.steps import padded_share


def plan_data(prepared: Prepared, memory: MemoryEstimate | None = None) -> dict[str, Any]:
    """Steps, memory, speed, duration, cost, and each choice with its reason and alternatives; bytes and seconds.

    `memory` stands in for the closed form where the step was traced.
    """
    now = prepared.situation
    return {
        "steps": asdict(prepared.steps) if prepared.steps else None,
        "memory": _memory(memory or prepared.memory, now.free_memory, now.memory_total),
        "speed": _speed(prepared.speed),
        "duration_s": asdict(prepared.speed.seconds) if prepared.speed and prepared.speed.seconds else None,
        "energy_kwh": asdict(prepared.speed.energy_kwh) if prepared.speed and prepared.speed.energy_kwh else None,
        "cost": asdict(prepared.speed.cost) if prepared.speed and prepared.speed.cost else None,
        "packing_gain": packing_gain(prepared),
        "choices": [
            {
                "field": made.field,
                "value": made.value,
                "reason": made.reason,
                "alternatives": [asdict(other) for other in prepared.alternatives.get(made.field, ())],
            }
            for made in prepared.choices
        ],
        "warnings": [asdict(problem) for problem in prepared.warnings],
    }


def packing_gain(prepared: Prepared) -> float | None:
    """How many times the tokens would be computed if as many rows as a step packs were padded instead.

    None where rows are not packed, or not counted in tokens.
    """
    data, recipe = prepared.data, prepared.recipe
    if data is None or not data.token_lengths or recipe.data.packing == "none":
        return None
    most = length_of(prepared.model, recipe)
    # A packed sequence is as long as several rows; as many of them would be padded together.
    rows = max(
        2, (recipe.training.micro_batch or 1) * most * len(data.token_lengths) // max(1, sum(data.token_lengths))
    )
    return padded_share(data.token_lengths, rows, most)


def packing_words(gain: float | None) -> str:
    """What packing saves, from its `packing_gain`; empty where that is nothing, or not known."""
    saved = 0.0 if gain is None else 1 - 1 / max(gain, 1.0)
    return f"packing saves {saved * 100:.0f} % of the tokens that padded rows would compute" if saved >= 0.005 else ""


def _memory(need: MemoryEstimate | None, free: int, total: int) -> dict[str, Any] | None:
    if need is None:
        return None
    return {
        "parts": need.parts,
        "total": need.total,
        "peak_bytes": need.peak,
        "free_bytes": free,
        "device_bytes": total,
        "fits": need.total <= free,
        "method": need.method,
    }


def _speed(speed: Speed | None) -> dict[str, Any] | None:
    if speed is None:
        return None
    return {
        "tokens_per_s": asdict(speed.tokens_per_s),
        "limit_tokens_per_s": speed.limit,
        "share_of_limit": asdict(speed.reached),
        "tokens": speed.tokens,
        "method": speed.method,
    }
