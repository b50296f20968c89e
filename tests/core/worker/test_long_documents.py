"""Documents of thousands of tokens through the real trainer: none is cut, and the price is of what is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from finetune_core.plan.prepare import prepare
from finetune_core.plan.settling import plan_to_launch
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.recipe.yaml_io import load, save
from finetune_core.runs.directory import list_runs, read_plan
from finetune_core.runs.upkeep.lifecycle import create
from finetune_tui.cli import cli
from tests.core.worker import tiny
from tests.core.worker.test_steps_promised import launched, rows_of
from tests.fakes import machine

CPU = machine()
LENGTH = 16_000


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one narrow layer, with a context of 128k tokens: pairs of tokens are what long rows cost."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("reader")
    tokenizer = tiny.make_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, max_position_embeddings=131_072, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(str(folder))
    return folder


def documents(path: Path, tokens: int, rows: int = 4) -> Path:
    """Rows of about so many tokens of the tiny tokenizer, which writes `please ` as one or two; the answer is last."""
    texts = [" please" * (tokens - 20 * number) for number in range(rows)]
    turns = [[{"role": "user", "content": text}, {"role": "assistant", "content": "red"}] for text in texts]
    return tiny.write_rows(path, [{"messages": both} for both in turns])


def asked(model: Path, data: Path, **more: Any) -> Recipe:
    values = {
        "model.source": str(model), "data.source": str(data), "data.held_out_share": 0.25, "adapter.rank": 4,
        "training.max_steps": 1, "samples.count": 0, "evaluation.questions": 0, "hardware.device": "cpu",
    }  # fmt: skip
    return with_values(Recipe(), {**values, **more})


def test_documents_of_16k_tokens_reach_the_trainer_whole(
    reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the data set that is trained on: a step of such rows takes a CPU minutes."""
    found = prepare(asked(reader, documents(tmp_path / "docs.jsonl", LENGTH)), hardware=CPU)
    run = launched(found, tmp_path / "home", monkeypatch)
    settled, rows, held_out, sequences = rows_of(run)
    assert (rows, held_out, sequences) == (3, 1, 3)
    assert settled.data.max_length == 16_128
    assert not [event for event in tiny.events(run, "alarm") if event["name"] == "rows_left_out"]


def test_documents_of_4k_tokens_are_trained_whole(reader: Path, tmp_path: Path) -> None:
    recipe = asked(reader, documents(tmp_path / "docs.jsonl", 4_096))
    found = prepare(recipe, hardware=CPU)
    run = create(found.to_launch, plan_to_launch(found))
    assert tiny.train(run) == 0, tiny.ended(run)
    trained, plan = load(run.recipe_file), read_plan(run)
    most = trained.data.max_length
    assert most is not None
    assert (most % 128, most >= 4_096) == (0, True)
    assert "none is cut" in trained.reasons["data.max_length"]
    assert not [event for event in tiny.events(run, "alarm") if event["name"] == "rows_left_out"]
    assert (plan["counted"], plan["tokens_from"], plan["rows"]) == (True, "count", 3)
    (step,) = tiny.events(run, "step")
    assert step["step"] == 1
    assert plan["speed"]["tokens"] == pytest.approx(4_096, rel=0.02)


def test_rows_that_are_cut_are_told_with_the_share_of_tokens_they_lose(reader: Path, tmp_path: Path) -> None:
    data = documents(tmp_path / "docs.jsonl", 400)
    recipe = asked(reader, data, **{"data.max_length": 256, "data.train_on": "all"})
    found = prepare(recipe, hardware=CPU)
    run = create(found.to_launch, plan_to_launch(found))
    assert tiny.train(run) == 0, tiny.ended(run)
    told = [event["text"] for event in tiny.events(run, "alarm") if event["name"] == "rows_left_out"]
    assert any("3 rows were longer than max_length and cut at the end (" in text for text in told)


def test_train_counts_first_where_the_limit_could_cut_and_refuses_what_has_nothing_left(
    reader: Path, tmp_path: Path
) -> None:
    file = tmp_path / "docs.yaml"
    save(asked(reader, documents(tmp_path / "docs.jsonl", 400), **{"data.max_length": 128}), file)
    result = CliRunner().invoke(cli, ["train", str(file), "--detach"])
    assert result.exit_code == 2
    assert "counting the rows in tokens" in result.stderr
    assert "no row holds a token to train on" in result.stderr
    assert list_runs() == []
