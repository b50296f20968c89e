"""The result is saved before anything that may fail after it, and what fails before the training costs none of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetune_core.runs.directory import RunDir
from tests.core.worker import tiny


def fails(*_: Any, **__: Any) -> Any:
    raise RuntimeError("The size of tensor a (2) must match the size of tensor b (82)")


def alarms(run: RunDir) -> dict[str, str]:
    return {event["name"]: event["text"] for event in tiny.events(run, "alarm")}


def test_answers_that_cannot_be_written_cost_neither_the_training_nor_its_result(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune_core.worker.answers.generate import Generator

    run = tiny.make_run(tmp_path, tiny.make_recipe(model, data, training__epochs=1.0))
    with monkeypatch.context() as patch:
        patch.setattr(Generator, "_batch", fails)
        assert tiny.train(run) == 0, tiny.ended(run)
    assert tiny.ended(run)["state"] == "done"
    assert (run.result / "adapter_model.safetensors").is_file()
    assert "the run goes on: RuntimeError: The size of tensor a" in alarms(run)["samples_failed"]
    assert "the result is saved: RuntimeError" in alarms(run)["verdict_failed"]
    assert tiny.events(run, "verdict") == []
    # Nothing of it is kept: asked again, the run is judged.
    assert tiny.train(run, resume=True) == 0
    assert len(tiny.events(run, "verdict")) == 1


def test_a_base_that_could_not_answer_before_full_fine_tuning_is_never_mistaken_for_the_tuned_model(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune_core.worker.answers.base_and_tuned import Jury

    recipe = tiny.make_recipe(model, data, adapter__kind="none", training__epochs=1.0, samples__count=0)
    run = tiny.make_run(tmp_path, recipe)
    with monkeypatch.context() as patch:
        patch.setattr(Jury, "ask_base", fails)
        assert tiny.train(run) == 0, tiny.ended(run)
    assert (run.result / "model.safetensors").is_file()
    assert "before the training" in alarms(run)["verdict_failed"]
    assert tiny.events(run, "verdict") == []


def test_the_result_is_there_when_the_tuned_model_is_asked(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune_core.worker.answers.base_and_tuned import Jury

    run = tiny.make_run(tmp_path, tiny.make_recipe(model, data, training__epochs=1.0, samples__count=0))
    asked, real = [], Jury.ask_tuned

    def ask(jury: Jury) -> list[str]:
        asked.append((run.result / "adapter_model.safetensors").is_file())
        return real(jury)

    monkeypatch.setattr(Jury, "ask_tuned", ask)
    assert tiny.train(run) == 0, tiny.ended(run)
    assert asked == [True]
