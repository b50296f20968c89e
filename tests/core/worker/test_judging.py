"""Verdicts of the real trainer on rows that say little: raw text, too few rows, a model that did not move."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune_core.evaluation import losses
from finetune_core.runs.view.run_view import RunView
from tests.core.worker import tiny

pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning"), pytest.mark.slow]


def test_raw_text_is_judged_by_bits_per_byte_over_whole_texts(model: Path, tmp_path: Path) -> None:
    texts = [
        {"text": f"{thing} {number} is coloured as everybody knows. " * 6}
        for number, thing in enumerate(tiny.THINGS * 4)
    ]
    recipe = tiny.make_recipe(
        model, tiny.write_rows(tmp_path / "texts.jsonl", texts), data__max_length=32, training__epochs=1.0
    )
    run = tiny.make_run(tmp_path, recipe)
    assert tiny.train(run) == 0, tiny.ended(run)
    (event,) = tiny.events(run, "verdict")
    base = losses.load(run.losses_file(0))
    assert base is not None
    # Long texts go on in rows of their own; only whole texts count.
    assert event["rows"] == len(base.nats) < tiny.events(run, "eval")[0]["rows"]
    assert base.utf8 is not None
    held_out = {len(text["text"].encode()) for text in texts}
    assert all(size <= max(held_out) for size in base.utf8)
    assert event["outcome"] == "better"
    assert "by its loss alone: bits per byte fell from" in event["words"]
    assert set(event["base"]) == {"held_out_loss", "bits_per_byte"}
    assert event["base"]["bits_per_byte"] == base.bits_per_byte


def test_a_model_that_did_not_move_is_not_better_and_what_to_change_is_said(
    model: Path, data: Path, tmp_path: Path
) -> None:
    recipe = tiny.make_recipe(
        model, data, training__learning_rate=1e-9, evaluation__questions=12, evaluation__max_new_tokens=40
    )
    run = tiny.make_run(tmp_path, recipe)
    assert tiny.train(run) == 0, tiny.ended(run)
    (event,) = tiny.events(run, "verdict")
    assert (event["outcome"], event["better"], event["identical"]) == ("not better", None, 12)
    assert event["words"].startswith("Not better than the base: 12 of 12 answers are the base's own; ")
    assert event["next"]["name"] == "nothing-moved"
    assert event["next"]["set"] == {"training.epochs": 9.0}


def test_a_base_asked_by_an_earlier_version_is_compared_without_knowing_how_its_answers_ended(
    model: Path, data: Path, tmp_path: Path
) -> None:
    from finetune_core.worker.answers.baseline import load

    old = tmp_path / "base.json"
    old.write_text(json.dumps({"loss": 2.5, "samples": None, "answers": ["red", "green"]}))
    assert load(old).answers == [("red", None), ("green", None)]
    load(old).save(old)
    assert load(old).answers == [("red", None), ("green", None)]


def test_a_run_of_an_earlier_version_is_judged_by_its_mean_loss(model: Path, data: Path, tmp_path: Path) -> None:
    run = tiny.make_run(tmp_path, tiny.make_recipe(model, data, training__epochs=1.0, evaluation__every_steps=4))
    assert tiny.train(run) == 0, tiny.ended(run)
    run.losses_file(0).unlink()
    assert tiny.train(run, resume=True) == 0, tiny.ended(run)
    last = tiny.events(run, "verdict")[-1]
    assert last["base"]["held_out_loss"] == tiny.events(run, "eval")[0]["loss"]
    assert "(without an interval)" in last["words"]
    view = RunView(run)
    view.poll()
    assert view.verdict is not None
    assert view.verdict["outcome"] == last["outcome"]
