"""How long a step takes on a GPU: its arithmetic, what its memory moves, and the time to start its kernels.

A micro-step computes products and attention (operations over the rate that large products reach), moves the numbers
between them (bytes over bandwidth), and unpacks a 4-bit base once a pass. Meanwhile the processor starts its kernels, a
time that depends on layers and not on tokens: what takes longer decides. The optimiser passes over what is trained once
a step. A card with much arithmetic for each byte is thus further from its data sheet than one with little.

A constant's source stands beside it. Those without one were chosen so that 49 published speeds hold
(tests/bench/published.py prints them): the bytes for a number, the overlap, what dropout adds and compiling leaves. The
speeds are of 1.8B to 72B on A100, H100, L40S, RTX 6000 Ada and RTX 4090.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from finetune_core.hardware.card_names import card_of, part_of
from finetune_core.plan.memory.attention import attention_used, masked, score_bytes
from finetune_core.plan.memory.estimate import length_of
from finetune_core.plan.memory.sizes import Sizes
from finetune_core.plan.situation import Situation
from finetune_core.plan.steps import padded_share

# Attention of what large products reach: FlashAttention-2 does up to 225 of an A100's 312 TFLOP/s (Dao 2023,
# arXiv 2307.08691, section 4.1), its backward pass less.
_ATTENTION_SHARE: Final = 0.875
# Copies of large arrays reach this much of the sheet's bandwidth (BabelStream on A100 and H100).
_BANDWIDTH_SHARE: Final = 0.85
# Bytes moved in a pass for each number that goes into or comes out of a linear layer: what stands between the products
# (norms, rotation, activation, sums, the adapter's own products) reads and writes it several times in 16 bits.
_BYTES_A_NUMBER: Final = 20
# With dropout each adapter draws, keeps and reads an input of its own.
_DROPOUT_TRAFFIC: Final = 1.2
# Compiled layers fuse much of that, and start fewer kernels.
_COMPILED: Final = 0.6
# Unpacking a parameter in a pass: bytes moved (a half is read and two are written, scales and copies beside), and the
# look-up itself. Between what H2O LLM Studio published for bitsandbytes of 2023 (NF4 takes 1.25-1.31 times the time of
# 16 bits on an A10G, 1.44-1.51 times on an A100, of a 7B with 1,024 tokens) and a newer one's 1.04 at 4,096 tokens.
_UNPACKING_BYTES: Final = 4.8
_UNPACKING_SECONDS: Final = 3e-12
# Starting the kernels of a layer, forward and backward, however few the tokens: 4.2-4.8 ms in eager transformers with
# PEFT (3B on an L40S, PEFT's MetaMathQA), 4.7-5.2 ms where activations are computed again (1.8B, 7B and 14B on an A100,
# Qwen's README). A 4-bit base starts half as many more: 1.45 times the time was measured of an 8B with 512 tokens.
_LAUNCH_SECONDS: Final = {False: 0.0042, True: 0.005}
_PACKED_LAUNCHES: Final = 1.45
# The larger of two times that overlap, a little more where they are alike.
_OVERLAP: Final = 3
# Numbers that are read or written for each trained parameter: AdamW as one kernel reads gradient, weight and two
# moments and writes three of them; clipping reads the gradient twice and writes it. In 8 bits a moment is a byte.
_ADAMW_NUMBERS: Final = 10
_PLAIN_NUMBERS: Final = 6
_MOMENTS_IN_BYTES: Final = 4
# A card of which only the kind is known, to compare two recipes: the operations for a byte of an A100.
_TYPICAL: Final = (250e12, 1.7e12)
_LENGTHS_SEEN: Final = 2000


@dataclass(frozen=True)
class StepTime:
    """Seconds of a micro-step and of what happens once a step; `tokens` are the real ones of a micro-step."""

    tokens: float
    arithmetic: float
    traffic: float
    unpacking: float
    launching: float
    optimiser: float
    accumulation: int

    @property
    def micro_step(self) -> float:
        """Seconds of a forward and a backward pass."""
        computed = self.arithmetic + self.traffic + self.unpacking
        return float((computed**_OVERLAP + self.launching**_OVERLAP) ** (1 / _OVERLAP))

    @property
    def token(self) -> float:
        """Seconds of a token over whole steps."""
        return (self.micro_step + self.optimiser / self.accumulation) / self.tokens


def device_rates(now: Situation) -> tuple[float, float] | None:
    """Operations and bytes a second that the situation's GPUs reach; None where one of them is unknown."""
    wide = now.recipe.model.dtype == "float32"
    found = []
    for gpu in now.gpus:
        card = card_of(gpu.name, gpu.memory_total)
        if card is None:
            return None
        part = part_of(gpu.name)
        found.append((card.products(float32=wide) * part, card.bytes_per_s * _BANDWIDTH_SHARE * part))
    return min(found, default=None)


