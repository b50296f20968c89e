"""What a decoder layer of each architecture keeps for its backward pass.

The figures are bytes for each token in 16-bit products: exact whole numbers, found by tracing steps of random shapes
with fake tensors and solving for the coefficients (torch 2.13, transformers 5.23). They can be counted by hand, too: a
norm keeps its input in float32 (4H), a linear layer with an adapter its input, attention its queries, keys, values and
output, a gated MLP four times its width. `tests/core/worker/test_trace.py` holds them against the trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True)
class Kept:
    """Bytes for each token: times hidden H, queries Q, keys KV, MLP width I, heads, key heads; and `once`."""

    hidden: int = 0
    queries: int = 0
    keys: int = 0
    inner: int = 0
    heads: int = 0
    key_heads: int = 0
    once: int = 0


@dataclass(frozen=True)
class Block:
    """One architecture's layer.

    `kept` with an adapter on every linear layer; `upcast` is the part of it that is in float32 anyway; `trained` comes
    on top when the weights themselves are trained (`wide`: in float32 in any case). `modules` are the linear layers by
    name, `norms` counts the vectors of hidden size. `adapted`: PEFT puts adapters on a mixture's experts.
    `mixed`: bytes of each hidden number that are kept on top where float32 weights meet 16-bit products.
    """

    kept: Kept
    trained: Kept
    upcast: Kept = Kept(hidden=8)
    modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    wide: bool = False
    norms: int = 2
    adapted: bool = False
    mixed: int = 10


_ATTENTION: Final = ("q_proj", "k_proj", "v_proj", "o_proj")
_LLAMA: Final = Block(Kept(12, 4, 4, 8, 4, 0, 8), Kept(hidden=4))
_NORMED: Final = Kept(hidden=8, queries=4, keys=4)
_QWEN3: Final = Block(Kept(12, 8, 8, 8, 8, 4, 8), Kept(hidden=4, queries=2, keys=2), _NORMED)

BLOCKS: Final[Mapping[str, Block]] = {
    **dict.fromkeys(("llama", "mistral", "ministral", "ministral3", "qwen2", "granite", "smollm3"), _LLAMA),
    **dict.fromkeys(("qwen3", "hunyuan_v1_dense"), _QWEN3),
    "gemma": replace(_LLAMA, trained=Kept(hidden=8), wide=True, mixed=6),
    "gemma3": Block(
        Kept(20, 8, 8, 8, 8, 4, 16), Kept(16, 4, 4), Kept(hidden=16, queries=4, keys=4), wide=True, norms=4, mixed=6
    ),
    "phi3": Block(
        Kept(16, 4, 6, 8, 4, 0, 8), Kept(hidden=4), modules=("qkv_proj", "o_proj", "gate_up_proj", "down_proj"), mixed=4
    ),
    **dict.fromkeys(
        ("olmo2", "olmo3"), Block(Kept(12, 8, 8, 8, 4, 0, 16), Kept(10, 2, 4), _NORMED, wide=True, mixed=6)
    ),
    **dict.fromkeys(("cohere", "cohere2"), Block(Kept(10, 4, 4, 8, 4, 0, 4), Kept(hidden=4), norms=1, mixed=8)),
    "starcoder2": Block(
        Kept(8, 4, 4, 4, 4, 0, 8), Kept(), Kept(hidden=4), modules=(*_ATTENTION, "c_fc", "c_proj"), norms=4, mixed=8
    ),
    "mixtral": Block(Kept(12, 4, 4, 8, 4, 0, 8), Kept(hidden=4), modules=_ATTENTION, adapted=True),
    "qwen3_moe": Block(Kept(12, 8, 8, 8, 8, 4, 8), Kept(4, 2, 2), _NORMED, modules=_ATTENTION, adapted=True),
    "gpt_oss": Block(Kept(10, 6, 4, 12, 4, 0, 8), Kept(hidden=10, inner=2), modules=_ATTENTION),
}


def block_of(model_type: str | None) -> Block:
    """The layer of an architecture; an unknown one counts as a Llama of the same shapes."""
    return BLOCKS.get((model_type or "").removesuffix("_text"), _LLAMA)


def known(model_type: str | None) -> bool:
    """Whether this architecture's layer was traced."""
    return (model_type or "").removesuffix("_text") in BLOCKS
