"""What gets an adapter under all-linear: what rows reach, and no router."""

from __future__ import annotations

from typing import Any

import pytest

from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from tests.bench.architectures import small_config

ATTENTION = ["k_proj", "o_proj", "q_proj", "v_proj"]


def tuned(config: Any, **values: Any) -> Any:
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    from finetune_core.worker.model.adapter import lora_config

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    adapter = lora_config(with_values(Recipe(), values), model)
    assert adapter is not None
    return get_peft_model(model, adapter, low_cpu_mem_usage=True)


@pytest.mark.parametrize(
    ("kind", "named", "without"),
    [
        ("llama", [*ATTENTION, "down_proj", "gate_proj", "up_proj"], []),
        ("qwen3_moe", [*ATTENTION, "experts.down_proj", "experts.gate_up_proj"], ["the router"]),
        ("mixtral", [*ATTENTION, "experts.down_proj", "experts.gate_up_proj"], ["the router"]),
        ("phimoe", ATTENTION, ["the experts", "the router"]),
        ("gpt_oss", ATTENTION, ["the experts", "the router"]),
    ],
)
def test_every_linear_layer_has_one_and_no_router(kind: str, named: list[str], without: list[str]) -> None:
    from finetune_core.worker.model.adapter_targets import adapted, without_adapter

    model = tuned(small_config(kind))
    assert sorted(adapted(model)) == sorted(named)
    assert without_adapter(model) == without
    assert not any("router" in name or "mlp.gate." in name for name, p in model.named_parameters() if p.requires_grad)


def test_a_router_has_one_where_it_is_asked_for() -> None:
    from finetune_core.worker.model.adapter_targets import adapted

    assert "router" in adapted(tuned(small_config("phimoe"), **{"adapter.target_modules": ["q_proj", "router"]}))


def test_parts_that_rows_of_text_do_not_reach_have_none() -> None:
    from transformers import Gemma3Config

    from finetune_core.worker.model.adapter_targets import adapted, in_words, without_adapter

    text = {**vars(small_config("gemma3_text")), "layer_types": ["sliding_attention", "full_attention"]}
    seen = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16,
        "patch_size": 8,
    }  # fmt: skip
    shapes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
              "head_dim", "vocab_size", "layer_types", "sliding_window")  # fmt: skip
    config = Gemma3Config(text_config={name: text[name] for name in shapes}, vision_config=seen, mm_tokens_per_image=4)
    model = tuned(config)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("language_model" in name for name in trained)
    assert any("vision" in name for name in without_adapter(model))
    assert adapted(model)["q_proj"] == 2
    assert "q_proj (2)" in in_words(adapted(model), without_adapter(model))
