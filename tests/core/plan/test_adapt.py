"""The form of the base, the adapter, attention and compilation where they are on auto; and what else there is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from finetune_core.models.facts import ModelFacts
from finetune_core.plan.advice.advice import Choice, advise, advised, situation
from finetune_core.plan.advice.alternatives import alternatives
from finetune_core.plan.memory.attention import packing_problem
from finetune_core.plan.situation import DataFacts, TokenCount
from finetune_core.plan.steps import padded_share
from tests.core.plan.cases import LLAMA_8B, QWEN_600M, UNKNOWN, data, recipe
from tests.fakes import gpu, machine


def choices(
    values: dict[str, object] | None = None,
    free_gib: float = 79,
    model: ModelFacts = LLAMA_8B,
    facts: DataFacts | None = None,
) -> dict[str, Choice]:
    return {made.field: made for made in advise(recipe(values), machine(gpu(free_gib=free_gib)), model, facts)}


@pytest.mark.parametrize(("free", "method"), [(79, "none"), (24, "none"), (16, "nf4"), (4, "nf4")])
def test_the_base_is_compressed_only_where_it_does_not_fit_otherwise(free: float, method: str) -> None:
    made = choices(free_gib=free)["quantization.method"]
    assert made.value == method
    assert f"{free:.1f} GiB" in made.reason


def test_what_cannot_be_compressed_is_not() -> None:
    assert choices({"adapter.kind": "none"}, free_gib=4)["quantization.method"].value == "none"
    packed = replace(LLAMA_8B, quantized="bitsandbytes", size_bytes=5_700_000_000)
    assert choices(free_gib=4, model=packed)["quantization.method"].value == "none"
    assert "unknown" in choices(model=UNKNOWN)["quantization.method"].reason


def test_the_smallest_layout_counts_unless_the_user_has_set_a_larger_one() -> None:
    assert choices(free_gib=20)["quantization.method"].value == "none"
    large = choices({"training.micro_batch": 8, "data.max_length": 4096}, free_gib=20)
    assert large["quantization.method"].value == "nf4"


@pytest.mark.parametrize(
    ("values", "kind", "capability", "attention", "why"),
    [
        ({}, "llama", (9, 0), "varlen", "boundaries"),
        ({"data.packing": "none"}, "llama", (9, 0), "sdpa", "padded"),
        ({}, "gemma2", (9, 0), "eager", "capped"),
        ({}, "gpt_oss", (9, 0), "eager", "sink"),
        ({}, "llama", (7, 5), "sdpa", "compute capability 8.0"),
        ({"model.dtype": "float32"}, "llama", (9, 0), "sdpa", "16 bits"),
    ],
)
def test_attention_is_the_one_that_needs_no_mask_where_it_can_be(
    values: dict[str, object], kind: str, capability: tuple[int, int], attention: str, why: str
) -> None:
    hardware = machine(gpu(capability=capability))
    model = replace(LLAMA_8B, model_type=kind)
    made = {choice.field: choice for choice in advise(recipe(values), hardware, model, None)}["training.attention"]
    assert made.value == attention
    assert why in made.reason


def test_rows_of_a_recurrent_model_are_not_packed_without_what_keeps_them_apart() -> None:
    told = packing_problem(recipe({"data.packing": "bfd"}), "qwen3_5")
    assert told is not None
    assert (told.where, "data.packing" in told.remedy) == ("data.packing", True)
    assert packing_problem(recipe({"data.packing": "none"}), "qwen3_5_text") is None
    assert packing_problem(recipe({"data.packing": "bfd"}), "qwen3") is None
    assert packing_problem(recipe(), "qwen3_5") is None
    recurrent = advised(recipe(), machine(gpu()), replace(LLAMA_8B, model_type="qwen3_5"), data(100))
    assert recurrent.data.packing == "none"
    assert "state" in recurrent.reasons["data.packing"]


def test_packing_on_auto_tells_what_padding_would_cost() -> None:
    mixed = replace(data(100), counted=TokenCount.of((10, 90) * 50))
    made = {choice.field: choice for choice in advise(recipe(), machine(gpu()), LLAMA_8B, mixed)}["data.packing"]
    assert (made.value, "1.7 x the tokens" in made.reason or "1.8 x the tokens" in made.reason) == ("bfd", True)


def test_the_padding_that_packing_spares_is_counted_from_the_lengths() -> None:
    assert padded_share([10] * 8, 4, 100) == 1
    assert padded_share([10, 90] * 50, 100, 1000) == pytest.approx(1.8)
    assert padded_share([10, 90] * 50, 100, 30) == pytest.approx(1.5)


def test_layers_are_compiled_for_a_long_run_on_a_gpu_only() -> None:
    named = machine(gpu(name="NVIDIA H100 80GB HBM3"))
    long, short = (advised(recipe(), named, LLAMA_8B, data(rows)) for rows in (400_000, 500))
    assert (long.training.compile, short.training.compile) == (True, False)
    assert "too short" in short.reasons["training.compile"]
    on_cpu = advised(recipe(), machine(memory_gib=64), QWEN_600M, data(400_000))
    assert on_cpu.training.compile is False


def test_each_choice_has_alternatives_with_what_they_cost() -> None:
    hardware, facts = machine(gpu(free_gib=79)), data(2000)
    done = advised(recipe(), hardware, LLAMA_8B, facts)
    now = situation(done, hardware, LLAMA_8B, facts)
    found = alternatives(now)
    again = found["training.activation_checkpointing"][0]
    assert again.value is (done.training.activation_checkpointing is False)
    packed = {other.value: other for other in found["quantization.method"]}
    assert set(packed) == {"int8", "nf4"}
    assert packed["nf4"].fits
    assert packed["nf4"].time > 1
    ranks = {other.value: other for other in found["adapter.rank"]}
    assert ranks[32].memory_bytes > ranks[8].memory_bytes
    lengths = {other.value: other for other in found["data.max_length"]}
    assert sorted(lengths) == [1024, 4096]
    assert alternatives(replace(now, model=UNKNOWN)) == {}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model_type": "qwen3"}, "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj"),
        ({"model_type": "qwen3_moe", "experts": 128}, "o_proj and the experts; none on the router"),
        ({"model_type": "gpt_oss", "experts": 32}, "o_proj; none on the experts, nor on the router"),
        ({"model_type": "gemma3", "senses": ("vision",)}, "none on the vision part, which rows of text do not reach"),
        ({"model_type": "never_heard_of"}, "every linear layer that rows reach; the run names them"),
    ],
)
def test_what_gets_an_adapter_is_said_by_name_beforehand(values: dict[str, Any], words: str) -> None:
    assert words in choices(model=replace(LLAMA_8B, **values))["adapter.target_modules"].reason


def test_what_gets_an_adapter_is_nothing_to_choose_where_it_is_named_or_everything_is_trained() -> None:
    assert "adapter.target_modules" not in choices({"adapter.target_modules": ["q_proj"]})
    assert "adapter.target_modules" not in choices({"adapter.kind": "none"})


@pytest.mark.parametrize("kind", ["gpt_oss", "jamba", "falcon", "lfm2", "granitemoehybrid", "mamba", "minimax"])
def test_architectures_whose_packed_rows_run_together_are_planned_unpacked_with_the_reason(kind: str) -> None:
    made = choices(model=replace(LLAMA_8B, model_type=kind))["data.packing"]
    assert made.value == "none"
    assert kind in made.reason
    told = packing_problem(recipe({"data.packing": "bfd"}), kind)
    assert told is not None
    assert "install" not in told.remedy
