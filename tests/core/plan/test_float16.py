"""Families whose numbers leave float16's range are never trained in it unasked, nor without a word."""

from __future__ import annotations

import pytest

from finetune_core.models.catalogue import catalogue
from finetune_core.models.facts import ModelFacts
from finetune_core.plan.advice.fits import verdicts
from finetune_core.plan.advice.float16 import demands_float32, overflow
from finetune_core.plan.resolve import completed, resolve
from tests.core.plan.cases import LLAMA_8B, data, recipe
from tests.fakes import GIB, gpu, machine

T4 = machine(gpu(name="Tesla T4", free_gib=14.6, capability=(7, 5)))
L4 = machine(gpu(name="NVIDIA L4", free_gib=22))


def offered(name: str) -> ModelFacts:
    return next(model for model in catalogue() if model.source == name)


GEMMA_3 = ("google/gemma-3-1b-it", "google/gemma-3-4b-it", "google/gemma-3-12b-it")


@pytest.mark.parametrize("name", [*GEMMA_3, "Qwen/Qwen3.5-4B", "google/gemma-4-E2B-it", "Qwen/Qwen3-30B-A3B"])
def test_a_model_that_overflows_in_float16_is_computed_in_float32_on_a_gpu_without_bfloat16(name: str) -> None:
    found = completed(resolve(recipe(), T4, offered(name), data(1000)))
    assert found.recipe.model.dtype == "float32"
    assert "overflow" in found.recipe.reasons["model.dtype"]
    said = next(problem for problem in found.warnings if problem.where == "model.dtype")
    assert "several times slower" in said.what
    assert "RTX 3060" in said.remedy
    assert resolve(recipe(), L4, offered(name), data(1000)).recipe.model.dtype == "bfloat16"


def test_a_4b_gemma_fits_a_t4_in_4_bits_with_products_in_float32() -> None:
    found = completed(resolve(recipe(), T4, offered("google/gemma-3-4b-it"), data(1000)))
    assert found.recipe.quantization.method == "nf4"
    assert found.memory is not None
    assert found.memory.total <= T4.gpus[0].memory_free


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-0.5B-Instruct"])
def test_a_model_of_which_overflows_are_only_reported_is_trained_in_float16_with_a_warning(name: str) -> None:
    found = completed(resolve(recipe(), T4, offered(name), data(1000)))
    assert found.recipe.model.dtype == "float16"
    said = next(problem for problem in found.warnings if problem.where == "model.dtype")
    assert "reported to overflow" in said.what
    assert "float32" in said.remedy


def test_nothing_is_said_where_nothing_speaks_against_the_format() -> None:
    for hardware, model in ((T4, LLAMA_8B), (L4, offered("google/gemma-3-4b-it"))):
        found = completed(resolve(recipe(), hardware, model, data(1000)))
        assert not [problem for problem in found.warnings if problem.where == "model.dtype"]


def test_float16_that_was_asked_for_is_kept_and_warned_of() -> None:
    for hardware, remedy in ((L4, "computes in bfloat16"), (T4, "computes in float32 here")):
        found = completed(
            resolve(recipe({"model.dtype": "float16"}), hardware, offered("google/gemma-3-4b-it"), data(1000))
        )
        assert found.recipe.model.dtype == "float16"
        said = next(problem for problem in found.warnings if problem.where == "model.dtype")
        assert "overflows in float16" in said.what
        assert remedy in said.remedy


def test_the_models_that_fit_are_judged_in_the_format_they_are_trained_in() -> None:
    gemma = offered("google/gemma-3-4b-it")
    with_it = {one.method: one for one in verdicts(gemma, 15 * GIB)}
    without = {one.method: one for one in verdicts(gemma, 15 * GIB, bfloat16=False)}
    assert with_it["lora"].length is not None
    assert without["lora"].length is None, "16 GB of float32 weights"
    assert without["qlora"].length is not None
    assert verdicts(LLAMA_8B, 15 * GIB, bfloat16=False) == verdicts(LLAMA_8B, 15 * GIB)


@pytest.mark.parametrize(
    ("model_type", "certain"),
    [
        ("gemma3", True), ("gemma3_text", True), ("gemma3n_text", True), ("gemma4_text", True), ("gpt_oss", True),
        ("qwen3_5_text", True), ("qwen3_5_moe_text", True), ("glm4_moe_lite", True), ("qwen2", False),
        ("gemma2", False),
    ],
)  # fmt: skip
def test_variants_of_a_family_count_as_it(model_type: str, certain: bool) -> None:
    assert overflow(model_type) is not None
    assert demands_float32(model_type) is certain


@pytest.mark.parametrize("model_type", [None, "", "llama", "mistral", "qwen3", "phi3", "olmo2"])
def test_other_families_are_left_alone(model_type: str | None) -> None:
    assert overflow(model_type) is None
