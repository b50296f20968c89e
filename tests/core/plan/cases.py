"""Models and recipes that the tests of planning share."""

from __future__ import annotations

from finetune_core.models.facts import ModelFacts
from finetune_core.plan.situation import DataFacts, TokenCount
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe

LLAMA_8B = ModelFacts(
    source="meta-llama/Llama-3.1-8B-Instruct",
    kind="cache",
    architecture="LlamaForCausalLM",
    model_type="llama",
    parameters=8_030_261_248,
    hidden=4096,
    intermediate=14336,
    layers=32,
    heads=32,
    kv_heads=8,
    head_dim=128,
    vocabulary=128256,
    context=131072,
    dtype="bfloat16",
    has_chat_template=True,
)
QWEN_600M = ModelFacts(
    source="Qwen/Qwen3-0.6B",
    kind="cache",
    architecture="Qwen3ForCausalLM",
    model_type="qwen3",
    parameters=596_049_920,
    hidden=1024,
    intermediate=3072,
    layers=28,
    heads=16,
    kv_heads=8,
    head_dim=128,
    vocabulary=151936,
    context=40960,
    tied=True,
    dtype="bfloat16",
    has_chat_template=True,
)
UNKNOWN = ModelFacts(source="org/unseen", kind="hub")


def recipe(values: dict[str, object] | None = None) -> Recipe:
    """The default recipe with these values."""
    return with_values(Recipe(), values or {})


def data(rows: int, mean: int = 200, lengths: tuple[int, ...] | None = None) -> DataFacts:
    """Data of this many rows."""
    counted = TokenCount.of(lengths, lengths[: rows // 20]) if lengths else None
    return DataFacts(rows, rows // 20, counted, estimated_tokens=rows * mean)