def step_time(now: Situation, shape: Sizes, flops: tuple[float, float], tokens: float | None = None) -> StepTime:
    """The time of a step on the situation's GPU, or on a typical one where it is unknown.

    `flops` are the operations done for a token in products and in attention; `tokens` those of a micro-step where they
    are known, without padding.
    """
    rate, bandwidth = device_rates(now) or _TYPICAL
    training = now.recipe.training
    again = training.activation_checkpointing is not False
    passes = 3 if again else 2
    real, computed = micro_tokens(now) if tokens is None else (tokens, tokens)
    compiled = _COMPILED if training.compile else 1.0
    packed = now.recipe.quantization.packed
    products, attention = flops
    dropped = _DROPOUT_TRAFFIC if now.recipe.adapter.dropout and not shape.full else 1.0
    moved = _BYTES_A_NUMBER * shape.compute_width / 2 * shape.through * compiled * dropped + _score_bytes(now, shape)
    return StepTime(
        tokens=real,
        arithmetic=computed * (products + attention / _ATTENTION_SHARE) / rate,
        traffic=computed * passes * moved / bandwidth,
        unpacking=passes * shape.linear * (_UNPACKING_BYTES / bandwidth + _UNPACKING_SECONDS) if packed else 0.0,
        launching=shape.layers * _LAUNCH_SECONDS[again] * compiled * (_PACKED_LAUNCHES if packed else 1.0),
        optimiser=_optimiser_bytes(now, shape) / bandwidth,
        accumulation=training.accumulation or 1,
    )


def _optimiser_bytes(now: Situation, shape: Sizes) -> float:
    optimizer = now.recipe.training.optimizer
    numbers = _ADAMW_NUMBERS if optimizer == "adamw" else _PLAIN_NUMBERS
    moments = _MOMENTS_IN_BYTES if optimizer == "adamw_8bit" else 0
    return float(shape.trained * (numbers * shape.trained_width + moments))


def seen_length(now: Situation) -> float:
    """The mean length of the row that a token stands in, in tokens: sum of squares over sum."""
    rows = now.data.row_tokens if now.data is not None else None
    most = length_of(now.model, now.recipe)
    cut = rows.kept(most) if rows is not None else ()
    if not cut:
        return min(most, 512)
    return sum(length * length for length in cut) / max(1, sum(cut))


def attended(now: Situation) -> float:
    """Tokens that attention computes for each, as the length of causal rows, of which a token sees half.

    With a mask every pair of a sequence is computed, twice what a causal kernel does.
    """
    masks = masked(now.recipe, now.model.model_type, now.device)
    return 2 * _sequence(now) if masks else seen_length(now)


def _sequence(now: Situation) -> float:
    """Tokens of what attention takes for one sequence: a row, or all rows that are packed together."""
    if now.recipe.data.packing == "none":
        return seen_length(now)
    return float((now.recipe.training.micro_batch or 1) * length_of(now.model, now.recipe))


def _score_bytes(now: Situation, shape: Sizes) -> float:
    """Bytes of a token in all layers and one pass: eager attention writes each head's scores out and reads them."""
    if attention_used(now.recipe, now.model.model_type, now.device) != "eager":
        return 0.0
    return shape.layers * shape.heads * _sequence(now) * sum(score_bytes(now.model.model_type))


def micro_tokens(now: Situation) -> tuple[float, float]:
    """Tokens of a micro-step: real ones, and those computed with the padding."""
    rows, most = now.recipe.training.micro_batch or 1, length_of(now.model, now.recipe)
    data = now.data
    total = data.tokens if data is not None else None
    if now.recipe.data.packing != "none":
        tokens = float(rows * most if total is None else max(1, min(rows * most, total)))
        return tokens, tokens
    if data is None or not total:
        tokens = float(rows * min(most, 512))
        return tokens, tokens
    lengths = data.row_tokens.lengths if data.row_tokens is not None else None
    if not lengths:
        tokens = float(rows * max(1.0, min(most, total / max(1, data.rows))))
        return tokens, tokens
    seen = lengths[:: max(1, len(lengths) // _LENGTHS_SEEN)]
    real = max(1.0, rows * sum(min(length, most) for length in seen) / len(seen))
    return real, real * (padded_share(seen, rows, most) if rows > 1 else 1.0)
