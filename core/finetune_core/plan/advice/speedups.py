"""Packing, attention and compilation where they are on auto."""

from __future__ import annotations

import re
from typing import Final

from finetune_core.plan.memory.attention import attention, runs_together
from finetune_core.plan.memory.estimate import length_of
from finetune_core.plan.situation import Choice, Situation
from finetune_core.plan.speed.estimate import speed
from finetune_core.plan.steps import count_steps, padded_share
from finetune_core.text import duration_text, one_line

# Cards on which compiled layers of a base in 16 bits are known to be faster: torchtune's README (A100, full
# fine-tuning of 3B: 27.7 % more tokens a second) and Axolotl (14-19 % less time a step). Nothing published says that a
# quantised base gains, whose unpacking is no part of the compiled program, nor do other cards.
_KNOWN_TO_GAIN: Final = re.compile(r"\b(A100|A800|H100|H800|H200|GH200)\b", re.IGNORECASE)
# Compilation costs a minute or so and gains about 15 % of the steps' time: it pays for a run of this many seconds.
_LEAST_SECONDS: Final = 1200.0
# A usual micro-batch, were rows padded.
_COMPARED_ROWS: Final = 8


def advise_packing(now: Situation) -> list[Choice]:
    """Whether several rows share a sequence."""
    if now.recipe.data.packing != "auto":
        return []
    if why := runs_together(now.model.model_type):
        return [Choice("data.packing", "none", why)]
    rows = now.data.row_tokens if now.data is not None else None
    lengths = rows.lengths if rows is not None else None
    gain = padded_share(lengths, _COMPARED_ROWS, length_of(now.model, now.recipe)) if lengths else None
    counted = "" if gain is None or gain < 1.05 else f", {gain:.1f} x the tokens with {_COMPARED_ROWS} rows at a time"
    reason = f"rows stay whole and apart, and no padding is computed{counted}"
    return [Choice("data.packing", "bfd", reason)]


def advise_attention(now: Situation) -> list[Choice]:
    """How attention is computed."""
    if now.recipe.training.attention != "auto":
        return []
    half = now.recipe.model.dtype in {"bfloat16", "float16"}
    value, reason = attention(now.recipe, now.model.model_type, sixteen_bits=half, device=now.device)
    old = next(
        (gpu for gpu in now.gpus if gpu.compute_capability is not None and gpu.compute_capability < (8, 0)), None
    )
    if value == "varlen" and old is not None:
        value, reason = "sdpa", f"the kernel for packed rows needs compute capability 8.0, and {old.name} has less"
    return [Choice("training.attention", value, reason)]


def advise_compiling(now: Situation) -> list[Choice]:
    """Whether each layer is compiled: where a gain is known, and the run is long enough to pay for it."""
    if now.recipe.training.compile is not None:
        return []
    value, reason = _compiling(now)
    return [Choice("training.compile", value, reason)]


def _compiling(now: Situation) -> tuple[bool, str]:
    if now.device == "cpu":
        return False, "off: on a CPU compiling takes longer than it gains"
    if now.recipe.quantization.packed or now.model.quantized is not None:
        return False, "off: no gain of it is known for a quantised base"
    other = next((gpu.name for gpu in now.gpus if not _KNOWN_TO_GAIN.search(gpu.name)), None)
    if other is not None:
        return False, f"off: no gain of it is known for {one_line(other, 60)}"
    steps = count_steps(now.recipe, now.data, len(now.gpus) or 1) if now.data is not None else None
    expected = speed(now, steps)
    if expected is None or expected.seconds is None:
        return False, "off: how long the run takes is unknown, and compiling costs about a minute"
    about = duration_text(expected.seconds.mid)
    if expected.seconds.mid < _LEAST_SECONDS:
        return False, f"off: the run takes about {about}, too short for the minute that compiling takes"
    return True, f"on: steps take about 0.85 of the time, and of about {about} that is more than the minute it costs"
