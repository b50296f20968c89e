"""A run goes on from any of its checkpoints as if it had never been cut, and from nothing that was touched."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from finetune_core.errors import FtError
from finetune_core.recipe import yaml_io
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.runs.upkeep.lifecycle import run_id
from finetune_core.worker.checkpoints import provenance, sealed
from tests.core.worker import tiny

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
ADAPTER = "adapter_model.safetensors"
DAMAGES = ("missing", "empty", "half", "one bit flipped", "from another run", "older")


@pytest.fixture(scope="module")
def recipe(model: Path, data: Path) -> Recipe:
    """Packed rows, summed micro-batches, dropout, and a checkpoint after every step."""
    return tiny.make_recipe(
        model,
        data,
        adapter__dropout=0.1,
        data__packing="bfd",
        training__micro_batch=1,
        training__accumulation=2,
        saving__every_steps=1,
        saving__keep=100,
        samples__count=0,
        evaluation__questions=0,
    )


@pytest.fixture(scope="module")
def unbroken(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run = tiny.make_run(tmp_path_factory.mktemp("home"), recipe)
    assert tiny.train(run) == 0, tiny.ended(run)
    return run


@pytest.fixture(scope="module")
def other(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """Another run of another seed."""
    run = tiny.make_run(
        tmp_path_factory.mktemp("other"),
        recipe.model_copy(update={"training": recipe.training.model_copy(update={"seed": 8})}),
    )
    assert tiny.train(run) == 0, tiny.ended(run)
    return run


@pytest.fixture
def copy(unbroken: RunDir, tmp_path: Path) -> RunDir:
    shutil.copytree(unbroken.path, tmp_path / unbroken.name)
    return RunDir(tmp_path / unbroken.name)


def figures(run: RunDir) -> dict[int, tuple[float, float, float, int]]:
    """What each step computed; of a step done twice, the later."""
    return {
        event["step"]: (event["loss"], event["learning_rate"], event["grad_norm"], event["tokens"])
        for event in tiny.events(run, "step")
    }


def cut_after(run: RunDir, step: int) -> None:
    """As if the run had been killed after this step's checkpoint."""
    for folder in run.checkpoints.iterdir():
        if int(folder.name.removeprefix("step-")) > step:
            shutil.rmtree(folder)
    shutil.rmtree(run.result)


@pytest.mark.parametrize("step", [1, 3, 4, 7])
def test_from_any_step_packed_and_mid_epoch_the_rest_is_that_of_the_unbroken_run_bit_for_bit(
    step: int, unbroken: RunDir, copy: RunDir
) -> None:
    per_epoch = tiny.events(unbroken, "plan")[0]["steps_per_epoch"]
    assert per_epoch > 2
    cut_after(copy, step)
    seen = len(tiny.events(copy, "step"))
    assert tiny.train(copy, resume=True) == 0, tiny.ended(copy)
    again = {event["step"] for event in tiny.events(copy, "step")[seen:]}
    assert again == {number for number in figures(unbroken) if number > step}
    assert figures(copy) == figures(unbroken)
    assert (copy.result / ADAPTER).read_bytes() == (unbroken.result / ADAPTER).read_bytes()


