"""Memory that runs out in training: a fresh process, half the micro-batch, and the very rows of the unbroken run."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.runs.watch import supervise
from finetune_core.runs.watch.batch_override import read_adapted
from tests.core.worker import tiny

# The real trainer, which writes down the rows of each optimiser step, and whose memory ends at `MOST` rows at once
# once it has taken `AFTER` steps.
_TRAINER = """
import json, os, sys
MOST, AFTER = {most}, {after}
import torch
from finetune_core.worker.methods import trainer
from finetune_core.worker.train import main
real_step = trainer.Trainer.training_step
real_rows = trainer.Trainer.get_batch_samples

def step(self, model, inputs, *args, **named):
    if len(inputs["input_ids"]) > MOST and self.state.global_step >= AFTER:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of "
            "23.64 GiB of which 1.25 GiB is free.")
    return real_step(self, model, inputs, *args, **named)

def rows(self, *args, **named):
    found = real_rows(self, *args, **named)
    texts = [[token for token in row.tolist() if token != self.processing_class.pad_token_id]
             for part in found[0] for row in part["input_ids"]]
    with open(os.path.join(sys.argv[1], "rows.jsonl"), "a") as stream:
        stream.write(json.dumps([self.state.global_step + 1, texts]) + "\\n")
    return found

trainer.Trainer.training_step, trainer.Trainer.get_batch_samples = step, rows
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def recipe(model: Path, data: Path) -> Recipe:
    return tiny.make_recipe(
        model,
        data,
        training__micro_batch=4,
        training__accumulation=1,
        training__epochs=1.5,
        samples__count=0,
        evaluation__questions=0,
        evaluation__every_steps=None,
        saving__every_steps=2,
    )


def supervised(home: Path, recipe: Recipe, *, most: int, after: int, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = tiny.make_run(home, recipe)
    code = textwrap.dedent(_TRAINER.format(most=most, after=after))
    supervise.run(run, command=[sys.executable, "-P", "-c", code, str(run.path)])
    return run


def rows_of(run: RunDir) -> dict[int, Any]:
    """The rows of each step as its last try took them, in their order."""
    return dict(json.loads(line) for line in (run.path / "rows.jsonl").read_text().splitlines())


@pytest.fixture(scope="module")
def unbroken(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    with pytest.MonkeyPatch.context() as patch:
        return supervised(tmp_path_factory.mktemp("unbroken"), recipe, most=99, after=0, monkeypatch=patch)


def test_a_run_out_of_memory_in_its_middle_takes_the_same_rows_in_the_same_order_to_the_end(
    recipe: Recipe, unbroken: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = supervised(tmp_path, recipe, most=2, after=5, monkeypatch=monkeypatch)
    assert tiny.ended(run)["state"] == "done", run.log_file.read_text()[-2000:]
    (alarm,) = [event for event in tiny.events(run, "alarm") if event["name"] == "restarted"]
    assert "2.00 GiB more were needed, 1.25 GiB were free, the GPU has 23.64 GiB" in alarm["text"]
    assert "micro-batch 2 x accumulation 2" in alarm["text"]
    assert rows_of(run) == rows_of(unbroken)
    assert tiny.losses(run).keys() == tiny.losses(unbroken).keys()
    for step, loss in tiny.losses(unbroken).items():
        assert tiny.losses(run)[step] == pytest.approx(loss, rel=1e-3)
    rates = [{event["step"]: event["learning_rate"] for event in tiny.events(one, "step")} for one in (run, unbroken)]
    assert rates[0] == rates[1]


def test_memory_that_never_suffices_ends_with_what_did_not_fit(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = recipe.model_copy(update={"training": recipe.training.model_copy(update={"micro_batch": 2})})
    run = supervised(tmp_path, small, most=0, after=0, monkeypatch=monkeypatch)
    end = tiny.ended(run)
    assert (end["state"], end["reason"]) == ("failed", "memory")
    assert "2.00 GiB more were needed" in end["cause"]
    words = [event["text"] for event in tiny.events(run, "alarm") if event["name"] == "restarted"]
    assert len(words) == 2
    assert "micro-batch 1 x accumulation 2, activation checkpointing" in words[1]
    adapted = read_adapted(run)
    assert adapted is not None
    assert adapted.activation_checkpointing
