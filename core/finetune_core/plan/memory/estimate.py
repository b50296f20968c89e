"""How much memory a training step needs, in closed form: microseconds, no torch.

The layer's figures come from `finetune_core.plan.memory.layer_activations`. T is tokens in a micro-batch, H hidden,
L layers, V vocabulary. `finetune_core.worker.memory.trace` is what the formula is held against: within 5 % everywhere,
1 % at the median.
"""

from __future__ import annotations

from dataclasses import dataclass

from finetune_core.methods import named
from finetune_core.models.facts import ModelFacts
from finetune_core.models.layer_costs import Figures
from finetune_core.plan.memory.attention import attention_used, masked, score_bytes
from finetune_core.plan.memory.layer_activations import Kept, known
from finetune_core.plan.memory.sizes import DEFAULT_LENGTH, Sizes, length_of, sizes
from finetune_core.recipe.schema import Recipe

__all__ = [
    "CONTEXT_BYTES", "DEFAULT_LENGTH", "RESERVE_SHARE", "MemoryEstimate", "bytes_per_parameter",
    "estimate", "exact", "length_of", "with_reserve",
]  # fmt: skip

GIB = 2**30
# CUDA's own context takes 0.3-0.6 GiB; Python with torch, transformers and TRL loaded takes about 0.5 GiB of host
# memory, and tokenised rows and buffers come on top.
CONTEXT_BYTES = {"cuda": int(0.5 * GIB), "cpu": int(0.8 * GIB)}
# The allocator rounds sizes and cannot use every gap: 3-5 % was seen; a little more is kept.
RESERVE_SHARE = 0.07
# Linear layers by what they read: a layer's input, that of its MLP, and what the MLP has computed.
_READS_HIDDEN = frozenset({"q_proj", "k_proj", "v_proj", "qkv_proj"})
_WITHIN_MLP = frozenset({"gate_proj", "up_proj", "gate_up_proj", "c_fc"})
_LLAMA_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_OUT_OF_MLP = frozenset({"down_proj", "c_proj"})
# The fused head takes tokens and vocabulary in tiles of these sizes (TRL 1.16, whatever the vocabulary).
_HEAD_TOKENS, _HEAD_TILE = 4096, 32768
# Without Triton torch folds them, in copies of float32: this many bytes for each number of a tile (traced).
_FOLDED_BYTES = 29
# Attention with a mask: bytes for each pair of tokens while it is used, beside one copy of it a layer in the number
# format of the products. CUDA: a trace (22 GiB at 16k tokens and 32 layers); CPU: measured with torch's allocator.
_MASK_BYTES = {"cuda": 24, "cpu": 6}
_BLOCK_8BIT = 256
_AS_OF_A_LLAMA = "closed form, as of a Llama of these shapes"


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes at the moment of the highest need, by what they are for. `parts` adds up to `total`.

    Parts: weights, adapter, gradients, optimiser, activations, loss, reserve (context of the device and gaps).
    """

    parts: dict[str, int]
    total: int
    method: str = "closed form"

    @property
    def rough(self) -> bool:
        """Whether no formula holds for the architecture, and it counts as another one."""
        return self.method == _AS_OF_A_LLAMA

    @property
    def peak(self) -> int:
        """Bytes that tensors take: the total without the reserve."""
        return self.total - self.parts["reserve"]


def estimate(model: ModelFacts, recipe: Recipe, device: str) -> MemoryEstimate | None:
    """Need of a training step on `device` (cuda or cpu); None when the model's shapes are unknown.

    Fields still on auto count as: micro-batch 1, 2048 tokens (or the model's context), checkpointing on.
    """
    shape = sizes(model, recipe, device)
    if shape is None:
        return None
    step = _Step(shape, recipe, length_of(model, recipe), device)
    moment = max(step.moments(), key=sum)
    return with_reserve(
        {
            "weights": _weights(shape, model, recipe),
            "adapter": shape.adapter * shape.trained_width,
            "gradients": moment[0],
            "optimiser": _optimiser(shape, recipe),
            "activations": moment[1],
            "loss": moment[2],
        },
        device,
        _method(model),
    )


def exact(model: ModelFacts) -> bool:
    """Whether the formula holds for this model: its architecture is known, or was traced."""
    return known(model.model_type) or model.figures is not None


def _method(model: ModelFacts) -> str:
    if known(model.model_type):
        return "closed form"
    return _AS_OF_A_LLAMA if model.figures is None else "closed form, traced layers"


def with_reserve(parts: dict[str, int], device: str, method: str = "closed form") -> MemoryEstimate:
    """These parts, and with them what the device's context and the allocator's gaps take."""
    used = sum(parts.values())
    reserve = CONTEXT_BYTES[device] + int(RESERVE_SHARE * used)
    return MemoryEstimate({**parts, "reserve": reserve}, used + reserve, method)


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


def _weights(shape: Sizes, model: ModelFacts, recipe: Recipe) -> int:
    """The base in memory: linear layers compressed as the recipe says; embeddings, head and experts never are."""
    if model.quantized is not None and model.size_bytes:
        return model.size_bytes
    other = (shape.parameters - shape.linear) * shape.weight_width
    return int(shape.linear * bytes_per_parameter(recipe, shape.weight_width)) + other


def _optimiser(shape: Sizes, recipe: Recipe) -> int:
    """Adam's two moments in the format of the weights they belong to, or in 8 bits with a float32 for 256 of them.

    transformers keeps those of embeddings in float32 even then (Trainer.create_optimizer).
    """
    if recipe.training.optimizer == "sgd":
        return 0
    if recipe.training.optimizer == "adamw_8bit":
        embeddings = min(shape.head, shape.trained) if shape.full else 0
        return int(2 * (shape.trained - embeddings) * (1 + 4 / _BLOCK_8BIT)) + 8 * embeddings
    return 2 * shape.trained * shape.trained_width


class _Step:
    """One training step: what is in memory at the moments when the most may be."""

    def __init__(self, shape: Sizes, recipe: Recipe, length: int, device: str) -> None:
        self.shape, self.recipe, self.device = shape, recipe, device
        rows = (recipe.training.micro_batch or 1) * named(recipe.training.method).sequences
        self.tokens = rows * length
        # Packed rows share one long sequence, padded ones have a mask each.
        width = self.tokens if recipe.data.packing != "none" else length
        self.pairs = self.tokens * width if masked(recipe, shape.model_type, device) else 0
        self.eager = attention_used(recipe, shape.model_type, device) == "eager"
        self.scale = shape.compute_width // 2
        self.half = shape.compute_width == 2
        self.mixed = shape.full and shape.weight_width > shape.compute_width

    def moments(self) -> list[tuple[int, int, int]]:
        """Gradients, activations and loss, in bytes, at the moments of greatest need.

        Gradients are gone at the loss unless micro-batches are summed; all are there when the first layer's backward
        pass ends, and when the optimiser steps.
        """
        shape = self.shape
        all_gradients = shape.trained * shape.trained_width
        summed = all_gradients if self.recipe.training.accumulation not in {None, 1} else 0
        head = shape.head * shape.trained_width if shape.full else 0
        # A tied embedding's gradient comes apart from the head's, and both are added up into a third.
        last = (all_gradients, 2 * head if shape.tied else 0, 0)
        # When the first layer's backward pass is under way, its own and the embedding's gradients are still to come.
        nearly = all_gradients - int(all_gradients - 2 * head) // shape.layers - head if shape.full else all_gradients
        checkpoints = (shape.weight_width if self.mixed else shape.compute_width) * shape.hidden * self.tokens
        # What its loss needs of the router is kept whether or not a layer is computed again.
        checkpoints += self._router_kept()
        if self.recipe.training.activation_checkpointing is False:
            layer = self.kept_layer() + self._router_kept()
            everything = int(shape.layers * layer + self._while_masked())
            unpacked = self._unpacked()
            return [
                (summed, everything + self._head(), self._loss()),
                (max(summed, head), everything + max(self._beside(), unpacked), 0),
                (nearly, int(layer) + self._transient() + unpacked, 0),
                last,
            ]
        layer = int(self.kept_layer() + self._while_masked() + self._transient() + self._unpacked())
        return [
            (summed, checkpoints * (shape.layers + 1) + self._head(), self._loss()),
            (max(summed, head), checkpoints * shape.layers + layer, 0),
            (nearly, checkpoints + layer, 0),
            last,
        ]

    def kept_layer(self) -> float:
        """Bytes one layer keeps for its backward pass."""
        each = self._each() if self.shape.figures is None else self._each_traced(self.shape.figures)
        return self.tokens * (each + self._routed()) + self._written_out() + self._scores()

    def _each_traced(self, figures: Figures) -> float:
        """Bytes for each token of a layer whose architecture was traced: the mean of all layers."""
        shape = self.shape
        each = figures.kept if self.half else 2 * figures.kept - figures.upcast
        each += self.scale * (figures.trained if shape.full else 2 * shape.rank * figures.modules)
        return each / shape.layers + self._dropped() + self._mixed()

    def _each(self) -> float:
        """Bytes for each token."""
        shape, kept = self.shape, self.shape.block.kept
        each = self._per_token(kept)
        if not self.half:
            # What is kept in float32 anyway is not kept twice as wide, and counts of heads and rows are float32.
            each = 2 * each - self._per_token(shape.block.upcast) - kept.once
            each -= kept.heads * shape.heads + kept.key_heads * shape.key_heads
        if shape.full:
            each += (1 if shape.block.wide else self.scale) * self._per_token(shape.block.trained) + self._mixed()
        else:
            each += self.scale * (2 * shape.rank * len(shape.adapted) - self._unadapted()) + self._dropped()
        return each

    def _mixed(self) -> int:
        """Where float32 weights meet 16-bit products, what runs from layer to layer is float32, with copies of it."""
        return self.shape.block.mixed * self.shape.hidden if self.mixed else 0

    def _per_token(self, kept: Kept) -> int:
        shape = self.shape
        return (
            kept.hidden * shape.hidden
            + kept.queries * shape.queries
            + kept.keys * shape.keys
            + kept.inner * shape.intermediate
            + kept.heads * shape.heads
            + kept.key_heads * shape.key_heads
            + kept.once
        )

    def _routed(self) -> int:
        """A mixture of experts keeps a token's hidden state for every expert it is sent to, and the router's."""
        if self.shape.mixture is None:
            return 0
        experts, met = self.shape.mixture
        copies = 4 if self.shape.full or self.shape.delta else 2
        return self.scale * (copies * met * self.shape.hidden + 4 * experts) + 40 * met

    def _router_kept(self) -> int:
        """Bytes one layer keeps for the router's loss: a probability for each token and expert."""
        if self.shape.mixture is None or not self.recipe.training.router_loss:
            return 0
        return self.tokens * self.shape.compute_width * self.shape.mixture[0]

    def _written_out(self) -> int:
        """Weights in the format of the products: of adapters in float32 under autocast, and of adapted experts."""
        shape = self.shape
        trained = shape.linear if shape.full else shape.adapter
        cast = 2 * trained // shape.layers if self.half and shape.trained_width == 4 else 0
        return cast + shape.compute_width * shape.delta

    def _unadapted(self) -> int:
        """Inputs that a frozen layer without an adapter need not keep."""
        shape, names = self.shape, self.shape.adapted
        if shape.full or not names or names == frozenset(shape.block.modules):
            return 0
        saved = 0 if names & _READS_HIDDEN else 2 * shape.hidden
        saved += 0 if names & _WITHIN_MLP else 2 * shape.hidden
        return saved + (0 if names & _OUT_OF_MLP else 2 * shape.intermediate)

    def _dropped(self) -> int:
        """With dropout each adapter keeps an input of its own (traced over Llama, Gemma 3 and Phi 3).

        The first of those that share an input takes the place of what was kept of it without dropout.
        """
        shape = self.shape
        if not self.recipe.adapter.dropout:
            return 0
        # Of an architecture that was traced no names are known: it counts as one that has them all.
        names = shape.adapted or frozenset(_LLAMA_LAYERS)
        first, more = shape.compute_width, 2 * shape.compute_width
        before, behind = names & _READS_HIDDEN, names & _WITHIN_MLP
        kept = sum(first + more * (len(group) - 1) for group in (before, behind) if group) * shape.hidden
        kept += more * shape.queries if "o_proj" in names else 0
        return kept + (first * shape.intermediate if names & _OUT_OF_MLP else 0)

    def _transient(self) -> int:
        """Beside what a layer keeps, while its backward pass is computed: about two gradients of its MLP."""
        shape = self.shape
        if shape.figures is not None:
            return int(self.scale * self.tokens * max(0, shape.figures.busy - shape.figures.kept / shape.layers))
        return shape.compute_width * self.tokens * (2 * shape.intermediate + 2 * shape.hidden)

    def _beside(self) -> int:
        """Beside what all layers keep, when the backward pass begins; traced figures hold it already."""
        return 0 if self.shape.figures is not None else self._transient() // 2

    def _scores(self) -> int:
        """What a layer keeps for each pair of tokens: its mask, or with eager attention each head's scores."""
        each = score_bytes(self.shape.model_type)[0] * self.shape.heads if self.eager else 2
        return self.scale * each * self.pairs

    def _while_masked(self) -> int:
        """Beside that, while attention over all pairs of tokens is computed."""
        if self.eager:
            return score_bytes(self.shape.model_type)[1] * self.shape.heads * self.scale * self.pairs
        return _MASK_BYTES[self.device] * self.pairs

    def _unpacked(self) -> int:
        """The largest layer, unpacked from its compressed form for its product; adapted experts are written out."""
        shape = self.shape
        unpacked = 2 * shape.largest if self.recipe.quantization.packed else 0
        return unpacked + shape.compute_width * shape.delta // 4

    def _head(self) -> int:
        """The last norm's input in float32, and the gradient of its output."""
        more = 6 if self.shape.full else 0
        return self.tokens * self.shape.hidden * (8 + more)

    def _loss(self) -> int:
        """The head is fused with the loss and tiled: logits of one tile, and the head's gradient where it is trained.

        That one is added up in float32 before it is turned to the weights' format.
        """
        shape = self.shape
        folded = 0 if self.device == "cuda" else _FOLDED_BYTES * min(shape.vocabulary, _HEAD_TILE)
        tile = min(self.tokens, _HEAD_TOKENS) * (_HEAD_TILE * shape.compute_width + folded)
        trained = shape.head * (4 + (shape.trained_width if shape.trained_width < 4 else 0)) if shape.full else 0
        return tile + trained
