"""What makes steps faster must not change what is learnt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune_core.recipe.schema import Recipe
from tests.core.worker import tiny
from tests.core.worker.test_attention import model_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture
def cpu() -> Any:
    from finetune_core.worker.model import device

    return device.choose(Recipe())


def adapted() -> Any:
    """A bfloat16 model with a float32 adapter that is not zero."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    tuned = get_peft_model(model_of("llama").bfloat16(), LoraConfig(r=4, target_modules="all-linear"))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return tuned


def step(model: Any) -> tuple[Any, list[Any]]:
    import torch

    ids = torch.arange(3, 40)[None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    return loss, [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def test_spared_casts_change_no_bit_of_loss_and_gradients(cpu: Any) -> None:
    import torch

    from finetune_core.worker.model import speedups

    half = replace(cpu, dtype=torch.bfloat16, autocast=torch.bfloat16)
    plain, spared = adapted(), adapted()
    assert speedups.spare_casts(spared, half) == speedups.ON
    (loss, grads), (other_loss, other_grads) = step(plain), step(spared)
    assert torch.equal(loss, other_loss)
    assert len(grads) == len(other_grads) > 0
    assert all(torch.equal(one, other) for one, other in zip(grads, other_grads, strict=True))


@pytest.mark.parametrize("packing", ["none", "bfd"])
def test_a_model_that_computes_its_attention_itself_is_never_switched(packing: str, cpu: Any) -> None:
    import torch

    from finetune_core.worker.model import speedups

    capped = model_of("gemma2", sliding_window=6, layer_types=["sliding_attention", "full_attention"])
    for attention in ("auto", "sdpa", "varlen"):
        asked = tiny.make_recipe(Path("x"), Path("x"), data__packing=packing, training__attention=attention)
        speedups.set_attention(capped, asked, cpu)
        assert capped.config._attn_implementation == "eager"
    ids = torch.arange(3, 11)[None]
    assert torch.isfinite(capped(input_ids=ids, labels=ids, use_cache=False).loss)


def test_where_nothing_is_cast_nothing_is_spared(cpu: Any) -> None:
    from finetune_core.worker.model import speedups

    assert speedups.spare_casts(adapted(), cpu) is None


def test_compiled_layers_compute_the_same_and_keep_their_names(cpu: Any) -> None:
    import torch

    from finetune_core.worker.model import speedups

    recipe = tiny.make_recipe(Path("demo"), Path("demo"), training__compile=True)
    plain, compiled = model_of("llama"), model_of("llama")
    assert speedups.compile_layers(compiled, recipe, None) == speedups.ON
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for length in (9, 14):
        ids = torch.arange(3, 3 + length)[None]
        torch.testing.assert_close(
            compiled(input_ids=ids, labels=ids, use_cache=False).loss,
            plain(input_ids=ids, labels=ids, use_cache=False).loss,
        )


def test_what_cannot_be_compiled_runs_as_it_is(cpu: Any) -> None:
    import torch
    from torch._inductor import config

    from finetune_core.worker.model import speedups

    recipe = tiny.make_recipe(Path("demo"), Path("demo"), training__compile=True)
    plain, compiled = model_of("llama"), model_of("llama")
    ids = torch.arange(3, 11)[None]
    expected = plain(input_ids=ids, use_cache=False).logits
    torch.compiler.reset()
    without_compiler: dict[str, Any] = {"force_disable_caches": True, "cpp.cxx": ("/nowhere/c++",)}
    with config.patch(without_compiler):
        speedups.compile_layers(compiled, recipe, None)
        assert torch.equal(compiled(input_ids=ids, use_cache=False).logits, expected)


def test_without_triton_a_gpu_compiles_nothing(cpu: Any) -> None:
    from finetune_core.worker.model import speedups

    asked = tiny.make_recipe(Path("demo"), Path("demo"), training__compile=True)
    assert speedups.compile_layers(model_of("llama"), asked, "no C compiler") == "no C compiler"
    assert speedups.compile_layers(model_of("llama"), Recipe(), None) is None


def test_the_run_tells_which_levers_it_took(model: Path, data: Path, tmp_path: Path) -> None:
    from finetune_core.worker.model import speedups

    recipe = tiny.make_recipe(model, data, data__packing="bfd", training__max_steps=1, training__epochs=None)
    run = tiny.make_run(tmp_path, recipe)
    tiny.train(run)
    assert tiny.events(run, "plan")[0]["levers"] == {"attention": speedups.ON}


def test_attention_that_is_not_there_is_replaced_with_its_reason(model: Path, data: Path, tmp_path: Path) -> None:
    recipe = tiny.make_recipe(model, data, training__attention="flash", training__max_steps=1, training__epochs=None)
    run = tiny.make_run(tmp_path, recipe)
    tiny.train(run)
    told = tiny.events(run, "plan")[0]["levers"]["attention"]
    assert told == "flash-attn computes on GPUs only; sdpa instead"
