from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from finetune_core.hardware.card_names import card_of
from finetune_core.plan.advice.advice import advised, situation, steps_of
from finetune_core.plan.memory.sizes import sizes
from finetune_core.plan.situation import Situation
from finetune_core.plan.speed.calibration import remember, remembered
from finetune_core.plan.speed.estimate import Measured, done_flops, peak_flops, speed, token_seconds, useful_flops
from finetune_core.plan.speed.step_time import step_time
from finetune_core.recipe.check import with_values
from tests.core.plan.cases import LLAMA_8B, UNKNOWN, data, recipe
from tests.fakes import gpu, machine

H100 = machine(gpu(name="NVIDIA H100 80GB HBM3"))


def resolved(values: dict[str, object] | None = None, hardware: object = H100) -> Situation:
    facts = data(2000, lengths=(1000,) * 2000)
    done = advised(recipe(values), hardware, LLAMA_8B, facts)  # type: ignore[arg-type]
    return situation(done, hardware, LLAMA_8B, facts)  # type: ignore[arg-type]


def test_an_8b_lora_at_4096_tokens_has_the_published_limit_on_an_h100() -> None:
    shape = sizes(LLAMA_8B, recipe({"model.dtype": "bfloat16"}), "cuda")
    assert shape is not None
    assert 790e12 / useful_flops(shape, 4096) == pytest.approx(23_200, rel=0.01)


def test_full_tuning_does_half_as_much_again_and_checkpointing_a_pass_more() -> None:
    lora, full = (sizes(LLAMA_8B, recipe({"adapter.kind": kind}), "cuda") for kind in ("lora", "none"))
    assert lora is not None
    assert full is not None
    assert useful_flops(full, 1) / useful_flops(lora, 1) == pytest.approx(1.5, rel=0.02)
    again = recipe({"training.activation_checkpointing": True})
    once = recipe({"training.activation_checkpointing": False})
    assert done_flops(lora, again, 4096) / done_flops(lora, once, 4096) == pytest.approx(1.41, abs=0.05)


def seconds_of(now: Situation, values: dict[str, object]) -> float:
    """Seconds of a token by the formula, with these values changed."""
    changed = replace(now, recipe=with_values(now.recipe, values))
    shape = sizes(changed.model, changed.recipe, changed.device)
    assert shape is not None
    return token_seconds(changed, shape)


@pytest.mark.parametrize(("card", "least", "most"), [("NVIDIA A10G", 1.2, 1.35), ("NVIDIA A100-SXM4-80GB", 1.3, 1.55)])
def test_a_4_bit_base_is_slower_by_what_was_published(card: str, least: float, most: float) -> None:
    """H2O LLM Studio: 1.25-1.31 on an A10G, 1.44-1.51 on an A100, of a 7B with 1,024 tokens and checkpointing."""
    asked = {"data.max_length": 512, "training.micro_batch": 2, "training.activation_checkpointing": True}
    now = resolved(asked, machine(gpu(name=card)))
    ratio = seconds_of(now, {"quantization.method": "nf4"}) / seconds_of(now, {"quantization.method": "none"})
    assert least < ratio < most


def test_a_micro_step_takes_no_less_than_its_layers_do_however_few_its_tokens() -> None:
    now = resolved({"data.max_length": 1024, "training.micro_batch": 1, "data.packing": "bfd"})
    shape = sizes(now.model, now.recipe, now.device)
    assert shape is not None
    few, fewer = (step_time(now, shape, (30e9, 1e9), tokens).micro_step for tokens in (64, 32))
    assert few == pytest.approx(fewer, rel=0.01)
    assert few > 0.004 * shape.layers
    many, more = (step_time(now, shape, (30e9, 1e9), tokens).micro_step for tokens in (20_000, 40_000))
    assert more == pytest.approx(2 * many, rel=0.02)


