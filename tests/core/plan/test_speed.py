from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ft_core.plan.advice import advised, situation, steps_of
from ft_core.plan.calibration import remember, remembered
from ft_core.plan.facts import Situation
from ft_core.plan.sizes import sizes
from ft_core.plan.speed import Measured, done_flops, peak_flops, relative_time, speed, useful_flops
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


@pytest.mark.parametrize(("tokens", "slower"), [(4096, 1.04), (512, 1.45)])
def test_a_4_bit_base_is_slower_by_what_was_measured(tokens: int, slower: float) -> None:
    asked = {"data.max_length": tokens, "training.micro_batch": 1}
    shape = sizes(LLAMA_8B, recipe(), "cuda")
    assert shape is not None
    whole, packed = recipe(asked), recipe({**asked, "quantization.method": "nf4"})
    ratio = relative_time(shape, packed, tokens) / relative_time(shape, whole, tokens)
    assert ratio == pytest.approx(slower, abs=0.06)


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
        ("NVIDIA H100 PCIe", 756), ("NVIDIA H200", 989), ("NVIDIA GeForce RTX 4090", 165), ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362), ("NVIDIA A100-SXM4-80GB", 312), ("Tesla T4", 65), ("NVIDIA A10G", 70),
    ],
)  # fmt: skip
def test_the_rate_is_that_of_the_card_and_not_of_one_with_a_like_name(name: str, teraflops: int) -> None:
    now = situation(recipe({"model.dtype": "bfloat16"}), machine(gpu(name=name)), LLAMA_8B, None)
    assert peak_flops(now) == pytest.approx(0.8 * teraflops * 1e12, rel=0.01)


def test_what_a_run_has_reached_here_is_what_the_next_plan_of_its_kind_expects() -> None:
    now = resolved()
    assert remembered(now) is None
    remember(now, 9_000.0)
    share = remembered(now)
    assert share is not None
    found = speed(now, steps_of(now), share)
    assert found is not None
    assert found.tokens_per_s.mid == pytest.approx(9_000)
    assert found.method == "measured on this machine"
    slower = replace(now, recipe=resolved({"training.activation_checkpointing": True}).recipe)
    other = speed(slower, steps_of(slower), share)
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


def test_what_earlier_versions_remembered_is_of_another_model(home: Path) -> None:
    now = resolved()
    remember(now, 9_000.0)
    (file,) = home.rglob("speed.json")
    name = next(iter(json.loads(file.read_text())))
    file.write_text(json.dumps({name: {"share": 0.4, "t": 1.0}, "damaged": [1, {"share": "much"}], "other": 7}))
    assert remembered(now) == Measured(0.4, "another model on this machine", 4.0)
