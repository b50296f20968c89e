"""The plan as data: what `ft-tui plan --json` prints and plan.json keeps."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from finetune_core.plan.advice.margin import margin, tight
from finetune_core.plan.memory.estimate import MemoryEstimate, length_of
from finetune_core.plan.resolve import Resolved
from finetune_core.plan.speed.estimate import Speed
from finetune_core.plan.steps import padded_share


def plan_data(found: Resolved, memory: MemoryEstimate | None = None) -> dict[str, Any]:
    """Steps, memory, speed, duration, cost, and each choice with its reason and alternatives; bytes and seconds.

    `counted` says that the rows are counted in tokens; without that all of it is for rows like a sample that was
    counted, or like they are by the size of their texts (`tokens_from`).

    `memory` stands in for the closed form where the step was traced.
    """
    now, speed, alternatives = found.situation, found.speed, found.alternatives
    need = memory or found.memory
    return {
        "counted": found.counted,
        "tokens_from": found.tokens_from,
        "rows": found.data.rows if found.data else None,
        "held_out_rows": found.data.held_out_rows if found.data else None,
        "steps": asdict(found.steps) if found.steps else None,
        "memory": _memory(need, now.free_memory, now.memory_total, found.basis) if need else None,
        "speed": _speed(speed),
        "duration_s": asdict(speed.seconds) if speed and speed.seconds else None,
        "energy_kwh": asdict(speed.energy_kwh) if speed and speed.energy_kwh else None,
        "cost": asdict(speed.cost) if speed and speed.cost else None,
        "packing_gain": packing_gain(found),
        "choices": [
            {
                "field": made.field,
                "value": made.value,
                "reason": made.reason,
                "alternatives": [asdict(other) for other in alternatives.get(made.field, ())],
            }
            for made in found.choices
        ],
        "warnings": [asdict(problem) for problem in found.warnings],
    }


def packing_gain(found: Resolved) -> float | None:
    """How many times the tokens would be computed if as many rows as a step packs were padded instead.

    None where rows are not packed, or not counted in tokens.
    """
    data, recipe = found.data, found.recipe
    if data is None or not data.token_lengths or recipe.data.packing == "none":
        return None
    most = length_of(found.model, recipe)
    # A packed sequence is as long as several rows; as many of them would be padded together.
    rows = max(
        2, (recipe.training.micro_batch or 1) * most * len(data.token_lengths) // max(1, sum(data.token_lengths))
    )
    return padded_share(data.token_lengths, rows, most)


def rows_words(found: Resolved) -> str:
    """The rows of the plan in a line, and where their tokens come from; empty where there are none."""
    data = found.data
    if data is None:
        return ""
    how = {
        "count": "counted in tokens",
        "sample": "a sample of them counted in tokens",
        "estimate": "tokens by size of text",
    }
    rows = f"{data.rows:,} to train on, {data.held_out_rows:,} held out"
    return f"{rows}; {how[found.tokens_from]}"


def estimate_words(found: Resolved) -> str:
    """What a start says of rows that the run has still to count; empty where they are counted."""
    if found.counted or found.data is None or "data.max_length" not in found.open:
        return ""
    about = f"sequences of up to about {length_of(found.model, found.recipe):,} tokens"
    how = "a sample of the rows" if found.tokens_from == "sample" else "the size of the texts"
    return f"{about} by {how}; the run counts the rows and settles what follows from them"


def packing_words(gain: float | None) -> str:
    """What packing saves, from its `packing_gain`; empty where that is nothing, or not known."""
    saved = 0.0 if gain is None else 1 - 1 / max(gain, 1.0)
    return f"packing saves {saved * 100:.0f} % of the tokens that padded rows would compute" if saved >= 0.005 else ""


def _memory(need: MemoryEstimate, free: int, total: int, basis: str) -> dict[str, Any]:
    return {
        "parts": need.parts,
        "total": need.total,
        "peak_bytes": need.peak,
        "free_bytes": free,
        "device_bytes": total,
        "fits": need.total <= free,
        "margin_bytes": margin(free),
        "tight": tight(need.total, free),
        "method": need.method,
        "basis": basis,
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
