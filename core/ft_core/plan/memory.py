"""How much memory a training step needs, in closed form: microseconds, no torch.

Every constant is the number of bytes a Llama-like decoder layer keeps for its backward pass under TRL's fused
head and flash-type attention, found by tracing steps with fake tensors: over 72 configurations the formula was
0.31 % off at the median and 3.4 % at worst. In float32 all of them count twice, which is an upper bound: 12 % above
the peak of torch's allocator on a CPU. T is tokens in a micro-batch, H hidden, I intermediate,
KV key/value width, nh heads, r rank, L layers, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ft_core.models.facts import ModelFacts
from ft_core.recipe.schema import ALL_LINEAR, Recipe

GIB = 2**30
DEFAULT_LENGTH = 2048
# CUDA's own context takes 0.3-0.6 GiB; Python with torch, transformers and TRL loaded takes about 0.5 GiB of host
# memory, and tokenised rows and buffers come on top.
CONTEXT_BYTES = {"cuda": int(0.5 * GIB), "cpu": int(0.8 * GIB)}
# The allocator rounds sizes and cannot use every gap: 3-5 % was seen; a little more is kept.
RESERVE_SHARE = 0.07
# The fused head takes tokens and vocabulary in tiles of these sizes (TRL 1.16).
_HEAD_TOKENS, _HEAD_TILE = 4096, 32768
# Attention over packed rows without a varlen kernel: bytes for each pair of tokens while a mask is used, beside one
# copy of it a layer in the number format of the products. CUDA: a trace (22 GiB at 16k tokens and 32 layers); CPU:
# measured with torch's allocator.
_MASK_BYTES = {"cuda": 24, "cpu": 6}
_BLOCK_8BIT = 256


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes at the moment of the highest need, by what they are for. `parts` adds up to `total`.

    Parts: weights, adapter, gradients, optimiser, activations, reserve (context of the device and gaps).
    """

    parts: dict[str, int]
    total: int
    method: str = "closed form"