def test_full_tuning_pays_for_the_optimizer_once_a_step() -> None:
    asked = {"adapter.kind": "none", "data.max_length": 512, "training.micro_batch": 1, "training.accumulation": 1}
    now = resolved(asked)
    once, of_eight = (seconds_of(now, {"training.accumulation": count}) for count in (1, 8))
    # Ten numbers of two bytes a parameter over 0.85 of 3.35 TB/s are 56 ms, in eight steps one of 7 ms.
    width = 4 if now.recipe.training.float32_weights else 2
    seconds = 10 * width * 8.03e9 / (0.85 * 3.35e12)
    assert (once - of_eight) * 512 == pytest.approx(seconds * 7 / 8, rel=0.01)
    assert seconds_of(now, {"training.optimizer": "adamw_8bit"}) < once


def test_padding_is_computed_and_not_counted() -> None:
    lengths = (100, 900) * 500
    asked = {"data.packing": "none", "training.micro_batch": 8, "data.max_length": 1024, "training.accumulation": 1}
    padded = replace(resolved(asked), data=data(1000, lengths=lengths))
    assert seconds_of(padded, {}) > 1.3 * seconds_of(padded, {"data.packing": "bfd"})


def test_a_card_with_much_arithmetic_for_each_byte_is_further_from_its_sheet() -> None:
    asked = {
        "data.max_length": 2048,
        "training.micro_batch": 8,
        "training.compile": False,
        "training.activation_checkpointing": True,
    }
    reached = {}
    for name in ("NVIDIA GeForce RTX 4090", "NVIDIA A100-SXM4-80GB", "NVIDIA L40S", "NVIDIA H100 80GB HBM3"):
        now = resolved(asked, machine(gpu(name=name)))
        found = speed(now, None)
        assert found is not None
        reached[name.split()[1]] = found.tokens_per_s.mid / card_of(name).tflops  # type: ignore[union-attr]
    assert reached["GeForce"] > reached["A100-SXM4-80GB"] > reached["H100"] > reached["L40S"]


def test_float32_on_a_card_without_tf32_has_the_rate_of_its_plain_cores() -> None:
    t4 = machine(gpu(name="Tesla T4", capability=(7, 5)))
    wide, half = (
        peak_flops(situation(recipe({"model.dtype": dtype}), t4, LLAMA_8B, None)) for dtype in ("float32", "float16")
    )
    assert wide is not None
    assert half is not None
    assert wide / half == pytest.approx(8.1 / 65)


def test_a_speed_measured_on_one_micro_step_holds_for_it_and_leaves_the_optimizer_to_the_formula() -> None:
    now = resolved({"adapter.kind": "none", "data.packing": "none", "training.micro_batch": 2})
    shape = sizes(now.model, now.recipe, now.device)
    assert shape is not None
    alone = token_seconds(now, shape, 2000, whole=False)
    remember(now, 1 / alone, 2000)
    known = remembered(now)
    assert known is not None
    assert known.pace == pytest.approx(1)


def test_duration_is_tokens_over_speed_with_an_honest_range_and_costs_its_price() -> None:
    now = resolved({"hardware.price_per_hour": 3.6, "training.epochs": 2.0})
    steps = steps_of(now)
    found = speed(now, steps)
    assert found is not None
    assert steps is not None
    assert found.tokens == pytest.approx(2_000_000 * steps.epochs)
    assert found.seconds is not None
    assert found.seconds.low < found.seconds.mid < found.seconds.high
    assert found.tokens_per_s.low < found.tokens_per_s.mid < found.tokens_per_s.high < found.limit
    assert found.cost is not None
    assert found.cost.mid == pytest.approx(found.seconds.mid / 1000)


def test_an_unknown_device_or_model_has_no_speed_rather_than_a_wrong_one() -> None:
    strange = machine(gpu(name="Some new card"))
    assert peak_flops(situation(recipe(), strange, LLAMA_8B, None)) is None
    assert speed(situation(recipe(), strange, LLAMA_8B, None), None) is None
    assert speed(situation(recipe(), H100, UNKNOWN, None), None) is None


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA H100 PCIe", 0.8 * 756), ("NVIDIA H200", 0.8 * 989), ("NVIDIA GeForce RTX 4090", 0.95 * 165.2),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 0.8 * 85.7), ("NVIDIA L4", 0.55 * 121), ("NVIDIA L40S", 0.8 * 362),
        ("NVIDIA A100-SXM4-80GB", 0.8 * 312), ("Tesla T4", 0.55 * 65), ("NVIDIA A10G", 0.95 * 70),
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", 3 / 7 * 0.8 * 312),
    ],
)  # fmt: skip
def test_the_rate_is_that_of_the_card_and_not_of_one_with_a_like_name(name: str, teraflops: float) -> None:
    now = situation(recipe({"model.dtype": "bfloat16"}), machine(gpu(name=name)), LLAMA_8B, None)
    assert peak_flops(now) == pytest.approx(teraflops * 1e12)


