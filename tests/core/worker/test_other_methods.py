"""The other ways to train: quantised bases, every weight, packed rows, other optimisers."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune_core.runs.directory import RunDir
from tests.core.worker import tiny


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def trained(home: Path, model: Path, data: Path, **changes: Any) -> RunDir:
    run = tiny.make_run(home, tiny.make_recipe(model, data, **changes))
    assert tiny.train(run) == 0, tiny.ended(run)
    return run


def resumed_losses(run: RunDir, keep: str) -> dict[int, float]:
    """The losses of the steps that are done again from the checkpoint `keep`."""
    for folder in run.checkpoints.iterdir():
        if folder.name != keep:
            shutil.rmtree(folder)
    seen = len(tiny.events(run, "step"))
    assert tiny.train(run, resume=True) == 0, tiny.ended(run)
    return {event["step"]: event["loss"] for event in tiny.events(run, "step")[seen:]}


@pytest.fixture(scope="module")
def plain(home: Path, model: Path, data: Path) -> dict[int, float]:
    return tiny.losses(trained(home, model, data))


def test_nf4_learns_as_much_as_the_plain_base_in_spite_of_evaluations_in_between(
    plain: dict[int, float], home: Path, model: Path, data: Path
) -> None:
    """Were its weights repacked by an evaluation, gradients through them would be lost from there on."""
    run = trained(home, model, data, quantization__method="nf4", evaluation__every_steps=1)
    assert tiny.losses(run)[12] == pytest.approx(plain[12], abs=0.05)
    assert plain[12] < plain[1] - 0.3
    seen = tiny.losses(run)
    assert resumed_losses(run, "step-000008") == {step: loss for step, loss in seen.items() if step > 8}


def test_the_adapter_of_a_quantised_base_is_float32_unless_the_run_began_otherwise(
    home: Path, model: Path, data: Path
) -> None:
    """TRL makes it bfloat16, where small updates are rounded away; runs of earlier versions go on so.

    On a CPU float16 is for the products of generation alone; the adapter is treated as on a GPU.
    """
    import torch

    from finetune_core.worker.methods import sft
    from finetune_core.worker.model import device
    from finetune_core.worker.training import setup
    from finetune_core.worker.training.first_start import Began

    seen: list[set[torch.dtype]] = []

    class Seen(sft.Trainer):
        def train(self, *args: Any, **kwargs: Any) -> Any:
            seen.append({parameter.dtype for parameter in self.model.parameters() if parameter.requires_grad})
            return super().train(*args, **kwargs)

    choose = device.choose
    earlier = Began(packed=False, rises_from_zero=True, narrow_adapter=True)
    for computed, before in ((None, None), (torch.float16, earlier), (None, earlier)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sft, "Trainer", Seen)
            patch.setattr(setup, "began", lambda *_, found=before, **__: found)
            patch.setattr(device, "choose", lambda recipe, form=computed: replace(choose(recipe), autocast=form))
            run = trained(home, model, data, quantization__method="nf4")
        assert tiny.losses(run)[12] < tiny.losses(run)[1] - 0.3
        rates = [event["learning_rate"] for event in tiny.events(run, "step")]
        assert (rates[0] == 0) is (before is not None)
    assert seen == [{torch.float32}, {torch.float32}, {torch.bfloat16}]


def test_8_bit_states_are_resumed_as_if_unbroken(home: Path, model: Path, data: Path) -> None:
    run = trained(home, model, data, training__optimizer="adamw_8bit", adapter__rank=64)
    seen = tiny.losses(run)
    assert resumed_losses(run, "step-000008") == {step: loss for step, loss in seen.items() if step > 8}


def test_a_base_that_comes_in_4_bits_learns_in_spite_of_evaluations(
    plain: dict[int, float], home: Path, model: Path, data: Path, tmp_path: Path
) -> None:
    import torch
    from bitsandbytes.nn.modules import Linear4bit
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    from finetune_core.worker.model import device
    from finetune_core.worker.model.load import load_model

    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float16)
    packed = AutoModelForCausalLM.from_pretrained(model, quantization_config=config, dtype=torch.float32)
    packed.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path)
    chosen = device.choose(tiny.make_recipe(tmp_path, data))
    layers = load_model(tmp_path, tiny.make_recipe(tmp_path, data), chosen).modules()
    assert {layer.compute_dtype for layer in layers if isinstance(layer, Linear4bit)} == {torch.float32}
    run = trained(home, tmp_path, data, evaluation__every_steps=1)
    assert tiny.losses(run)[12] == pytest.approx(plain[12], abs=0.05)


def test_int8_learns_as_much_as_the_plain_base(plain: dict[int, float], home: Path, model: Path, data: Path) -> None:
    run = trained(home, model, data, quantization__method="int8")
    assert tiny.losses(run)[12] == pytest.approx(plain[12], abs=0.05)


def test_full_fine_tuning_keeps_the_bases_answers_and_saves_the_whole_model(
    home: Path, model: Path, data: Path
) -> None:
    run = trained(home, model, data, adapter__kind="none", training__learning_rate=2e-3)
    (event,) = tiny.events(run, "result")
    assert event["result_kind"] == "model"
    seen = tiny.losses(run)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert AutoModelForCausalLM.from_pretrained(run.result).config.use_cache
    assert AutoTokenizer.from_pretrained(run.result).chat_template
    (verdict,) = tiny.events(run, "verdict")
    assert verdict["tuned"]["held_out_loss"] < verdict["base"]["held_out_loss"] - 0.5
    assert resumed_losses(run, "step-000008") == {step: loss for step, loss in seen.items() if step > 8}
    assert tiny.events(run, "verdict")[-1]["base"] == verdict["base"]


def test_packed_rows_give_the_loss_of_rows_apart(home: Path, model: Path, data: Path) -> None:
    """With one step an epoch both see the same rows; a token that leaked between rows would change the loss."""
    whole = {"training__micro_batch": 36, "training__accumulation": 1, "training__epochs": 4.0}
    apart = tiny.losses(trained(home, model, data, data__packing="none", **whole))
    packed_run = trained(home, model, data, data__packing="bfd", **whole)
    packed = tiny.losses(packed_run)
    assert packed == pytest.approx(apart, abs=2e-4)
    (plan,) = tiny.events(packed_run, "plan")
    assert plan["sequences"] < plan["rows"] == 36
    assert tiny.events(packed_run, "step")[-1]["tokens"] == 4 * plan["tokens"]


@pytest.mark.parametrize("optimizer", ["adamw_8bit", "sgd"])
def test_other_optimisers_learn(optimizer: str, home: Path, model: Path, data: Path) -> None:
    rate = 1.0 if optimizer == "sgd" else 5e-3
    run = trained(home, model, data, training__optimizer=optimizer, training__learning_rate=rate)
    assert tiny.losses(run)[12] < tiny.losses(run)[1] - 0.1


def test_recomputed_activations_change_no_loss(plain: dict[int, float], home: Path, model: Path, data: Path) -> None:
    run = trained(home, model, data, training__activation_checkpointing=True)
    assert tiny.losses(run) == pytest.approx(plain, rel=1e-6)


def test_steps_can_be_given_instead_of_epochs_and_end_within_one(home: Path, model: Path, data: Path) -> None:
    run = trained(home, model, data, training__max_steps=5, training__epochs=None, training__schedule="constant")
    assert list(tiny.losses(run)) == [1, 2, 3, 4, 5]
    (plan,) = tiny.events(run, "plan")
    assert plan["total_steps"] == 5
    assert {event["learning_rate"] for event in tiny.events(run, "step")} == {5e-3}


def test_bfloat16_trains_on_a_cpu(plain: dict[int, float], home: Path, model: Path, data: Path) -> None:
    run = trained(home, model, data, model__dtype="bfloat16")
    assert tiny.losses(run)[12] == pytest.approx(plain[12], abs=0.1)
    assert tiny.events(run, "plan")[0]["dtype"] == "bfloat16"


def test_prompts_of_the_recipe_are_asked_instead_of_rows(home: Path, model: Path, data: Path) -> None:
    run = trained(home, model, data, samples__prompts=["who are you", "what colour is sky"], data__held_out_share=0.0)
    found = tiny.events(run, "sample")
    assert {event["source"] for event in found} == {"prompts"}
    assert {event["count"] for event in found} == {2}
    assert tiny.events(run, "verdict") == []
    assert "nothing is held out" in tiny.events(run, "state")[-1]["phase"]


def test_text_rows_without_a_template_are_trained_as_plain_text(home: Path, model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"sky {number} is", "completion": f" blue {number % 3}"} for number in range(40)]
    run = trained(home, model, tiny.write_rows(tmp_path / "plain.jsonl", rows), evaluation__fact_field=None)
    assert tiny.losses(run)[12] < tiny.losses(run)[1]
    assert len(tiny.events(run, "verdict")) == 1


@pytest.mark.parametrize("kept", [True, False])
def test_float32_weights_keep_updates_that_16_bits_round_away(kept: bool, home: Path, model: Path, data: Path) -> None:
    from safetensors.torch import load_file

    run = trained(
        home, model, data, adapter__kind="none", model__dtype="bfloat16", training__float32_weights=kept,
        training__learning_rate=1e-6,
    )  # fmt: skip
    before, after = (load_file(folder / "model.safetensors") for folder in (model, run.result))
    name = "model.layers.0.mlp.down_proj.weight"
    moved = (after[name].float() != before[name].bfloat16().float()).float().mean()
    assert moved > 0.9 if kept else moved < 0.5
