"""A run's state follows from its journal and its sealed checkpoints, whatever became of status.json."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_core.errors import FtError
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.runs.identity import Identity
from finetune_core.runs.journal import Journal
from finetune_core.runs.start.launch import launch, resume
from finetune_core.runs.start.startable import goes_on_words
from finetune_core.runs.status import Status, StatusWriter, known, read_status, shown_state, write_status
from finetune_core.runs.upkeep.lifecycle import create, run_id
from finetune_core.runs.upkeep.trash import move_to_trash
from finetune_core.runs.view.damage import read_damage
from finetune_core.runs.view.run_view import RunView
from finetune_core.runs.view.summary import summarise

GONE = Identity.current().model_copy(update={"start_time": 1})
DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "garbage": lambda path: path.write_bytes(b"\xff\xfe{]"),
    "one digit flipped": lambda path: path.write_bytes(path.read_bytes().replace(b'"step":7', b'"step":9')),
    "missing": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path.name)),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}
WAYS = ("done", "failed", "stopped", "killed")


def seal(run: RunDir, step: int, events: int = 0) -> Path:
    folder = run.checkpoints / f"step-{step:06d}"
    folder.mkdir()
    (folder / "manifest.json").write_text(
        json.dumps({"v": 2, "step": step, "notes": {"events": events, "run": run_id(run)}})
    )
    return folder


def trained(run: RunDir, how: str = "done") -> RunDir:
    """A run that did 7 of 9 steps, or all, and ended so."""
    with Journal(run.events_file) as journal:
        journal.write("state", state="preparing", phase="starting")
        journal.write("plan", total_steps=7 if how == "done" else 9)
        for step in range(1, 8):
            journal.write("step", step=step, loss=1.0 / step)
        if how != "killed":
            journal.write("end", state=how, cause=None if how == "done" else "so it was", remedy="try")
        seal(run, 5, journal.written)
    state = "training" if how == "killed" else how
    ended = {} if how == "killed" else {"ended": 20.0}
    write_status(run, known(run).changed(state=state, step=7, total=7, started=12.0, trainer=GONE, **ended))
    return run


def shown(run: RunDir) -> tuple[str, str, str]:
    view = RunView(run)
    view.poll()
    return shown_state(run), view.state, summarise(run).state


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("how", WAYS)
def test_a_run_stays_what_it_was_when_its_status_is_lost(run: RunDir, how: str, damage: str) -> None:
    trained(run, how)
    before = summarise(run)
    DAMAGES[damage](run.status_file)
    state = "crashed" if how == "killed" else how
    assert shown(run) == (state, state, state)
    after = summarise(run)
    assert (after.step, after.loss, after.title, after.model) == (7, 1 / 7, before.title, before.model)
    assert [words for words in read_damage(run) if words.startswith("status.json")]
    with pytest.raises(FtError, match="started before"):
        launch(run)
    assert "step 5 of" in goes_on_words(run)
    if how == "done":
        with pytest.raises(FtError, match="complete"):
            resume(run)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_trainer_that_begins_with_a_lost_status_keeps_position_and_names(run: RunDir, damage: str) -> None:
    trained(run, "stopped")
    model = summarise(run).model
    DAMAGES[damage](run.status_file)
    StatusWriter(run).close()
    status = read_status(run)
    assert status is not None
    assert (status.step, status.model, status.id) == (7, model, run_id(run))


def test_a_run_with_neither_status_nor_journal_goes_on_from_its_newest_checkpoint(run: RunDir) -> None:
    trained(run)
    seal(run, 7)
    run.status_file.unlink()
    run.events_file.unlink()
    assert shown(run) == ("crashed", "crashed", "crashed")
    assert (known(run).step, goes_on_words(run)[:58]) == (
        7,
        "It goes on from its newest checkpoint, of step 7, if every",
    )
    with pytest.raises(FtError, match="started before"):
        launch(run)


def test_a_status_of_another_run_is_not_believed(run: RunDir) -> None:
    trained(run, "stopped")
    other = trained(create(Recipe(), {}), "done")
    shutil.copy(other.status_file, run.status_file)
    assert shown(run) == ("stopped", "stopped", "stopped")
    assert read_damage(run) == [
        "status.json is of another run than the journal; what is shown follows from the journal"
    ]


def test_a_status_older_than_the_journal_is_not_believed(run: RunDir, tmp_path: Path) -> None:
    shutil.copy(run.status_file, tmp_path)
    trained(run, "done")
    shutil.copy(tmp_path / run.status_file.name, run.status_file)
    assert shown(run) == ("done", "done", "done")
    assert summarise(run).step == 7


@pytest.mark.parametrize("keep", [0, 1, 4, 9])
@pytest.mark.parametrize("how", WAYS)
def test_a_journal_that_was_cut_changes_no_state_and_is_said_everywhere(run: RunDir, how: str, keep: int) -> None:
    trained(run, how)
    lines = run.events_file.read_bytes().splitlines(keepends=True)
    run.events_file.write_bytes(b"".join(lines[:keep]))
    state = "crashed" if how == "killed" else how
    assert shown(run) == (state, state, state)
    said = f"events.jsonl: it ends with event {keep}, and {len(lines)} had been written"
    assert said in read_damage(run)
    assert said in summarise(run).damage


def test_a_journal_that_was_cut_and_lost_its_status_is_known_to_be_shorter_by_the_checkpoint(run: RunDir) -> None:
    trained(run, "stopped")
    lines = run.events_file.read_bytes().splitlines(keepends=True)
    run.events_file.write_bytes(b"".join(lines[:4]))
    run.status_file.unlink()
    said = f"events.jsonl: it ends with event 4, and {len(lines)} had been written"
    assert said in read_damage(run)
    assert said in summarise(run).damage


def test_digits_flipped_in_a_journal_are_said_everywhere(run: RunDir) -> None:
    trained(run)
    text = run.events_file.read_bytes()
    run.events_file.write_bytes(text.replace(b'"loss":0.5', b'"loss":0.1'))
    later = run.status_file.stat().st_mtime + 10
    os.utime(run.events_file, (later, later))
    for found in (read_damage(run), summarise(run).damage):
        assert list(found) == ["events.jsonl: 1 line is not what was written"]


def test_a_sound_run_has_no_damage(run: RunDir) -> None:
    for sound in (run, *(trained(create(Recipe(), {}), how) for how in WAYS)):
        assert read_damage(sound) == []
        assert summarise(sound).damage == ()


@pytest.mark.parametrize("name", ["recipe.yaml", "plan.json", "events.jsonl", "lock", "control", "checkpoints", "eval"])
@pytest.mark.parametrize("damage", ["a link to itself", "a pipe"])
def test_what_is_no_file_is_named_refused_and_never_waited_for(run: RunDir, name: str, damage: str) -> None:
    trained(run, "stopped")
    path = run.path / name
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.touch()
    DAMAGES[damage](path)
    kind = "a pipe" if damage == "a pipe" else "a link"
    assert [words for words in read_damage(run) if words.startswith(f"{name} is {kind}, where ")]
    assert [words for words in summarise(run).damage if words.startswith(f"{name} is {kind}, where ")]
    with pytest.raises(FtError, match="the run directory is damaged") as refused:
        resume(run)
    assert refused.value.problems[0].where == str(path)
    move_to_trash(run)
    assert not run.path.exists()


def test_everything_odd_in_a_run_is_refused_at_once(run: RunDir) -> None:
    for path in (run.plan_file, run.control / "1.json", run.samples / "step-000001.json"):
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    with pytest.raises(FtError) as refused:
        launch(run)
    assert len(refused.value.problems) == 3


def test_a_status_of_an_earlier_version_is_believed_as_far_as_the_journal_goes(run: RunDir) -> None:
    trained(run, "done")
    values = known(run).model_dump(exclude={"id", "events", "journal_bytes"})
    run.status_file.write_text(Status(**values).model_dump_json(exclude={"id", "events", "journal_bytes"}))
    assert shown(run) == ("done", "done", "done")
    lines = run.events_file.read_bytes().splitlines(keepends=True)
    run.events_file.write_bytes(b"".join(lines[:4]))
    assert shown(run) == ("done", "done", "done")
