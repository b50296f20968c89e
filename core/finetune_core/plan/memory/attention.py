"""How attention is computed over packed and padded rows, and where that needs a mask of all pairs of tokens."""

from __future__ import annotations

import importlib.util
from typing import Final

from finetune_core.errors import Problem
from finetune_core.models.facts import ModelFacts
from finetune_core.recipe.schema import Recipe

# Architectures that cap their scores or add a sink to them, which the kernels without a mask do not compute.
_OWN: Final = {
    "gemma2": "its scores are capped, which the kernels without a mask do not compute",
    "gpt_oss": "its scores have a sink, which the kernels without a mask do not compute",
}
# Bytes for each head and pair of tokens in 16-bit products: kept, and beside that in the backward pass (traced).
_SCORE_BYTES: Final = {"gemma2": (8, 5), "gpt_oss": (2, 4)}


# Architectures with layers that carry a state from token to token. Of some flash-linear-attention keeps packed rows
# apart; the others would need other kernels, which are seldom there.
_LINEAR: Final = frozenset(("qwen3_5", "qwen3_5_moe", "qwen3_next", "olmo_hybrid"))
_STATES: Final = frozenset(
    "bailing_hybrid bamba falcon_h1 falcon_mamba granitemoehybrid inkling2 jamba lfm2 lfm2_moe lfm3 mamba mamba2"  # noqa: SIM905
    " minimax nemotron_h qwen4_exp recurrent_gemma rwkv xlstm zamba zamba2".split()
)
# Architectures that make their mask, or their biases by distance, without being given where packed rows begin.
_UNTOLD: Final = frozenset("bloom falcon gpt_oss mpt xglm".split())  # noqa: SIM905


def runs_together(model_type: str | None) -> str:
    """Why packed rows of this architecture would run into each other here; empty where that is not known beforehand.

    The worker tries rows on the model itself, and leaves them unpacked where this table does not know one.
    """
    kind = (model_type or "").removesuffix("_text")
    if kind in _STATES:
        return f"layers of {kind} carry a state from token to token, which packed rows would hand on to each other"
    if kind in _UNTOLD:
        return f"layers of {kind} are not given where packed rows begin, and would see the rows before"
    if kind not in _LINEAR or importlib.util.find_spec("fla") is not None:
        return ""
    return (
        f"layers of {kind} carry a state from token to token, and only flash-linear-attention keeps packed rows apart"
    )


def packing_problem(recipe: Recipe, model_type: str | None) -> Problem | None:
    """Why rows cannot be packed for this architecture here; None where they can, or need not be."""
    why = runs_together(model_type) if recipe.data.packing == "bfd" else ""
    if not why:
        return None
    more = ", or install flash-linear-attention" if "flash-linear-attention" in why else ""
    return Problem(
        "rows cannot be packed for this model", "data.packing", why, f"set data.packing to auto or none{more}"
    )


def attention(recipe: Recipe, model_type: str | None, *, sixteen_bits: bool, device: str) -> tuple[str, str]:
    """The attention a recipe on auto gets, and why. `sixteen_bits`: whether the products are computed in 16 bits."""
    own = _OWN.get((model_type or "").removesuffix("_text"))
    if own is not None:
        return "eager", own
    if recipe.data.packing == "none":
        return "sdpa", "rows are padded, and torch's kernels take their mask"
    if device == "cuda" and not sixteen_bits:
        return "sdpa", "the kernel for packed rows computes in 16 bits only"
    return "varlen", "packed rows are kept apart by their boundaries, without a mask of all pairs of tokens"


def attention_used(recipe: Recipe, model_type: str | None, device: str) -> str:
    """The attention of a recipe: what it names, or what it gets on auto."""
    if recipe.training.attention != "auto":
        return recipe.training.attention
    half = recipe.model.dtype in {"bfloat16", "float16"} or (recipe.model.dtype == "auto" and device == "cuda")
    return attention(recipe, model_type, sixteen_bits=half, device=device)[0]


def dropout_warning(recipe: Recipe, model: ModelFacts, device: str) -> Problem | None:
    """That attention will drop nothing although the model's config asks for it; None where nothing is left out."""
    left_out = model.attention_dropout
    used = attention_used(recipe, model.model_type, device)
    if not left_out or recipe.data.packing == "none" or used != "varlen":
        return None
    return Problem(
        f"attention dropout is 0, where the model's config has {left_out:g}",
        "training.attention",
        "the kernel for packed rows drops nothing",
        "it is left so, or set data.packing to none to train with it",
    )


def masked(recipe: Recipe, model_type: str | None, device: str) -> bool:
    """Whether attention takes a mask of all pairs of tokens."""
    used = attention_used(recipe, model_type, device)
    if recipe.data.packing == "none":
        return used == "eager" or (used == "sdpa" and (recipe.training.micro_batch or 1) > 1)
    return used in {"sdpa", "eager"}


def score_bytes(model_type: str | None) -> tuple[int, int]:
    """Bytes of eager attention for each head and pair of tokens: kept, and beside that while it is computed."""
    return _SCORE_BYTES.get((model_type or "").removesuffix("_text"), (6, 5))
