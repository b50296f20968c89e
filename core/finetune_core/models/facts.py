"""What is known of a model without loading it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finetune_core.errors import Problem
from finetune_core.models.layer_costs import Figures


@dataclass(frozen=True)
class ModelFacts:
    """A model as its files describe it; None is "unknown". `problem` says why it cannot be tuned here.

    `kind` is demo, folder, cache or hub: a model whose weights are not on this machine. Of that `path` holds what
    describes it (config, tokenizer, chat template), once it was fetched; until then path is None and all is unknown.
    Shapes are those of the language part: `hidden` H, `intermediate` I (widest MLP), `context` in tokens. A mixture of
    experts has `experts` of `expert_width` in each layer, of which a token meets `experts_per_token`, and perhaps one
    of `shared_width` that all tokens meet; its `intermediate` is what one token meets. `gated`: the hub asks for
    consent.
    `names_end` says whether a file of the tokenizer names an end token; its class may still have one.
    `parameters` counts what packed 4-bit weights stand for. `size_bytes` are the weight files. `modules` are the last
    names of layers that hold a matrix (`q_proj`); empty where the model in memory may call them otherwise. `senses` are
    the parts beside the language model, such as vision. `attention_dropout` is the share of attention weights that is
    dropped in training. `figures` are there for an architecture that no formula knows, once a step was traced.
    """

    source: str
    kind: str
    path: Path | None = None
    revision: str | None = None
    architecture: str | None = None
    model_type: str | None = None
    parameters: int | None = None
    hidden: int | None = None
    intermediate: int | None = None
    layers: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    vocabulary: int | None = None
    context: int | None = None
    tied: bool = False
    experts: int | None = None
    experts_per_token: int | None = None
    expert_width: int | None = None
    shared_width: int | None = None
    gated: bool | None = None
    dtype: str | None = None
    licence: str | None = None
    has_chat_template: bool | None = None
    names_end: bool | None = None
    size_bytes: int | None = None
    quantized: str | None = None
    modules: frozenset[str] = frozenset()
    senses: tuple[str, ...] = ()
    attention_dropout: float = 0.0
    figures: Figures | None = None
    problem: Problem | None = None
