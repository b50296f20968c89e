"""Rows on their way to the model: cut, counted, masked; what the loss is taken on is what the preview marks."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from finetune_core.errors import FtError
from finetune_core.recipe.schema import Data, Recipe
from finetune_core.worker.controls import Controls, Signals
from finetune_core.worker.report import Reporter
from tests.core.worker import tiny

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

Row = tuple[tuple[int, int], ...]


@contextmanager
def prepared(recipe: Recipe, home: Path) -> Iterator[Any]:
    """The trainer, ready to begin."""
    from finetune_core.worker.training.job import prepare

    reporter = Reporter(tiny.make_run(home, recipe))
    signals = Signals()
    job = prepare(recipe, reporter, Controls(reporter, signals), signals, resume=False)
    yield job
    reporter.close()


def untold(_done: int, _total: int) -> None:
    pass


def rows_seen(job: Any) -> Counter[Row]:
    """(token, label) of every row in the batches the model was given while training, without padding."""
    seen: Counter[Row] = Counter()

    def note(_module: Any, _args: Any, given: dict[str, Any]) -> None:
        if not job.ready.model.training:
            return
        ids, labels = given["input_ids"], given["labels"]
        if "position_ids" in given:
            begins = (given["position_ids"][0] == 0).nonzero().flatten().tolist()
            parts = zip(begins, [*begins[1:], ids.shape[1]], strict=True)
            spans = [(0, slice(begin, end)) for begin, end in parts]
        else:
            spans = [(line, slice(0, int(mask.sum()))) for line, mask in enumerate(given["attention_mask"])]
        for line, span in spans:
            seen[tuple(zip(ids[line, span].tolist(), labels[line, span].tolist(), strict=True))] += 1

    hook = job.ready.model.get_base_model().register_forward_pre_hook(note, with_kwargs=True)
    job.ready.trainer.train()
    hook.remove()
    return seen


@pytest.mark.parametrize("packing", ["none", "bfd"])
@pytest.mark.parametrize("train_on", ["assistant", "all"])
def test_the_labels_the_model_gets_are_the_encoders_mask(
    packing: str, train_on: str, model: Path, data: Path, tmp_path: Path
) -> None:
    from finetune_core.data.assemble import read_source
    from finetune_core.data.shapes.recognise import AUTOMATIC
    from finetune_core.worker.rows.tokenise import Encoder
    from finetune_core.worker.rows.tokenizer import load_tokenizer

    recipe = tiny.make_recipe(
        model, data, data__packing=packing, data__train_on=train_on, data__held_out_share=0.0, training__epochs=1.0
    )
    with prepared(recipe, tmp_path) as job:
        seen = rows_seen(job)
    encoder = Encoder(load_tokenizer(model), recipe.data.train_on)
    expected: Counter[Row] = Counter()
    for row in read_source(str(data), AUTOMATIC).used:
        encoded = encoder.encode(row)
        labels = [token if learnt else -100 for token, learnt in zip(encoded.input_ids, encoded.trained, strict=True)]
        # Nothing comes before a row's first token that it could be predicted from: no loss is taken on it.
        expected[tuple(zip(encoded.input_ids, [-100, *labels[1:]], strict=True))] += 1
    without_first = Counter({((row[0][0], -100), *row[1:]): count for row, count in seen.items()})
    assert without_first == expected
    assert sum(label != -100 for row in seen for _, label in row) > 100


def test_the_held_out_loss_is_the_mean_over_trained_tokens_whatever_the_batches(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from finetune_core.worker.answers import held_out_loss

    by_hand = []
    with prepared(tiny.make_recipe(model, data), tmp_path) as job, torch.no_grad():
        job.ready.model.eval()
        for ids, labels in zip(job.ready.data.held_out.input_ids, job.ready.data.held_out.labels, strict=True):
            logits = job.ready.model(input_ids=torch.tensor([list(ids)])).logits[0, :-1]
            goal = torch.tensor(list(labels[1:]))
            chosen = goal != -100
            by_hand += torch.nn.functional.cross_entropy(logits[chosen], goal[chosen], reduction="none").tolist()
        for budget in (64, 8192):
            monkeypatch.setattr(held_out_loss, "_BATCH_TOKENS", budget)
            assert job.between.measure(0, untold) == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-5)
        sizes = full_beyond(job.ready.model, 2, monkeypatch)
        assert job.between.measure(0, untold) == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-5)
        assert sizes[0] == 12, "all rows at once"
        assert max(sizes[-5:]) <= 2
        full_beyond(job.ready.model, 0, monkeypatch)
        with pytest.raises(torch.cuda.OutOfMemoryError):
            job.between.measure(0, untold)


def full_beyond(model: Any, most: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a model run out of memory for more rows than `most`; gives the numbers of rows it is asked for."""
    import torch

    sizes: list[int] = []
    real = model.forward

    def small_gpu(*args: Any, **inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(*args, **inputs)

    monkeypatch.setattr(model, "forward", small_gpu)
    return sizes


def test_weights_spoilt_by_the_last_gradient_are_neither_saved_nor_called_done(
    model: Path, data: Path, tmp_path: Path
) -> None:
    from finetune_core.worker.methods import sft

    class Overflowing(sft.Trainer):
        """A loss that is a number, and a gradient that is none, at the last step but one."""

        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().training_step(*args, **kwargs)
            if self.state.global_step == 11:
                next(p for p in self.model.parameters() if p.grad is not None).grad.fill_(math.inf)
            return loss

    run = tiny.make_run(tmp_path, tiny.make_recipe(model, data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sft, "Trainer", Overflowing)
        assert tiny.train(run) == 3
    assert "the trained weights are no numbers" in tiny.ended(run)["cause"]
    assert "learning_rate" in tiny.ended(run)["remedy"]
    assert [event["step"] for event in tiny.events(run, "checkpoint")] == [4, 8]
    assert not run.result.exists()


def test_rows_that_are_cut_or_left_without_a_trained_token_are_counted_and_told(model: Path, tmp_path: Path) -> None:
    rows = tiny.rows(12)
    rows[3]["messages"][0]["content"] = "what colour is " * 40
    rows[7]["messages"][1]["content"] = "red " * 80
    data = tiny.write_rows(tmp_path / "rows.jsonl", rows)
    with data.open("a") as stream:
        stream.write("{broken\n")
    recipe = tiny.make_recipe(model, data, data__held_out_share=0.0, training__epochs=1.0)
    run = tiny.make_run(tmp_path, recipe)
    assert tiny.train(run) == 0
    unreadable, left_out = tiny.events(run, "alarm")
    assert unreadable["name"] == "rows_unreadable"
    assert "rows.jsonl:13" in unreadable["text"]
    assert left_out["name"] == "rows_left_out"
    assert "2 rows were longer than max_length and cut" in left_out["text"]
    assert "1 row was left out because no trained token was left in it (row 4)" in left_out["text"]
    assert tiny.events(run, "plan")[0]["rows"] == 11


def test_held_out_rows_that_are_learnt_too_are_told_and_recorded(model: Path, tmp_path: Path) -> None:
    rows = tiny.rows(12)
    data, apart = tiny.write_rows(tmp_path / "rows.jsonl", rows), tiny.write_rows(tmp_path / "apart.jsonl", rows[2:4])
    run = tiny.make_run(tmp_path, tiny.make_recipe(model, data, data__held_out=str(apart), training__epochs=1.0))
    assert tiny.train(run) == 0
    (alarm,) = tiny.events(run, "alarm")
    assert alarm["name"] == "leakage_exact"
    assert "2 of 2 held-out rows: a held-out row is trained on too (row 1: row 3 to learn from" in alarm["text"]
    assert json.loads(run.data_file.read_text())["leaks"] == {"leakage-exact": [1, 2]}


def test_a_run_without_one_trained_token_fails_before_the_model_is_loaded(model: Path, tmp_path: Path) -> None:
    rows = tiny.rows(4)
    for row in rows:
        row["messages"][0]["content"] *= 4
    recipe = tiny.make_recipe(model, tiny.write_rows(tmp_path / "long.jsonl", rows), data__max_length=16)
    run = tiny.make_run(tmp_path, recipe)
    assert tiny.train(run) == 3
    end = tiny.ended(run)
    assert "no row holds a token to train on" in end["cause"]
    assert "data.max_length" in end["remedy"]
    assert not any("loading" in event["phase"] for event in tiny.events(run, "state"))


def test_five_losses_in_a_row_that_are_no_numbers_end_the_run_and_no_checkpoint_holds_them(
    model: Path, data: Path, tmp_path: Path
) -> None:
    recipe = tiny.make_recipe(
        model,
        data,
        adapter__kind="none",
        training__optimizer="sgd",
        training__learning_rate=1.0,
        training__max_grad_norm=0.0,
        training__weight_decay=1.0,
        training__schedule="constant",
        training__epochs=30.0,
        saving__every_steps=1,
    )
    run = tiny.make_run(tmp_path, recipe)
    from finetune_core.worker.methods import sft

    class Overflowing(sft.Trainer):
        """Weights that have overflowed give a loss that is no number; here it is brought about at step 3."""

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            return super().compute_loss(*args, **kwargs) * (math.inf if self.state.global_step >= 2 else 1.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sft, "Trainer", Overflowing)
        assert tiny.train(run) == 3
    assert "was no number in 5 steps in a row" in tiny.ended(run)["cause"]
    assert "learning_rate" in tiny.ended(run)["remedy"]
    assert [event["name"] for event in tiny.events(run, "alarm")].count("loss_not_finite") == 1
    assert tiny.events(run, "step")[-1]["loss"] in {"NaN", "Infinity"}
    assert max(event["step"] for event in tiny.events(run, "checkpoint")) == 2


def test_a_steps_peak_begins_with_the_step(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the peak of a sample taken before step 1 would be every step's."""
    import torch

    from finetune_core.worker.model.device import Device
    from finetune_core.worker.training.telemetry import Telemetry

    begun: list[bool] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: begun.append(True))
    run = tiny.make_run(tmp_path, tiny.make_recipe(model, model))
    for kind in ("cpu", "cuda"):
        device = Device(kind, "a device", torch.float32, None, (), 2**30)
        Telemetry(Reporter(run), device).start_clock()
    assert begun == [True]


def test_token_rows_take_four_bytes_a_token() -> None:
    from array import array

    from finetune_core.worker.rows.dataset import Tokens, to_dataset

    tokens = Tokens()
    for _ in range(2500):
        tokens.input_ids.append(array("i", range(100)))
        tokens.labels.append(array("i", range(100)))
    dataset = to_dataset(tokens, Data(packing="none"))
    assert dataset[2499]["input_ids"] == list(range(100))
    assert dataset.data.nbytes < 2500 * (100 * 8 + 16)


UNLUCKY = tiny.CHATML.replace(
    "{{ '<|start|>' + message['role'] + '\n' }}",
    "{% if '13' in message['content'] %}{{ raise_exception('unlucky') }}{% endif %}"
    "{{ '<|start|>' + message['role'] + '\n' }}",
)


def test_a_held_out_row_the_template_refuses_is_never_asked(model: Path, tmp_path: Path) -> None:
    strict = tmp_path / "strict"
    shutil.copytree(model, strict)
    (strict / "chat_template.jinja").write_text(UNLUCKY)
    train, held_out = tiny.rows(12), [tiny.rows(14)[13], *tiny.rows(3)]
    recipe = tiny.make_recipe(
        strict,
        tiny.write_rows(tmp_path / "rows.jsonl", train),
        data__held_out=str(tiny.write_rows(tmp_path / "held_out.jsonl", held_out)),
        training__epochs=1.0,
    )
    run = tiny.make_run(tmp_path, recipe)
    assert tiny.train(run) == 0
    assert any("held-out rows: 1 row was left out" in alarm["text"] for alarm in tiny.events(run, "alarm"))
    assert tiny.events(run, "verdict")[0]["rows"] == 3


def test_rows_the_template_refuses_are_left_out_unless_it_refuses_them_all(
    model: Path, data: Path, tmp_path: Path
) -> None:
    from finetune_core.data.assemble import read_source
    from finetune_core.data.shapes.recognise import AUTOMATIC
    from finetune_core.worker.rows.dataset import encode, refuse_untrainable
    from finetune_core.worker.rows.tokenise import Encoder
    from finetune_core.worker.rows.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(model)
    tokenizer.chat_template = UNLUCKY
    rows = read_source(str(data), AUTOMATIC).used
    recipe = tiny.make_recipe(model, data)
    tokens = encode(rows, Encoder(tokenizer, "assistant"), untold).cut(64)
    refuse_untrainable(tokens, recipe)
    assert len(tokens) == len(rows) - 1
    assert "1 row was left out" in (tokens.left_out() or "")
    unlucky = encode([rows[13]], Encoder(tokenizer, "assistant"), untold).cut(64)
    unlucky.refused *= 30
    with pytest.raises(FtError, match="unlucky") as told:
        refuse_untrainable(unlucky, recipe)
    assert len(told.value.problems) == 1, "what is wrong with every row is told once"