def test_what_was_due_when_the_run_was_told_to_end_is_done_when_it_goes_on(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune_core.worker.training import between_steps

    changes = {
        "evaluation": recipe.evaluation.model_copy(update={"every_steps": 3}),
        "samples": recipe.samples.model_copy(update={"count": 1, "every_steps": 3, "max_new_tokens": 4}),
    }
    asked = recipe.model_copy(update=changes)
    unbroken = tiny.make_run(tmp_path / "unbroken", asked)
    assert tiny.train(unbroken) == 0, tiny.ended(unbroken)
    run = tiny.make_run(tmp_path / "broken", asked)
    real = between_steps.held_out_loss

    def ended(*arguments: Any, **named: Any) -> float:
        if tiny.losses(run) and max(tiny.losses(run)) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(between_steps, "held_out_loss", ended)
        tiny.train(run)
    assert tiny.ended(run)["state"] == "preempted"
    assert looked(run) == {"eval": [0], "sample": [0]}
    assert tiny.train(run, resume=True) == 0, tiny.ended(run)
    assert looked(run) == looked(unbroken)
    assert figures(run) == figures(unbroken)
    assert (run.result / ADAPTER).read_bytes() == (unbroken.result / ADAPTER).read_bytes()


def looked(run: RunDir) -> dict[str, list[int]]:
    return {kind: sorted({event["step"] for event in tiny.events(run, kind)}) for kind in ("eval", "sample")}


def damaged(folder: Path, name: str, damage: str, other: Path, older: Path) -> bool:
    """Damage one file of a checkpoint; False when that changes nothing, as files without content of the run do."""
    file = folder / name
    before = file.read_bytes()
    if damage == "missing":
        file.unlink()
        return True
    middle = len(before) // 2
    flipped = before[:middle] + bytes([before[middle] ^ 0x10]) + before[middle + 1 :]
    after = {
        "empty": b"",
        "half": before[:middle],
        "one bit flipped": flipped,
        "from another run": (other / name).read_bytes(),
        "older": (older / name).read_bytes(),
    }[damage]
    file.write_bytes(after)
    return after != before


def test_every_damage_to_every_file_of_a_checkpoint_is_noticed(unbroken: RunDir, other: RunDir, tmp_path: Path) -> None:
    folders = sorted(unbroken.checkpoints.iterdir())
    older, newest = folders[-2:]
    strange = other.checkpoints / newest.name
    names = [str(path.relative_to(newest)) for path in newest.rglob("*") if path.is_file()]
    assert len(names) >= 6
    tried, silent = 0, []
    for name in names:
        for damage in DAMAGES:
            place = tmp_path / "checkpoints"
            shutil.copytree(older, place / older.name)
            shutil.copytree(newest, place / newest.name)
            if damaged(place / newest.name, name, damage, strange, older):
                tried += 1
                found, words = sealed.newest(place, run_id=run_id(unbroken))
                if found is None or found.path.name != older.name or len(words) != 1:
                    silent.append((name, damage))
            shutil.rmtree(place)
    assert silent == []
    assert tried > len(names) * (len(DAMAGES) - 2)


def test_every_bit_of_a_manifest_counts(unbroken: RunDir, tmp_path: Path) -> None:
    newest = max(unbroken.checkpoints.iterdir())
    shutil.copytree(newest, tmp_path / newest.name)
    manifest = tmp_path / newest.name / sealed.MANIFEST
    whole = manifest.read_bytes()
    meant = json.loads(whole)
    for place in range(0, len(whole), 7):
        flipped = whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :]
        manifest.write_bytes(flipped)
        found, _ = sealed.newest(tmp_path)
        # White space between the fields may differ: what it says is then the same.
        assert found is None or json.loads(flipped) == meant, place


