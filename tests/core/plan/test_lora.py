"""Rank, alpha and learning rate suit each other, the model, and the data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from finetune_core.hardware.look import Hardware
from finetune_core.models.catalogue import catalogue
from finetune_core.models.facts import ModelFacts
from finetune_core.plan.advice.advice import Choice, DataFacts, advise, advised
from finetune_core.plan.advice.few_rows import rank_warning
from finetune_core.plan.memory.sizes import sizes
from tests.core.plan.cases import LLAMA_8B, UNKNOWN, data, recipe
from tests.fakes import gpu, machine

H100 = machine(gpu(free_gib=79))


def offered(name: str) -> ModelFacts:
    return next(model for model in catalogue() if model.source == name)


LLAMA_1B = offered("meta-llama/Llama-3.2-1B-Instruct")


def choices(
    values: dict[str, object] | None = None,
    facts: DataFacts | None = None,
    model: ModelFacts = LLAMA_8B,
    hardware: Hardware = H100,
) -> dict[str, Choice]:
    return {made.field: made for made in advise(recipe(values), hardware, model, facts)}


@pytest.mark.parametrize(
    ("model", "rows", "rank"),
    [
        (LLAMA_8B, 100, 8), (LLAMA_8B, 2_000, 16), (LLAMA_8B, 280_000, 32), (LLAMA_8B, 1_000_000, 128),
        (LLAMA_1B, 2_000, 16), (LLAMA_1B, 90_000, 32), (LLAMA_1B, 280_000, 128), (LLAMA_1B, 1_000_000, 256),
    ],
)  # fmt: skip
def test_an_adapter_has_a_parameter_for_each_token_up_to_rank_256(model: ModelFacts, rows: int, rank: int) -> None:
    found = choices(facts=data(rows), model=model)["adapter.rank"]
    assert found.value == rank
    assert "tokens" in found.reason
    if rank > 8:
        shape = sizes(model, recipe({"adapter.rank": rank}), "cuda")
        assert shape is not None
        assert shape.adapter >= rows * 200 or rank == 256
        assert "iB with their gradients" in found.reason


def test_a_rank_that_does_not_fit_is_not_proposed_and_what_would_suit_is_said() -> None:
    small = machine(gpu(free_gib=9.3))
    found = choices(facts=data(2_000_000), hardware=small)
    assert found["adapter.rank"].value == 32
    assert "suit rank 256, and that does not fit" in found["adapter.rank"].reason
    done = advised(recipe(), small, LLAMA_8B, data(2_000_000))
    assert done.quantization.method == "nf4"
    assert done.adapter.rank == 32


def test_an_adapter_is_never_nearly_as_wide_as_the_model() -> None:
    demo = replace(LLAMA_1B, hidden=128, intermediate=384, layers=4, heads=4, kv_heads=4, head_dim=32, vocabulary=2048)
    assert choices(facts=data(1_000_000), model=demo)["adapter.rank"].value == 32


def test_a_rank_is_usual_where_model_or_data_are_unknown() -> None:
    assert choices()["adapter.rank"].value == 16
    assert choices(facts=data(1_000_000), model=UNKNOWN)["adapter.rank"].value == 16


@pytest.mark.parametrize("rank", [4, 64, 256])
def test_alpha_is_32_for_every_rank_and_full_tuning_has_neither(rank: int) -> None:
    assert choices({"adapter.rank": rank})["adapter.alpha"].value == 32.0
    assert not {"adapter.rank", "adapter.alpha"} & choices({"adapter.kind": "none"}).keys()


@pytest.mark.parametrize(
    ("values", "parameters", "rows", "rate"),
    [
        ({}, 8e9, 50_000, 2e-4), ({}, 8e9, 200, 3e-4), ({}, 32e9, 200, 1e-4),
        ({"adapter.kind": "none"}, 8e9, 200, 1e-5),
    ],
)  # fmt: skip
def test_the_learning_rate_follows_method_size_and_length_of_the_run(
    values: dict[str, object], parameters: float, rows: int, rate: float
) -> None:
    model = replace(LLAMA_8B, parameters=int(parameters))
    found = advised(recipe(values), machine(gpu()), model, data(rows))
    assert found.training.learning_rate == rate
    assert found.reasons["training.learning_rate"]


@pytest.mark.parametrize(("name", "low", "high"), [
    ("meta-llama/Llama-3.2-1B-Instruct", 3e-4, 5e-4), ("meta-llama/Llama-3.2-3B-Instruct", 3e-4, 5e-4),
    ("Qwen/Qwen3-4B", 3e-4, 5e-4), ("meta-llama/Llama-3.1-8B-Instruct", 2e-4, 3e-4), ("Qwen/Qwen3-14B", 2e-4, 3e-4),
    ("google/gemma-3-27b-it", 1e-4, 1e-4), ("meta-llama/Llama-3.3-70B-Instruct", 1e-4, 1e-4),
])  # fmt: skip
@pytest.mark.parametrize("rows", [200, 5_000, 200_000])
def test_the_rate_is_that_of_published_sweeps_for_the_size_of_the_model(
    name: str, low: float, high: float, rows: int
) -> None:
    found = choices(facts=data(rows), model=offered(name))["training.learning_rate"]
    assert isinstance(found.value, float)
    assert low <= found.value <= high
    assert "sweeps" in found.reason or "usual" in found.reason


@pytest.mark.parametrize(
    ("alpha", "rate"), [(32.0, 2e-4), (64.0, 1e-4), (128.0, 5e-5), (16.0, 4e-4), (1.0, 4e-4), (48.0, 1.3e-4)]
)
def test_another_alpha_takes_another_rate_and_none_takes_more_than_twice_as_much(alpha: float, rate: float) -> None:
    found = choices({"adapter.alpha": alpha}, data(5_000))["training.learning_rate"]
    assert found.value == rate
    assert f"alpha {alpha:g}" in found.reason


def test_the_rank_leaves_the_rate_as_it_is() -> None:
    rates = {
        rank: choices({"adapter.rank": rank}, data(5_000))["training.learning_rate"].value for rank in (4, 16, 256)
    }
    assert set(rates.values()) == {2e-4}


@pytest.mark.parametrize("rows", [10, 100, 10_000, 1_000_000])
@pytest.mark.parametrize("mean", [20, 200, 16_000])
@pytest.mark.parametrize("model", [LLAMA_8B, LLAMA_1B])
def test_a_rank_that_was_proposed_is_never_warned_of(rows: int, mean: int, model: ModelFacts) -> None:
    facts = data(rows, mean)
    assert rank_warning(advised(recipe(), H100, model, facts), rows, facts.tokens) is None
