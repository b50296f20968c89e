from __future__ import annotations

from dataclasses import replace

import pytest

from finetune_core.plan.memory.estimate import (
    CONTEXT_BYTES,
    RESERVE_SHARE,
    MemoryEstimate,
    bytes_per_parameter,
    estimate,
)
from tests.core.plan.cases import LLAMA_8B, QWEN_600M, UNKNOWN, recipe

GIB = 2**30
# One sequence of 4096 tokens, nothing packed, as in the traced figures.
ONE_ROW: dict[str, object] = {"data.max_length": 4096, "training.micro_batch": 1, "data.packing": "none"}


def need(values: dict[str, object], device: str = "cuda") -> MemoryEstimate:
    found = estimate(LLAMA_8B, recipe({**ONE_ROW, **values}), device)
    assert found is not None
    return found


def without_reserve(found: MemoryEstimate) -> float:
    return (found.total - found.parts["reserve"]) / GIB


def test_an_8b_model_takes_15_gib_in_bfloat16_and_30_in_float32() -> None:
    assert need({"model.dtype": "bfloat16"}).parts["weights"] / GIB == pytest.approx(15, abs=0.1)
    assert need({"model.dtype": "float32"}).parts["weights"] / GIB == pytest.approx(30, abs=0.2)


def test_nf4_takes_0_5159_bytes_a_parameter_and_more_without_double_quantisation() -> None:
    assert bytes_per_parameter(recipe({"quantization.method": "nf4"}), 2) == pytest.approx(0.5159, abs=5e-5)
    single = recipe({"quantization.method": "nf4", "quantization.double": False})
    assert bytes_per_parameter(single, 2) == 0.5625


def test_quantisation_leaves_embeddings_and_head_in_16_bits() -> None:
    embeddings = 2 * 128256 * 4096
    linear = LLAMA_8B.parameters or 0
    weights = need({"quantization.method": "nf4"}).parts["weights"]
    assert weights == pytest.approx(2 * embeddings + 0.5159 * (linear - embeddings), rel=0.001)
    assert need({"quantization.method": "int8"}).parts["weights"] == pytest.approx(
        2 * embeddings + (linear - embeddings), rel=0.002
    )


@pytest.mark.parametrize(("checkpointing", "traced"), [(True, 17.4), (False, 38.4)])
def test_the_peak_of_an_8b_lora_step_is_the_traced_one(checkpointing: bool, traced: float) -> None:
    found = need({"training.activation_checkpointing": checkpointing})
    assert without_reserve(found) == pytest.approx(traced, rel=0.035)


def test_a_packed_16k_sequence_pays_22_gib_for_its_mask() -> None:
    long: dict[str, object] = {"data.max_length": 16384, "training.activation_checkpointing": False}
    packed, single = need({**long, "data.packing": "bfd", "training.attention": "sdpa"}), need(long)
    assert without_reserve(packed) - without_reserve(single) == pytest.approx(22, abs=0.1)
    without_mask = need({**long, "data.packing": "bfd"})
    assert without_mask.total == single.total


def test_a_lora_adapter_has_rank_times_in_plus_out_parameters_in_float32() -> None:
    layer = 16 * (2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 14336))
    parts = need({}).parts
    assert parts["adapter"] == 32 * layer * 4
    assert parts["optimiser"] == 2 * parts["adapter"]
    quantised: dict[str, object] = {"quantization.method": "nf4"}
    assert need(quantised).parts["adapter"] == parts["adapter"], "on every base"
    assert need({**quantised, "model.dtype": "float16"}).parts["adapter"] == 32 * layer * 4, "its gradients are scaled"


def test_fewer_target_modules_make_a_smaller_adapter() -> None:
    parts = need({"adapter.target_modules": ["q_proj", "v_proj"]}).parts
    assert parts["adapter"] == 32 * 16 * ((4096 + 4096) + (4096 + 1024)) * 4


def test_full_tuning_needs_gradients_and_two_moments_of_every_weight() -> None:
    parts = need({"adapter.kind": "none", "training.activation_checkpointing": True}).parts
    weights = 2 * (LLAMA_8B.parameters or 0)
    assert (parts["weights"], parts["adapter"], parts["gradients"]) == (weights, 0, weights)
    assert parts["optimiser"] == 2 * weights


def test_8_bit_adam_needs_half_of_the_moments_in_16_bits_and_sgd_none() -> None:
    full: dict[str, object] = {"adapter.kind": "none"}
    adam = need(full).parts["optimiser"]
    embeddings = 128256 * 4096
    in_8_bits = need({**full, "training.optimizer": "adamw_8bit"}).parts["optimiser"]
    assert in_8_bits == pytest.approx(adam / 2 + (8 - 2) * embeddings, rel=0.02), "embeddings keep theirs in float32"
    few = need({"training.optimizer": "adamw_8bit"}).parts
    assert few["optimiser"] == pytest.approx(few["adapter"] / 2, rel=0.02)
    assert need({**full, "training.optimizer": "sgd"}).parts["optimiser"] == 0


def test_gradients_live_on_while_micro_batches_are_summed() -> None:
    kept: dict[str, object] = {"training.activation_checkpointing": False}
    once, summed = need({**kept, "training.accumulation": 1}), need({**kept, "training.accumulation": 4})
    assert once.parts["gradients"] == 0
    assert summed.parts["gradients"] == summed.parts["adapter"]


def test_parts_add_up_and_hold_the_devices_context_and_a_reserve() -> None:
    for device in ("cuda", "cpu"):
        found = need({}, device)
        assert sum(found.parts.values()) == found.total
        used = found.total - found.parts["reserve"]
        assert found.parts["reserve"] == CONTEXT_BYTES[device] + int(RESERVE_SHARE * used)


def test_more_rows_longer_rows_and_wider_numbers_need_more() -> None:
    base = need({}).total
    for more in ({"training.micro_batch": 2}, {"data.max_length": 8192}, {"adapter.dropout": 0.05}):
        assert need(dict(more)).total > base
    assert need({}, "cpu").total > base


def test_a_model_quantised_already_weighs_what_its_files_do() -> None:
    packed = replace(LLAMA_8B, quantized="bitsandbytes", size_bytes=5_700_000_000)
    found = estimate(packed, recipe(), "cuda")
    assert found is not None
    assert found.parts["weights"] == 5_700_000_000


def test_an_unknown_model_has_no_estimate() -> None:
    assert estimate(UNKNOWN, recipe(), "cuda") is None


def test_tied_embeddings_are_counted_once() -> None:
    unknown_count = replace(QWEN_600M, parameters=None)
    tied, untied = (estimate(replace(unknown_count, tied=tied), recipe(), "cuda") for tied in (True, False))
    assert tied is not None
    assert untied is not None
    assert untied.parts["weights"] - tied.parts["weights"] == 2 * 151936 * 1024