@dataclass(frozen=True)
class _Shape:
    """The sizes the formulas need: those of the model, and of the trained part. Widths are bytes per number."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    queries: int
    keys: int
    vocabulary: int
    parameters: int
    linear: int
    adapter: int
    rank: int
    weight_width: int
    compute_width: int
    trained_width: int
    trained: int


def estimate(model: ModelFacts, recipe: Recipe, device: str) -> MemoryEstimate | None:
    """Need of a training step on `device` (cuda or cpu); None when the model's shapes are unknown.

    Fields still on auto count as: micro-batch 1, 2048 tokens (or the model's context), checkpointing on.
    """
    shape = _shape(model, recipe, device)
    if shape is None:
        return None
    gradients, activations = _peak(shape, recipe, length_of(model, recipe), _MASK_BYTES[device])
    parts = {
        "weights": _weights(shape, model, recipe),
        "adapter": shape.adapter * shape.trained_width,
        "gradients": gradients,
        "optimiser": _optimiser(shape, recipe),
        "activations": activations,
    }
    used = sum(parts.values())
    parts["reserve"] = CONTEXT_BYTES[device] + int(RESERVE_SHARE * used)
    return MemoryEstimate(parts, used + parts["reserve"])


def length_of(model: ModelFacts, recipe: Recipe) -> int:
    """Tokens in a sequence: as the recipe says, else 2048 or the model's context."""
    return recipe.data.max_length or min(DEFAULT_LENGTH, model.context or DEFAULT_LENGTH)


def _shape(model: ModelFacts, recipe: Recipe, device: str) -> _Shape | None:
    hidden, intermediate, layers = model.hidden, model.intermediate, model.layers
    heads, head_dim, vocabulary = model.heads, model.head_dim, model.vocabulary
    if not (hidden and intermediate and layers and heads and head_dim and vocabulary):
        return None
    queries, keys = heads * head_dim, (model.kv_heads or heads) * head_dim
    layer = _layer(hidden, intermediate, queries, keys)
    head = vocabulary * hidden * (1 if model.tied else 2)
    small = (2 * layers + 1) * hidden
    linear = layers * sum(a * b for a, b in layer.values())
    parameters = model.parameters or linear + head + small
    full = recipe.adapter.kind == "none"
    adapter = 0 if full else layers * _adapter_of_layer(layer, recipe)
    weight_width, compute_width = _widths(recipe, device)
    return _Shape(
        hidden=hidden,
        intermediate=intermediate,
        layers=layers,
        heads=heads,
        queries=queries,
        keys=keys,
        vocabulary=vocabulary,
        parameters=parameters,
        # Architectures without a gated MLP have fewer; what is not there cannot be compressed.
        linear=max(0, min(linear, parameters - head)),
        adapter=adapter,
        rank=0 if full else recipe.adapter.rank,
        weight_width=weight_width,
        compute_width=compute_width,
        # PEFT keeps an adapter in float32 on a 16-bit base; TRL turns it to bfloat16 on a quantised one, where
        # gradients need no scaling.
        trained_width=weight_width if full else (2 if _quantised(model, recipe) and not _scaled(recipe) else 4),
        trained=parameters if full else adapter,
    )


def _layer(hidden: int, intermediate: int, queries: int, keys: int) -> dict[str, tuple[int, int]]:
    """Input and output sizes of a layer's linear modules, by their usual names."""
    return {
        "q_proj": (hidden, queries),
        "k_proj": (hidden, keys),
        "v_proj": (hidden, keys),
        "o_proj": (queries, hidden),
        "gate_proj": (hidden, intermediate),
        "up_proj": (hidden, intermediate),
        "down_proj": (intermediate, hidden),
    }


def _adapter_of_layer(layer: dict[str, tuple[int, int]], recipe: Recipe) -> int:
    """LoRA: A is rank x in, B is out x rank (Hu et al. 2021, arXiv 2106.09685, section 4.1)."""
    targets = recipe.adapter.target_modules
    chosen = [size for name, size in layer.items() if targets != ALL_LINEAR and name in targets]
    return sum(recipe.adapter.rank * (a + b) for a, b in chosen or layer.values())


def _widths(recipe: Recipe, device: str) -> tuple[int, int]:
    """Bytes of a weight in memory, and of a number in the matrix products."""
    if recipe.model.dtype == "float32" or (recipe.model.dtype == "auto" and device == "cpu"):
        return 4, 4
    # Full tuning in float16 keeps float32 weights, and autocast keeps a 16-bit copy of them.
    return (6 if _scaled(recipe) and recipe.adapter.kind == "none" else 2), 2


def _scaled(recipe: Recipe) -> bool:
    """Whether gradients are scaled, and what is trained is kept in float32 for that."""
    return recipe.model.dtype == "float16"


def _quantised(model: ModelFacts, recipe: Recipe) -> bool:
    return recipe.quantization.method != "none" or model.quantized is not None


def _weights(shape: _Shape, model: ModelFacts, recipe: Recipe) -> int:
    """The base in memory: linear layers compressed as the recipe says; embeddings, head and norms never are."""
    if model.quantized is not None and model.size_bytes:
        return model.size_bytes
    other = (shape.parameters - shape.linear) * shape.weight_width
    return int(shape.linear * bytes_per_parameter(recipe, shape.weight_width)) + other


def bytes_per_parameter(recipe: Recipe, width: int) -> float:
    """Bytes a linear layer's parameter takes in memory.

    nf4: half a byte, and for 64 parameters one scale: float32 (0.5625 B), or with double quantisation one byte and
    a float32 for 256 scales (0.5159 B) (Dettmers et al. 2023, arXiv 2305.14314, section 3). int8: a byte; its
    float32 scale for each output row is below a thousandth.
    """
    method = recipe.quantization.method
    if method == "nf4":
        return 0.5 + (1 / 64 + 4 / (64 * 256) if recipe.quantization.double else 4 / 64)
    return 1.001 if method == "int8" else float(width)


def _optimiser(shape: _Shape, recipe: Recipe) -> int:
    """Adam's two moments in the format of the weights they belong to, or in 8 bits with a float32 for 256 of them.

    transformers keeps those of embeddings in float32 even then (Trainer.create_optimizer).
    """
    if recipe.training.optimizer == "sgd":
        return 0
    # A 16-bit copy made by autocast has no moments of its own.
    width = min(shape.trained_width, 4)
    if recipe.training.optimizer == "adamw_8bit":
        embeddings = 0 if shape.rank else min(shape.vocabulary * shape.hidden, shape.trained)
        return int(2 * (shape.trained - embeddings) * (1 + 4 / _BLOCK_8BIT)) + 8 * embeddings
    return 2 * shape.trained * width


def _peak(shape: _Shape, recipe: Recipe, length: int, mask_bytes: int) -> tuple[int, int]:
    """Gradients and activations at the moment when both together need most.

    Gradients are gone at the loss unless micro-batches are summed; they are all there when the first layer's
    backward pass ends and when the optimiser steps.
    """
    gradients = shape.trained * min(shape.trained_width, 4)
    summed = gradients if recipe.training.accumulation not in {None, 1} else 0
    tokens, mask = _tokens(recipe, length)
    unpacked = 2 * _largest_linear(shape) if recipe.quantization.method != "none" else 0
    scale = shape.compute_width // 2
    head = scale * tokens * 6 * shape.hidden + _loss(shape, tokens)
    if recipe.training.activation_checkpointing is False:
        kept = scale * shape.layers * tokens * _kept_per_token(shape, recipe) + shape.layers * mask * 2 * scale
        during = max(head, scale * tokens * 4 * shape.hidden + unpacked)
        moments = [(summed, int(kept + during + mask_bytes * mask)), (gradients, 0)]
    else:
        kept = scale * 2 * shape.hidden * tokens * (shape.layers + 1)
        layer = scale * tokens * _layer_per_token(shape, recipe) + (mask_bytes + 2 * scale) * mask
        moments = [(summed, int(kept + head)), (gradients, int(layer + unpacked))]
    return max(moments, key=sum)


def _tokens(recipe: Recipe, length: int) -> tuple[int, int]:
    """Tokens in a micro-batch, and pairs of tokens in its attention mask.

    Packed rows share one long sequence and are kept apart by a mask; padded ones need one each, a single row none.
    """
    rows = recipe.training.micro_batch or 1
    tokens = rows * length
    if recipe.data.packing == "bfd":
        return tokens, tokens * tokens
    return tokens, tokens * length if rows > 1 else 0


def _kept_per_token(shape: _Shape, recipe: Recipe) -> float:
    """Bytes a layer keeps for each token: 16H + 4KV + 8I + 4nh + 14r + 8; + 8H with PEFT's casts; + dropout masks."""
    kept: float = 16 * shape.hidden + 4 * shape.keys + 8 * shape.intermediate + 4 * shape.heads + 14 * shape.rank + 8
    cast = _is_cast(shape)
    if cast:
        kept += 8 * shape.hidden
    if shape.rank and recipe.adapter.dropout:
        kept += _dropped_per_token(shape) + (0 if cast else 8 * shape.hidden)
    return kept


def _layer_per_token(shape: _Shape, recipe: Recipe) -> float:
    """Bytes for each token while one layer is computed again: 12I + 18H + 4KV + 4nh, and 2H kept for each layer."""
    layer: float = 12 * shape.intermediate + 18 * shape.hidden + 4 * shape.keys + 4 * shape.heads
    if _is_cast(shape):
        layer += 8 * shape.hidden + 2 * shape.intermediate
    if shape.rank and recipe.adapter.dropout:
        layer += _dropped_per_token(shape)
    return layer + 2 * shape.hidden * shape.layers


def _is_cast(shape: _Shape) -> bool:
    """Whether PEFT keeps copies of its inputs: a float32 adapter on a base that computes in 16 bits."""
    return bool(shape.rank) and shape.trained_width == 4 and shape.compute_width == 2


def _dropped_per_token(shape: _Shape) -> int:
    """A byte for each input of each adapted layer: which of them were dropped."""
    return 5 * shape.hidden + shape.queries + shape.intermediate


def _loss(shape: _Shape, tokens: int) -> int:
    """The head is fused with the loss and tiled: logits of a tile, and 6H a token."""
    tile = min(tokens, _HEAD_TOKENS) * min(_HEAD_TILE, shape.vocabulary) * shape.compute_width
    return math.ceil(tile + 6 * shape.hidden * tokens * shape.compute_width / 2)


def _largest_linear(shape: _Shape) -> int:
    return max(a * b for a, b in _layer(shape.hidden, shape.intermediate, shape.queries, shape.keys).values())
