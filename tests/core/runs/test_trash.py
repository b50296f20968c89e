from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from finetune_core.errors import FtError
from finetune_core.paths import runs_root
from finetune_core.recipe.schema import Output, Recipe
from finetune_core.runs.directory import RunDir, list_runs
from finetune_core.runs.identity import Identity
from finetune_core.runs.status import Status, write_status
from finetune_core.runs.upkeep import trash
from finetune_core.runs.upkeep.lifecycle import create
from finetune_core.runs.upkeep.trash import (
    KEPT_SECONDS,
    empty_trash,
    find_trashed,
    list_trash,
    move_to_trash,
    restore,
    size_of,
)


def named(name: str) -> RunDir:
    return create(Recipe(output=Output(name=name)), {})


def aged(run: RunDir, seconds: float) -> None:
    """Move a run to the trash as if it had been deleted so long ago."""
    one = move_to_trash(run)
    one.path.rename(one.path.with_name(f"{time.time_ns() - int(seconds * 1e9)}-{one.name}"))


def test_a_deleted_run_lies_whole_in_the_trash_and_in_no_list(run: RunDir) -> None:
    before = sorted(path.name for path in run.path.iterdir())
    moved = move_to_trash(run)
    assert list_runs() == []
    (found,) = list_trash()
    assert found == moved
    assert (found.name, found.expires - found.deleted) == (run.name, 7 * 86400)
    assert sorted(path.name for path in found.path.iterdir() if path.name != "lock") == before
    assert found.path.parent.stat().st_mode & 0o777 == 0o700
    assert found.path.stat().st_mode & 0o777 == 0o700


def test_a_restored_run_is_the_same_run_again(run: RunDir) -> None:
    recipe = run.recipe_file.read_bytes()
    assert restore(move_to_trash(run)) == run
    assert list_runs() == [run]
    assert run.recipe_file.read_bytes() == recipe
    assert list_trash() == []


def test_a_run_whose_name_is_taken_is_restored_under_another(run: RunDir) -> None:
    one = move_to_trash(run)
    shutil.copytree(one.path, run.path)
    assert restore(one).name == f"{run.name}-2"
    assert len(list_runs()) == 2


def test_a_living_run_is_not_moved(run: RunDir) -> None:
    write_status(run, Status(run=run.name, state="training", trainer=Identity.current()))
    with pytest.raises(FtError, match="still at work"):
        move_to_trash(run)
    assert list_runs() == [run]


def test_a_run_that_is_gone_is_said_to_be_gone(run: RunDir) -> None:
    shutil.rmtree(run.path)
    with pytest.raises(FtError, match="No such file"):
        move_to_trash(run)
    one = move_to_trash(named("other"))
    shutil.rmtree(one.path)
    with pytest.raises(FtError, match="no longer in the trash"):
        restore(one)


def test_only_what_lay_there_for_seven_days_is_purged(home: Path) -> None:
    aged(named("old"), KEPT_SECONDS + 60)
    aged(named("young"), KEPT_SECONDS - 60)
    aged(named("from a clock ahead"), -9e6)
    removed = empty_trash(only_expired=True)
    assert [one.name[16:] for one in removed] == ["old"]
    assert {one.name[16:] for one in list_trash()} == {"young", "from-a-clock-ahead"}
    assert len(empty_trash()) == 2
    assert list((runs_root() / ".trash").iterdir()) == []


def test_an_interrupted_removal_is_finished_and_never_restored(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    move_to_trash(run)
    with monkeypatch.context() as patch:
        patch.setattr(trash.shutil, "rmtree", lambda _path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            empty_trash()
    assert list_trash() == [], "half a run cannot be restored"
    (doomed,) = (runs_root() / ".trash").iterdir()
    doomed.rename(doomed.with_name(f".doomed-{run.name}-{time.time_ns() - 10**13}"))
    (runs_root() / f".deleted-x-{time.time_ns() - 10**13}").mkdir()
    fresh = runs_root() / f".deleted-y-{time.time_ns()}"
    fresh.mkdir()
    assert empty_trash() == []
    assert list((runs_root() / ".trash").iterdir()) == []
    assert {path.name for path in runs_root().iterdir()} == {fresh.name, ".trash"}, "another process may be at that one"


def test_runs_kept_on_another_disk_have_their_trash_there(home: Path, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.mkdir(mode=0o700)
    home.mkdir(mode=0o700)
    (home / "runs").symlink_to(big)
    one = move_to_trash(named("x"))
    assert one.path.resolve().is_relative_to(big)
    assert restore(one).path.resolve().parent == big


def test_a_deleted_run_is_found_by_the_beginning_of_its_name(home: Path) -> None:
    names = {name: move_to_trash(named(name)).name for name in ("alpha", "alpine")}
    assert find_trashed(names["alpha"]).name == names["alpha"]
    assert find_trashed("alph").name == names["alpha"]
    with pytest.raises(FtError, match="several deleted runs"):
        find_trashed("alp")
    with pytest.raises(FtError, match="no deleted run begins"):
        find_trashed("beta")
    with pytest.raises(FtError, match="no deleted run begins"):
        find_trashed("")


def test_two_homes_have_two_trashes(run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    move_to_trash(run)
    monkeypatch.setenv("FT_TUI_HOME", str(tmp_path / "other"))
    assert list_trash() == []
    assert empty_trash() == []
    monkeypatch.undo()


def test_a_size_counts_each_file_once_and_follows_no_link(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "weights").write_bytes(b"x" * 1000)
    os.link(folder / "deep" / "weights", folder / "again")
    (tmp_path / "outside").write_bytes(b"x" * 5000)
    (folder / "link").symlink_to(tmp_path / "outside")
    assert size_of(folder) == 1000
    (tmp_path / "other").symlink_to(folder)
    assert size_of(tmp_path / "other") == 0
