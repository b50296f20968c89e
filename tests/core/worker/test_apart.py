"""Packed rows never see each other: tried on the model at hand, with what it is told in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetune_core.plan.memory import attention as plan
from finetune_core.recipe.yaml_io import load
from finetune_core.runs.directory import read_plan
from tests.bench.architectures import small_config
from tests.core.worker import tiny
from tests.core.worker.test_attention import model_of

KNOWN = sorted(plan._STATES | plan._UNTOLD)


def small(kind: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(small_config(kind), dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 0.2)
    return model


def attention(model: Any, longest: int = 64, **changes: Any) -> Any:
    from finetune_core.worker.model import device, speedups

    asked = tiny.make_recipe(Path("x"), Path("x"), data__packing="bfd", **changes)
    return speedups.set_attention(model, asked, device.choose(asked), longest=longest)


@pytest.mark.parametrize("kind", KNOWN)
def test_what_the_plan_says_of_an_architecture_is_what_its_model_does(kind: str) -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    name = f"{kind}_text" if f"{kind}_text" in CONFIG_MAPPING else kind
    assert plan.runs_together(name)
    assert name in CONFIG_MAPPING, "the installed transformers knows it no more: take it out of the table"
    assert attention(small(name)).together is not None


@pytest.mark.parametrize("kind", ["llama", "mixtral", "qwen3_moe", "granitemoe", "stablelm", "gemma2", "starcoder2"])
def test_rows_that_stay_apart_are_packed(kind: str) -> None:
    assert attention(small(kind)).together is None


def test_a_window_that_layers_do_not_pass_on_is_seen_where_rows_are_longer_than_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from finetune_core.worker.model import attention as varlen
    from finetune_core.worker.model import speedups

    real = varlen._attend

    def forgetful(*arguments: Any, **named: Any) -> Any:
        return real(*arguments, **{**named, "sliding_window": None})

    monkeypatch.setattr(varlen, "_attend", forgetful)
    model = model_of("mistral", sliding_window=30)
    found = attention(model, 64, training__attention="varlen")
    assert "apart from lone ones; sdpa instead" in found.how
    assert found.together is None
    assert attention(model_of("mistral", sliding_window=30), 30, training__attention="varlen").how == speedups.ON


def test_what_drops_is_off_while_rows_are_tried_and_as_before_afterwards() -> None:
    import torch

    from finetune_core.worker.model import speedups
    from finetune_core.worker.model.attention import packed_rows
    from tests.core.worker.test_attention import packed_batch, rows_of

    model = model_of("granite", attention_dropout=0.1).train()
    model.model.layers[0].mlp.register_module("dropout", torch.nn.Dropout(0.3))
    assert attention(model).how == speedups.ON
    assert model.training
    assert model.config.attention_dropout == model.model.layers[0].self_attn.attention_dropout == 0.1
    assert model.model.layers[0].mlp.dropout.p == 0.3
    assert "0.1" in (speedups.dropped(model) or "")
    with packed_rows():
        assert torch.isfinite(model(**packed_batch(rows_of()), use_cache=False).loss)
    assert speedups.dropped(model_of("granite", attention_dropout=0.1)) is None, "other kernels do drop"


def test_a_model_that_cannot_take_packed_rows_at_all_is_a_reason_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("llama")

    def narrow(input_ids: Any, use_cache: bool = False) -> Any:
        return type(model.model).forward(model.model, input_ids=input_ids, use_cache=use_cache)

    monkeypatch.setattr(model.model, "forward", narrow)
    assert "TypeError" in (attention(model).together or "")


def tokens() -> Any:
    from array import array

    from finetune_core.worker.rows.dataset import Tokens

    found = Tokens()
    for length in (20, 12, 30, 25, 14, 18, 9, 22):
        found.input_ids.append(array("i", range(length)))
        found.labels.append(array("i", range(length)))
    return found


def test_unpacked_steps_hold_as_many_rows_as_packed_ones_would_have() -> None:
    from finetune_core.errors import FtError
    from finetune_core.recipe.check import with_values
    from finetune_core.worker.report import Reporter
    from finetune_core.worker.rows.unpacked import leave_unpacked, unpacked

    asked = tiny.make_recipe(
        Path("x"), Path("x"), data__packing="bfd", training__micro_batch=1, training__accumulation=2
    )
    chosen = asked.model_copy(update={"reasons": {"data.packing": "", "training.accumulation": ""}})
    # 150 tokens make 3 sequences of 64: 8 rows in 3 sequences, two of which made a step.
    found = unpacked(chosen, tokens())
    assert (found.data.packing, found.training.micro_batch, found.training.accumulation) == ("none", 1, 5)
    assert unpacked(asked, tokens()).training.accumulation == 2
    with pytest.raises(FtError, match="cannot be packed"):
        leave_unpacked(with_values(asked, {}), tokens(), "a packed row sees the row before it", _nobody(Reporter))


def _nobody(kind: type) -> Any:
    return kind.__new__(kind)


def test_a_run_whose_rows_would_see_each_other_goes_on_unpacked_and_counts_its_steps_so(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune_core.worker.model import speedups

    asked = tiny.make_recipe(
        tiny.make_model(tmp_path / "model"), data, data__packing="bfd", training__max_steps=2,
        training__micro_batch=1, samples__count=0, evaluation__questions=0,
    )  # fmt: skip
    chosen = asked.model_copy(update={"reasons": {"data.packing": "", "training.accumulation": ""}})
    monkeypatch.setattr(speedups, "packed_otherwise", lambda *_: "a packed row sees the row before it")
    run = tiny.make_run(tmp_path, chosen)
    assert tiny.train(run) == 0, tiny.ended(run)
    (plan_event,) = tiny.events(run, "plan")
    assert plan_event["sequences"] == plan_event["rows"] == 36
    assert "rows are not packed" in next(e["text"] for e in tiny.events(run, "alarm") if e["name"] == "rows_unpacked")
    assert len(tiny.losses(run)) == plan_event["total_steps"] == 2
    # The files say what is done, and a copy of the recipe chooses anew.
    written = load(run.recipe_file)
    assert (written.data.packing, written.training.max_steps) == ("none", 2)
    assert {"data.packing", "training.accumulation"} <= written.reasons.keys()
    planned = read_plan(run)["steps"]
    assert (planned["total"], planned["sequences"]) == (2, 36)
    # What the user asked for by name is refused, and nothing else done in its place.
    refused = tiny.make_run(tmp_path, asked)
    assert tiny.train(refused) == 3
    assert "rows cannot be packed" in tiny.ended(refused)["cause"]
