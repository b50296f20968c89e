"""What was measured of the base once is believed only while it fits what it was measured on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune_core.recipe import yaml_io
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.worker.answers import baseline
from tests.core.worker import tiny

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture
def recipe(model: Path, tmp_path: Path) -> Recipe:
    data = tiny.write_rows(tmp_path / "rows.jsonl", tiny.rows())
    own = tmp_path / "model"
    own.mkdir()
    for path in model.iterdir():
        (own / path.name).write_bytes(path.read_bytes())
    return tiny.make_recipe(own, data, training__epochs=1.0, saving__every_steps=100)


@pytest.fixture
def begun(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A run that ended after it had asked its base, and before its first checkpoint."""
    from finetune_core.worker.training.job import Job

    def fail(_job: Job) -> None:
        raise RuntimeError("killed")

    run = tiny.make_run(tmp_path, recipe)
    with monkeypatch.context() as patch:
        patch.setattr(Job, "fit", fail)
        assert tiny.train(run) != 0
    assert (run.eval / "base.json").exists()
    assert list(run.checkpoints.iterdir()) == []
    return run


def true_base(recipe: Recipe, home: Path) -> dict[str, Any]:
    """What a run that begins with these files measures."""
    run = tiny.make_run(home, recipe)
    assert tiny.train(run) == 0, tiny.ended(run)
    return dict(tiny.events(run, "verdict")[-1]["base"])


def flip(path: Path) -> None:
    path.write_text(path.read_text().replace('"loss": ', '"loss": 7', 1))


def other_loss(run: RunDir) -> None:
    """A file that is whole in itself, and says something else."""
    found = baseline.load(run.eval / "base.json")
    found.loss = 99.0
    found.save(run.eval / "base.json")


def other_rows(run: RunDir) -> None:
    data = yaml_io.load(run.recipe_file).data.source
    tiny.write_rows(Path(data), tiny.rows(60)[12:])


def other_weights(run: RunDir) -> None:
    tiny.make_model(Path(yaml_io.load(run.recipe_file).model.source), seed=5)


def no_seal(run: RunDir) -> None:
    path = run.eval / "base.json"
    found = json.loads(path.read_text())
    del found["seal"]
    path.write_text(json.dumps(found | {"answers": [["made up", True]] * len(found["answers"] or [])}))


def one_bit_of_the_rows(run: RunDir) -> None:
    path = run.losses_file(0)
    text = path.read_bytes()
    place = text.index(b".") + 2
    path.write_bytes(text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :])


CHANGES: dict[str, Callable[[RunDir], None]] = {
    "one digit": lambda run: flip(run.eval / "base.json"),
    "the seal": no_seal,
    "another loss": other_loss,
    "one bit of the losses by row": one_bit_of_the_rows,
    "rows": other_rows,
    "weights": other_weights,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_base_that_does_not_fit_any_more_is_measured_again_and_that_is_said(
    begun: RunDir, recipe: Recipe, tmp_path: Path, change: str
) -> None:
    CHANGES[change](begun)
    assert tiny.train(begun, resume=True) == 0, tiny.ended(begun)
    said = [event["text"] for event in tiny.events(begun, "alarm") if event["name"] == "base_measured_again"]
    assert len(said) == 1
    assert tiny.events(begun, "verdict")[-1]["base"] == true_base(recipe, tmp_path / "again")


def test_a_base_that_fits_is_not_measured_again(begun: RunDir) -> None:
    assert tiny.train(begun, resume=True) == 0, tiny.ended(begun)
    assert [event["step"] for event in tiny.events(begun, "eval")].count(0) == 1
    assert not [event for event in tiny.events(begun, "alarm") if event["name"] == "base_measured_again"]


def test_only_what_was_asked_otherwise_is_asked_again(begun: RunDir) -> None:
    loss = baseline.load(begun.eval / "base.json").loss
    recipe = yaml_io.load(begun.recipe_file)
    samples = recipe.samples.model_copy(update={"max_new_tokens": 3})
    begun.recipe_file.write_text(yaml_io.dump(recipe.model_copy(update={"samples": samples})))
    assert tiny.train(begun, resume=True) == 0, tiny.ended(begun)
    (said,) = [event["text"] for event in tiny.events(begun, "alarm") if event["name"] == "base_measured_again"]
    assert "samples" in said
    assert "loss" not in said.partition("(samples")[2]
    assert baseline.load(begun.eval / "base.json").loss == loss
    assert [event["step"] for event in tiny.events(begun, "eval")].count(0) == 1
