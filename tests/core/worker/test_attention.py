"""Packed rows under attention without masks: what each row gives alone, and nothing of its neighbours."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

ROWS = ((5, 9), (3, 30), (17, 40), (8, 51))
SHAPES: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 128, "pad_token_id": 0, "eos_token_id": 1,
    "bos_token_id": 2, "initializer_range": 0.2,
}  # fmt: skip
WINDOWED = {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 6},
    "qwen3": {},
    "gemma3_text": WINDOWED,
    "phi3": {},
    "olmo2": {},
}


def model_of(kind: str, **more: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(3)
    config = AutoConfig.for_model(kind, **{**SHAPES, **more})
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).train()


def use_varlen(model: Any, packing: str = "bfd") -> str | None:
    """Why packed rows are not attended to by their boundaries alone; None where they are."""
    from pathlib import Path

    from finetune_core.worker.model import device, speedups
    from tests.core.worker import tiny

    asked = tiny.make_recipe(Path("x"), Path("x"), data__packing=packing, training__attention="varlen")
    found = speedups.set_attention(model, asked, device.choose(asked), longest=40)
    return None if found.how == speedups.ON else found.how


def rows_of() -> list[Any]:
    import torch

    return [torch.arange(start, start + length) % 128 for length, start in ROWS]


def packed_batch(rows: list[Any]) -> dict[str, Any]:
    """A batch as TRL's collator makes it."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    collate = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    ids = [token for row in rows for token in row.tolist()]
    found: dict[str, Any] = collate([{"input_ids": ids, "labels": ids, "seq_lengths": [len(row) for row in rows]}])
    return found


def gradients(model: Any) -> dict[str, Any]:
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", FAMILIES)
def test_packed_rows_give_the_losses_and_gradients_of_rows_apart(kind: str, checkpointing: bool) -> None:
    import torch

    from finetune_core.worker.model.attention import VARLEN, packed_rows

    model, rows = model_of(kind, **FAMILIES[kind]), rows_of()
    alone = sum(model(input_ids=row[None], labels=row[None], use_cache=False).loss * (len(row) - 1) for row in rows)
    alone.backward()
    expected = gradients(model)
    assert use_varlen(model) is None
    assert model.config._attn_implementation == VARLEN
    if checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    batch = packed_batch(rows)
    trained = int((batch["labels"] != -100).sum())
    with packed_rows():
        packed = model(**batch, use_cache=False).loss * trained
    # Outside of it on purpose: on a GPU what is computed again is computed in another thread.
    packed.backward()
    torch.testing.assert_close(packed, alone, rtol=1e-5, atol=1e-5)
    for name, found in gradients(model).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_packed_row_does_not_see_its_neighbours(kind: str) -> None:
    import torch

    from finetune_core.worker.model.attention import packed_rows

    model, rows = model_of(kind, **FAMILIES[kind]).eval(), rows_of()
    assert use_varlen(model) is None
    others = [rows[0].flip(0) + 1, *rows[1:-1], rows[-1].flip(0)]
    with torch.no_grad(), packed_rows():
        before, after = (model(**packed_batch(given), use_cache=False).logits[0] for given in (rows, others))
    bounds = [0]
    for row in rows:
        bounds.append(bounds[-1] + len(row))
    same = [torch.equal(before[begin:end], after[begin:end]) for begin, end in pairwise(bounds)]
    assert same == [False, True, True, False]


def test_padded_rows_and_generation_go_the_ordinary_way() -> None:
    import torch

    model = model_of("llama").eval()
    ids = torch.tensor([[0, 0, 3, 4, 5], [6, 7, 8, 9, 10]])
    asked: dict[str, Any] = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    with torch.no_grad():
        before = model(**asked).logits[asked["attention_mask"].bool()]
        written = model.generate(**asked, max_new_tokens=8, do_sample=False)
        assert use_varlen(model) is None
        torch.testing.assert_close(model(**asked).logits[asked["attention_mask"].bool()], before)
        assert torch.equal(model.generate(**asked, max_new_tokens=8, do_sample=False), written)


@pytest.mark.parametrize(
    ("kind", "more", "why"),
    [
        ("gemma2", WINDOWED, "softcap"),
        ("gpt_oss", {"num_local_experts": 4, "num_experts_per_tok": 2}, "s_aux"),
        ("stablelm", {}, "boundaries"),
    ],
)
def test_a_model_whose_attention_is_another_keeps_its_own(kind: str, more: dict[str, Any], why: str) -> None:
    model = model_of(kind, **more)
    before = model.config._attn_implementation
    assert why in (use_varlen(model) or "")
    assert model.config._attn_implementation == before


def test_a_batch_without_boundaries_is_refused_rather_than_run_across_rows() -> None:
    import torch

    from finetune_core.worker.model.attention import packed_rows

    model = model_of("llama")
    assert use_varlen(model) is None
    with packed_rows(), pytest.raises(NotImplementedError, match="boundaries"):
        model(input_ids=torch.tensor([[3, 4, 5]]), use_cache=False)
