"""Mixtures of experts train with everything on auto, and what is saved is configured as the base was."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from finetune_core.errors import FtError
from finetune_core.plan.prepare import prepare
from finetune_core.worker.model.adapter import refuse_dropped_experts
from finetune_core.worker.model.router_loss import refuse_without_router
from tests.bench.architectures import small_config
from tests.core.worker import tiny

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def make_mixture(kind: str, folder: Path) -> Path:
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = tiny.make_tokenizer(folder)
    config = small_config(kind)
    config.vocab_size, config.eos_token_id, config.pad_token_id = len(tokenizer), tokenizer.eos_token_id, 0
    config.output_router_logits, config.router_aux_loss_coef = True, 0.02
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return folder


def run_of(model: Path, data: Path, home: Path, **changes: Any) -> Any:
    recipe = tiny.make_recipe(
        model, data, data__packing="bfd", training__max_steps=2, training__epochs=None, samples__max_new_tokens=2,
        evaluation__questions=1, evaluation__max_new_tokens=2, saving__every_steps=1, **changes,
    )  # fmt: skip
    run = tiny.make_run(home, recipe)
    assert tiny.train(run) == 0, tiny.ended(run)
    assert not [event["text"] for event in tiny.events(run, "alarm") if event["name"].endswith("_failed")]
    return run


def test_a_whole_mixture_is_saved_with_the_config_of_its_base(data: Path, tmp_path: Path) -> None:
    base = make_mixture("qwen3_moe", tmp_path / "base")
    odd = {"do_sample": False, "temperature": 0.6, "eos_token_id": 3, "max_new_tokens": 7}
    (base / "generation_config.json").write_text(json.dumps(odd))
    run = run_of(base, data, tmp_path, adapter__kind="none", training__learning_rate=1e-4)
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (base, run.result))
    assert after == before
    checkpoint = max(run.checkpoints.iterdir())
    assert json.loads((checkpoint / "config.json").read_text()) == before
    # What nothing is sampled by is gone, and said; the rest stays.
    saved = json.loads((run.result / "generation_config.json").read_text())
    assert (saved["max_new_tokens"], saved.get("temperature")) == (7, None)
    (alarm,) = [event["text"] for event in tiny.events(run, "alarm") if event["name"] == "generation_config"]
    assert "temperature 0.6" in alarm


def test_a_mixture_whose_config_counts_its_experts_by_another_name_trains(data: Path, tmp_path: Path) -> None:
    run = run_of(make_mixture("granitemoe", tmp_path / "base"), data, tmp_path)
    (plan,) = tiny.events(run, "plan")
    assert plan["adapters"] == {"k_proj": 2, "o_proj": 2, "q_proj": 2, "v_proj": 2}
    assert "the experts" in plan["no_adapter"]
    assert "none on the experts" in run.log_file.read_text() if run.log_file.exists() else True


@pytest.mark.parametrize("kind", ["qwen3_moe", "granitemoe"])
def test_the_loss_of_a_router_is_added_where_it_is_asked_for_and_kept_apart(
    kind: str, data: Path, tmp_path: Path
) -> None:
    base = make_mixture(kind, tmp_path / "base")
    plain, asked = (
        run_of(base, data, tmp_path / f"{weight}", training__router_loss=weight, adapter__kind="none")
        for weight in (0.0, 0.5)
    )
    (first, second), (alike, other) = (tiny.events(run, "step") for run in (plain, asked))
    # The loss of the tokens before anything was trained is the same; what it is after that step no longer is.
    assert alike["loss"] == pytest.approx(first["loss"], rel=1e-5)
    # Even use is 1 in a Switch Transformer's loss, times the experts a token meets (arXiv:2101.03961, equation 4).
    assert alike["router_loss"] == pytest.approx(2.0, rel=0.2)
    assert alike["grad_norm"] != pytest.approx(first["grad_norm"], rel=1e-4)
    assert other["loss"] != second["loss"]
    assert "router_loss" not in first
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (base, asked.result))
    assert after == before


def test_the_loss_of_a_router_is_refused_where_there_is_none(data: Path, model: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    recipe = tiny.make_recipe(model, data, training__router_loss=0.1)
    with pytest.raises(FtError, match="no experts to use evenly"):
        prepare(recipe)
    silent = AutoModelForCausalLM.from_config(small_config("deepseek_v3"), dtype=torch.float32)
    add_fused_lm_head(silent)
    with pytest.raises(FtError, match="models of the type deepseek_v3 have no loss of a router"):
        refuse_without_router(silent, nullcontext)


def test_a_dropout_that_the_experts_adapters_cannot_have_is_refused_by_name(data: Path, tmp_path: Path) -> None:
    base = make_mixture("qwen3_moe", tmp_path / "base")
    recipe = tiny.make_recipe(base, data, adapter__dropout=0.05)
    with pytest.raises(FtError, match=r"the experts' adapters cannot have a dropout of 0\.05"):
        prepare(recipe)
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    with pytest.raises(FtError, match="PEFT adds them to the experts' weights"):
        refuse_dropped_experts(recipe, model)
    named = tiny.make_recipe(base, data, adapter__dropout=0.05, adapter__target_modules=["q_proj", "v_proj"])
    refuse_dropped_experts(named, model)
    prepare(named)


def test_a_generation_config_that_cannot_be_mended_keeps_its_tokens() -> None:
    from transformers import GenerationConfig

    from finetune_core.worker.model.generation_config import repair

    fine = GenerationConfig(do_sample=True, temperature=0.6, eos_token_id=5)
    assert repair(fine) is None
    assert fine.temperature == 0.6
    broken = GenerationConfig(eos_token_id=[5, 6], pad_token_id=0)
    broken.early_stopping, broken.num_return_sequences = "perhaps", 3
    assert "early_stopping perhaps" in (repair(broken) or "")
    broken.validate(strict=True)
    assert (broken.eos_token_id, broken.pad_token_id) == ([5, 6], 0)


def test_tokens_the_model_has_no_embedding_for_are_refused_by_name_before_the_first_step(
    data: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    base = make_mixture("llama", tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.resize_token_embeddings(300)
    model.save_pretrained(base)
    run = tiny.make_run(tmp_path, tiny.make_recipe(base, data))
    assert tiny.train(run) == 3
    end = tiny.ended(run)
    assert "tokens that the model does not know: `" in end["cause"]
    assert "ids 0 to 299" in end["cause"]
    assert "chat_template" in end["remedy"]
    assert tiny.events(run, "step") == []
