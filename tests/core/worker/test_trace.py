"""The trace against real steps, and the closed form against the trace."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from finetune_core.errors import FtError
from finetune_core.models.config import shapes
from finetune_core.models.facts import ModelFacts
from finetune_core.models.inspect import inspect_folder
from finetune_core.plan.memory.estimate import estimate
from finetune_core.plan.memory.traced import traced
from finetune_core.recipe.schema import Recipe
from tests.core.plan.cases import recipe
from tests.core.worker import tiny
from tests.core.worker.golden_traces import traced_peak

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

_COMMON: dict[str, Any] = {"max_position_embeddings": 131072, "pad_token_id": 0}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256, "tie_word_embeddings": True,
    },
    "qwen2": {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False,
    },
    "qwen3": {
        "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": True,
    },
    "gemma3_text": {
        "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262208, "tie_word_embeddings": True,
        "sliding_window": 1024, "layer_types": ["full_attention"] * 34,
    },
    "phi3": {
        "hidden_size": 5120, "intermediate_size": 17920, "num_hidden_layers": 40, "num_attention_heads": 40,
        "num_key_value_heads": 10, "vocab_size": 100352, "tie_word_embeddings": False,
    },
    "olmo2": {
        "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 32, "vocab_size": 100352, "tie_word_embeddings": False,
    },
    "qwen3_moe": {
        "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128,
        "num_experts_per_tok": 8, "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4,
        "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": False,
    },
    "gpt_oss": {
        "hidden_size": 2880, "intermediate_size": 2880, "num_local_experts": 32, "num_experts_per_tok": 4,
        "num_hidden_layers": 24, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
        "vocab_size": 201088, "tie_word_embeddings": False,
    },
}  # fmt: skip
METHODS: dict[str, dict[str, object]] = {
    "lora": {},
    "qlora": {"quantization.method": "nf4"},
    "full": {"adapter.kind": "none"},
}
GRID = [
    (METHODS["lora"], False, 1024), (METHODS["lora"], True, 8192), (METHODS["qlora"], True, 1024),
    (METHODS["full"], True, 2048),
]  # fmt: skip
VARIANTS: dict[str, dict[str, object]] = {
    "dropout": {"adapter.dropout": 0.05},
    "few layers": {"adapter.target_modules": ["q_proj", "v_proj"]},
    "rank 128": {"adapter.rank": 128},
    "summed": {"training.accumulation": 4},
    "float16": {"model.dtype": "float16"},
    "8-bit Adam": {"training.optimizer": "adamw_8bit", "adapter.kind": "none"},
    "SGD": {"training.optimizer": "sgd", "adapter.kind": "none"},
    "eager": {"training.attention": "eager"},
}


def config_of(kind: str) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(kind, **{**_COMMON, **ARCHITECTURES[kind]})


def facts_of(config: Any) -> ModelFacts:
    found = config.to_dict()
    kind = config.model_type
    return ModelFacts(source=kind, kind="hub", model_type=kind, tied=config.tie_word_embeddings, **shapes(found))


# Traced in every run of the suite, however well their peaks are known.
ALWAYS = frozenset({"qwen2", "phi3"})


def peaks(config: Any, values: dict[str, object], device: str = "cuda", *, anew: bool = False) -> tuple[int, int]:
    """The peak of a step in bytes: traced, and by the closed form."""
    asked = recipe({"model.dtype": "bfloat16", "training.micro_batch": 1, **values})
    guess = estimate(facts_of(config), asked, device)
    assert guess is not None
    return traced_peak(config, asked, device, anew=anew), guess.peak


def error(config: Any, values: dict[str, object], device: str = "cuda", *, anew: bool = False) -> float:
    """By what share the closed form is off the trace."""
    peak, guess = peaks(config, values, device, anew=anew)
    return guess / peak - 1


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_closed_form_is_within_5_percent_of_the_trace_and_1_at_the_median(kind: str) -> None:
    config = config_of(kind)
    errors = [
        error(
            config,
            {**values, "training.activation_checkpointing": checkpointing, "data.max_length": length},
            anew=kind in ALWAYS,
        )
        for values, checkpointing, length in GRID
    ]
    assert max(map(abs, errors)) < 0.05, errors
    assert statistics.median(map(abs, errors)) < 0.01, errors


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_closed_form_follows_every_setting(variant: str) -> None:
    values = {"training.activation_checkpointing": False, "data.max_length": 2048, **VARIANTS[variant]}
    assert abs(error(config_of("llama"), values)) < 0.05


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["down_proj"], ["o_proj"], ["gate_proj", "up_proj"]])
def test_dropout_counts_the_layers_that_have_an_adapter(targets: list[str]) -> None:
    values: dict[str, object] = {
        "adapter.dropout": 0.1, "adapter.target_modules": targets, "data.max_length": 2048,
        "training.activation_checkpointing": False,
    }  # fmt: skip
    assert abs(error(config_of("llama"), values)) < 0.03


@pytest.mark.parametrize("checkpointing", [True, False])
def test_what_the_loss_of_a_router_keeps_is_counted(checkpointing: bool) -> None:
    config = config_of("qwen3_moe")
    values: dict[str, object] = {"training.activation_checkpointing": checkpointing, "data.max_length": 2048}
    without, asked = (peaks(config, {**values, "training.router_loss": weight}) for weight in (0.0, 0.01))
    # A probability in 16 bits for each of 128 experts and 2048 tokens, of all layers where nothing is computed again.
    assert asked[0] - without[0] == pytest.approx(2 * 128 * 2048 * (1 if checkpointing else 48), rel=0.02)
    assert asked[1] - without[1] == pytest.approx(asked[0] - without[0], rel=0.02)


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "phi3", "olmo2"])
def test_float32_weights_beside_16_bit_products_are_counted(kind: str) -> None:
    wide: dict[str, object] = {"adapter.kind": "none", "training.float32_weights": True, "data.max_length": 8192}
    for checkpointing in (False, True):
        off = error(config_of(kind), {**wide, "training.activation_checkpointing": checkpointing})
        assert abs(off) < 0.01


@pytest.mark.parametrize("kind", ["none", "lora"])
def test_on_a_cpu_in_float32_the_closed_form_counts_the_folded_tiles_too(kind: str) -> None:
    for length in (512, 4096):
        values: dict[str, object] = {"model.dtype": "float32", "adapter.kind": kind, "data.max_length": length}
        assert abs(error(config_of("qwen3"), values, "cpu")) < 0.05


def real_peak(folder: Path, asked: Recipe, out: Path) -> int:
    """Bytes of tensors at the peak of a second step that the trainer really takes, counted as the trace counts."""
    import torch
    from datasets import Dataset

    from finetune_core.worker.memory.trace import FORWARD, Tally
    from finetune_core.worker.methods.sft import sft_config
    from finetune_core.worker.methods.trainer import Trainer, keep_adapter_in_float32
    from finetune_core.worker.model import device, speedups
    from finetune_core.worker.model.adapter import lora_config
    from finetune_core.worker.model.load import load_model
    from finetune_core.worker.rows.tokenizer import load_tokenizer

    chosen = device.choose(asked)
    model = load_model(folder, asked, chosen)
    speedups.set_attention(model, asked, chosen, longest=32)
    length = asked.data.max_length or 0
    rows = Dataset.from_dict({"input_ids": [[5] * length] * 4, "labels": [[5] * length] * 4})
    trainer: Any = Trainer(
        model=model,
        args=sft_config(asked, chosen, out),
        train_dataset=rows,
        processing_class=load_tokenizer(folder),
        peft_config=lora_config(asked, model),
    )
    keep_adapter_in_float32(trainer.model)
    tally = Tally()

    class Begin(__import__("transformers").TrainerCallback):  # type: ignore[misc, name-defined]
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            tally.peaks.clear()
            tally.begin(FORWARD)

    trainer.add_callback(Begin())
    for tensor in (*trainer.model.parameters(), *trainer.model.buffers()):
        tally.add(tensor, "weights")
    torch.manual_seed(0)
    with tally:
        trainer.train()
    return max(parts.total() for parts in tally.peaks.values())


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", ["lora", "none"])
def test_the_trace_is_what_the_trainer_allocates(kind: str, checkpointing: bool, model: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig

    from finetune_core.worker.memory.trace import trace

    asked = tiny.make_recipe(
        model,
        model,
        adapter__kind=kind,
        data__max_length=200,
        training__micro_batch=1,
        training__accumulation=1,
        training__max_steps=2,
        training__epochs=None,
        training__activation_checkpointing=checkpointing,
    )
    expected = trace(AutoConfig.from_pretrained(str(model)), asked, "cpu").peak
    assert real_peak(model, asked, tmp_path) == pytest.approx(expected, rel=0.01)


def test_a_model_in_a_folder_is_traced_by_a_process_and_remembered(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tiny.make_recipe(model, model, training__micro_batch=1)
    facts = inspect_folder(model, source="tiny", kind="folder")
    first = traced(facts, asked, "cpu")
    guess = estimate(facts, asked, "cpu")
    assert guess is not None
    assert first.method == "trace"
    assert first.peak == pytest.approx(guess.peak, rel=0.05)

    def nothing(*_: object, **__: object) -> None:
        raise AssertionError("a process was started again")

    monkeypatch.setattr("finetune_core.plan.memory.traced.Helper", nothing)
    assert traced(facts, asked, "cpu") == first
    with pytest.raises(AssertionError, match="again"):
        traced(facts, tiny.make_recipe(model, model, adapter__rank=5), "cpu")


def test_what_cannot_be_traced_is_told_with_what_stands_instead(model: Path, tmp_path: Path) -> None:
    from finetune_core.worker.memory.trace import answer, step

    asked = tiny.make_recipe(model, model, quantization__method="int8").model_dump(mode="json")
    refused = answer({"folder": str(model), "recipe": asked, "device": "cuda"}, step)
    assert "int8" in refused["problem"]["why"]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nothing_known"}))
    unknown = answer({"folder": str(tmp_path), "recipe": asked, "device": "cuda"}, step)
    assert "unknown" in unknown["problem"]["what"]
    with pytest.raises(FtError, match="not on this machine"):
        traced(ModelFacts(source="org/unseen", kind="hub"), Recipe(), "cuda")