def test_a_whole_checkpoint_of_another_run_is_not_taken(unbroken: RunDir, other: RunDir, tmp_path: Path) -> None:
    newest = max(other.checkpoints.iterdir())
    shutil.copytree(newest, tmp_path / newest.name)
    found, words = sealed.newest(tmp_path, run_id=run_id(unbroken))
    assert found is None
    assert words == [f"{newest.name}: it was written by another run"]


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused must be so before anything is trained."""
    from finetune_core.worker.training.job import Job

    def refuse(job: Job) -> None:
        pytest.fail("it trained")

    monkeypatch.setattr(Job, "fit", refuse)


@pytest.mark.usefixtures("no_training")
def test_an_edited_recipe_is_refused_with_every_difference(copy: RunDir, recipe: Recipe) -> None:
    training = recipe.training.model_copy(update={"learning_rate": 1e-3, "epochs": 9.0})
    copy.recipe_file.write_text(yaml_io.dump(recipe.model_copy(update={"training": training})))
    assert tiny.train(copy, resume=True) == 3
    cause = tiny.ended(copy)["cause"]
    assert "recipe.yaml training.learning_rate: the recipe is not what the run began with" in cause
    assert "it was 0.005, and is 0.001" in cause
    assert "recipe.yaml training.epochs" in cause
    assert "set it back to 0.005" in tiny.ended(copy)["remedy"]


def test_a_field_that_a_checkpoint_does_not_know_counts_as_its_default(copy: RunDir, recipe: Recipe) -> None:
    noted = provenance.notes(recipe, copy, Path(recipe.model.source))
    del noted["recipe"]["training.router_loss"]
    provenance.check_recipe(recipe, copy, noted)
    edited = recipe.model_copy(update={"training": recipe.training.model_copy(update={"router_loss": 0.5})})
    with pytest.raises(FtError, match=r"training\.router_loss: .*\n.*it was 0\.0, and is 0\.5"):
        provenance.check_recipe(edited, copy, noted)


def test_what_is_shown_and_kept_may_be_edited(copy: RunDir, recipe: Recipe) -> None:
    cut_after(copy, 6)
    changes = {
        "saving": recipe.saving.model_copy(update={"keep": 1}),
        "hardware": recipe.hardware.model_copy(update={"price_per_hour": 2.0}),
        # The same rows go into every step, in smaller parts.
        "training": recipe.training.model_copy(update={"micro_batch": 2, "accumulation": 1}),
    }
    copy.recipe_file.write_text(yaml_io.dump(recipe.model_copy(update=changes)))
    assert tiny.train(copy, resume=True) == 0, tiny.ended(copy)
    assert len(list(copy.checkpoints.iterdir())) == 1


@pytest.mark.usefixtures("no_training")
def test_another_base_model_of_the_same_shape_is_refused(model: Path, data: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(model, base)
    found = provenance.fingerprint(base)
    provenance.check_base(base, {"base": found})
    tiny.make_model(base, seed=1)
    with pytest.raises(FtError, match=r"model\.safetensors") as refused:
        provenance.check_base(base, {"base": found})
    assert "put the old model back" in refused.value.problems[0].remedy


def test_versions_are_compared_by_a_table() -> None:
    now = provenance.versions()
    assert provenance.version_changes({"versions": now}) == []
    assert provenance.version_changes({}) == []
    minor = {**now, "peft": "0.1.0", "torch": now["torch"].partition(".")[0] + ".0.0"}
    assert provenance.version_changes({"versions": minor}) == [
        f"torch {minor['torch']} (now {now['torch']})",
        f"peft 0.1.0 (now {now['peft']})",
    ]
    with pytest.raises(FtError) as refused:
        provenance.version_changes({"versions": {**now, "torch": "1.13.1", "trl": "0.9.0"}})
    assert [problem.where for problem in refused.value.problems] == ["torch", "trl"]
    assert 'pip install "torch==1.13.1"' in refused.value.problems[0].remedy


def test_a_disk_without_room_keeps_the_earlier_checkpoints_and_training_goes_on(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune_core.worker.checkpoints.manager import Keeper

    room = iter([10**12] * 3)
    monkeypatch.setattr(Keeper, "free", lambda _: next(room, 10_000))
    run = tiny.make_run(tmp_path, recipe)
    assert tiny.train(run) == 0, tiny.ended(run)
    # Told once, not at every step.
    alarms = [event["text"] for event in tiny.events(run, "alarm") if event["name"] == "checkpoint_failed"]
    assert len(alarms) == 1
    assert "10 kB are free" in alarms[0]
    assert sealed.newest(run.checkpoints)[0] is not None
    assert run.result.is_dir()


def test_with_patience_the_run_stops_early_and_its_result_is_the_best_measured(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune_core.worker.training import between_steps

    measured = iter([9.0, 1.0, 0.5, 0.6, 0.7, 0.8, 0.9])
    real = between_steps.held_out_loss
    monkeypatch.setattr(
        between_steps, "held_out_loss", lambda *args, **named: (real(*args, **named), next(measured))[1]
    )
    changes = {
        "evaluation": recipe.evaluation.model_copy(update={"every_steps": 2, "patience": 2}),
        "saving": recipe.saving.model_copy(update={"every_steps": 3, "keep": 1}),
    }
    run = tiny.make_run(tmp_path, recipe.model_copy(update=changes))
    assert tiny.train(run) == 0, tiny.ended(run)
    assert tiny.events(run, "step")[-1]["step"] == 8
    names = [event["name"] for event in tiny.events(run, "alarm")]
    assert names[-2:] == ["stopped_early", "best_kept"]
    # Step 4 was the best: its weights are the result, and its checkpoint was spared.
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-000004", "step-000008"]
    best = run.checkpoints / "step-000004" / ADAPTER
    assert (run.result / ADAPTER).read_bytes() == best.read_bytes()


def test_a_run_without_any_checkpoint_begins_again_and_equals_the_unbroken_one(unbroken: RunDir, copy: RunDir) -> None:
    cut_after(copy, 0)
    assert tiny.train(copy, resume=True) == 0, tiny.ended(copy)
    assert any(event["phase"].startswith("beginning again") for event in tiny.events(copy, "state"))
    assert figures(copy) == figures(unbroken)
    assert (copy.result / ADAPTER).read_bytes() == (unbroken.result / ADAPTER).read_bytes()