def test_what_a_run_has_reached_here_is_what_the_next_plan_of_its_kind_expects() -> None:
    now = resolved()
    assert remembered(now) is None
    remember(now, 9_000.0)
    pace = remembered(now)
    assert pace is not None
    found = speed(now, steps_of(now), pace)
    assert found is not None
    assert found.tokens_per_s.mid == pytest.approx(9_000)
    assert found.method == "measured on this machine"
    slower = replace(now, recipe=resolved({"training.activation_checkpointing": True}).recipe)
    other = speed(slower, steps_of(slower), pace)
    assert other is not None
    assert other.tokens_per_s.mid == pytest.approx(9_000 / 1.4, rel=0.05)


def width(now: Situation) -> float:
    found = speed(now, steps_of(now), remembered(now))
    assert found is not None
    return found.tokens_per_s.high / found.tokens_per_s.low


def method(now: Situation) -> str:
    found = speed(now, steps_of(now), remembered(now))
    assert found is not None
    return found.method


def test_a_speed_of_another_model_is_an_estimate_from_it_with_a_wide_range() -> None:
    now = resolved()
    typical = width(now)
    remember(now, 9_000.0)
    other = replace(now, model=replace(LLAMA_8B, source="org/another"))
    assert method(other) == "an estimate from Llama-3.1-8B-Instruct on this machine"
    assert width(other) > 10 > typical > 2 > width(now)
    remember(other, 8_000.0)
    assert (method(other), method(now)) == ("measured on this machine",) * 2
    assert remembered(now) != remembered(other)


@pytest.mark.parametrize(
    ("values", "measured"),
    [
        ({"training.learning_rate": 1e-3}, True),
        ({"training.seed": 1}, True),
        ({"training.micro_batch": 3}, True),
        ({"training.micro_batch": 1}, False),
        ({"quantization.method": "nf4"}, False),
        ({"adapter.kind": "none"}, False),
        ({"data.packing": "none"}, False),
        ({"training.activation_checkpointing": True}, False),
    ],
)
def test_a_speed_is_measured_only_for_settings_like_those_that_ran(values: dict[str, object], measured: bool) -> None:
    layout: dict[str, object] = {"training.micro_batch": 4, "training.activation_checkpointing": False}
    now = resolved({"data.max_length": 2048, **layout})
    remember(now, 9_000.0)
    other = resolved({"data.max_length": 2048, **layout, **values})
    words = "measured on this machine"
    assert method(other) == (words if measured else "an estimate from this model with other settings on this machine")
    assert (width(other) > 2) == (not measured)


def test_what_earlier_versions_remembered_by_another_formula_is_left_out(home: Path) -> None:
    now = resolved()
    remember(now, 9_000.0)
    (file,) = home.rglob("speed.json")
    name = next(iter(json.loads(file.read_text())))
    file.write_text(json.dumps({name: {"share": 0.4, "t": 1.0}, "damaged": [1, {"share": "much"}], "other": 7}))
    assert remembered(now) is None
    file.write_text(json.dumps({name: [{"pace": 0.8, "model": 7}], "other": [{"pace": 1e9}]}))
    assert remembered(now) == Measured(0.8, "another model on this machine", 4.0)


def test_attention_with_a_mask_computes_every_pair_of_the_packed_rows() -> None:
    asked = {"data.max_length": 2048, "training.micro_batch": 4, "data.packing": "bfd"}
    now = resolved(asked)
    whole = seconds_of(now, {"training.attention": "varlen"})
    few = seconds_of(now, {"training.attention": "sdpa"})
    eager = seconds_of(now, {"training.attention": "eager"})
    assert 1.2 * whole < few < eager
    assert seconds_of(now, {"training.attention": "sdpa", "training.micro_batch": 1}) < few
