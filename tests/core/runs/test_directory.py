from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune_core.errors import FtError
from finetune_core.files import write_atomic
from finetune_core.paths import runs_root
from finetune_core.recipe.schema import Model, Output, Recipe
from finetune_core.recipe.yaml_io import load
from finetune_core.runs.control import ask
from finetune_core.runs.directory import RunDir, find_run, list_runs, read_plan
from finetune_core.runs.identity import Identity
from finetune_core.runs.journal import Tail
from finetune_core.runs.lock import RunLock
from finetune_core.runs.start.launch import launch, resume
from finetune_core.runs.status import Status, write_status
from finetune_core.runs.upkeep import lifecycle
from finetune_core.runs.upkeep.lifecycle import create, delete


def named(name: str) -> RunDir:
    return create(Recipe(output=Output(name=name)), {})


def dated(name: str) -> RunDir:
    """A run as if made at the time its name tells."""
    run = named("x")
    return RunDir(run.path.rename(run.path.with_name(name)))


def test_a_run_holds_its_recipe_its_plan_and_that_it_was_created(run: RunDir) -> None:
    assert load(run.recipe_file) == Recipe()
    assert read_plan(run) == {"total_steps": 3}
    (event,) = Tail(run.events_file).read()
    assert (event["kind"], event["state"], event["seq"]) == ("state", "created", 1)


def test_everything_in_a_run_is_for_its_owner_only(run: RunDir) -> None:
    assert run.path.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o077 for path in run.path.iterdir()}
    assert set(modes.values()) == {0}
    assert {"recipe.yaml", "plan.json", "events.jsonl", "status.json", "control", "checkpoints"} <= set(modes)


def test_a_run_is_named_by_the_time_and_what_it_is() -> None:
    assert re.fullmatch(r"\d{8}-\d{6}-my-first-run", named("My first run!").name)
    recipe = Recipe(model=Model(source="meta-llama/Llama-3.2-1B"))
    assert create(recipe, {}).name.endswith("-llama-3-2-1b-demo")


@given(name=st.text(min_size=1, max_size=60).filter(lambda text: not any(ord(letter) < 32 for letter in text)))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_name_leads_out_of_the_folder_of_runs(home: Path, name: str) -> None:
    run = named(name)
    assert run.path.parent == runs_root()
    assert re.fullmatch(r"[a-z0-9-]{1,70}", run.name)


def test_runs_made_in_the_same_second_get_different_directories() -> None:
    names = {named("twin").name for _ in range(5)}
    assert len(names) == 5
    assert len(list_runs()) == 5


def test_a_run_without_its_recipe_is_not_there() -> None:
    (runs_root() / "20260101-000000-half").mkdir()
    (runs_root() / "a-file").write_text("")
    (runs_root() / ".hidden").mkdir()
    assert list_runs() == []


def test_a_disk_that_refuses_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, content: str, **_: object) -> None:
        if path.name == "recipe.yaml":
            raise OSError(28, "No space left on device")
        write_atomic(path, content)

    monkeypatch.setattr(lifecycle, "write_atomic", refuse)
    with pytest.raises(FtError, match="No space left on device"):
        create(Recipe(), {})
    assert list(runs_root().iterdir()) == []


def test_the_newest_run_comes_first() -> None:
    for name in ("20250101-000000-b", "20260101-000000-a", "20240101-000000-c"):
        dated(name)
    assert [run.name[:4] for run in list_runs()] == ["2026", "2025", "2024"]
    assert find_run().name == "20260101-000000-a"


def test_of_runs_made_in_the_same_second_the_later_comes_first() -> None:
    dated("20250101-000000-b")
    dated("20250101-000000-a")
    assert find_run().name == "20250101-000000-a"


@pytest.mark.parametrize("beginning", ["20250101-000000-long-name", "2025", "long", "long-name"])
def test_a_unique_beginning_with_or_without_the_date_is_enough(beginning: str) -> None:
    dated("20240101-000000-other")
    assert find_run(dated("20250101-000000-long-name").name).name.endswith("long-name")
    assert find_run(beginning).name == "20250101-000000-long-name"


def test_a_whole_name_is_meant_even_if_others_begin_with_it() -> None:
    dated("20250101-000000-run")
    dated("20250101-000000-run-2")
    assert find_run("20250101-000000-run").name == "20250101-000000-run"


def test_an_ambiguous_beginning_is_refused_with_the_names() -> None:
    dated("20250101-000000-one")
    dated("20250101-000001-two")
    with pytest.raises(FtError) as caught:
        find_run("2025")
    assert "20250101-000000-one" in caught.value.problems[0].why
    assert "20250101-000001-two" in caught.value.problems[0].why


@pytest.mark.parametrize("name", ["absent", "", "../", "\x1b[31m"])
def test_an_unknown_run_is_refused_with_the_names_there_are(name: str) -> None:
    dated("20250101-000000-one")
    with pytest.raises(FtError) as caught:
        find_run(name)
    assert "20250101-000000-one" in caught.value.problems[0].why
    assert "\x1b" not in str(caught.value)


def test_without_runs_the_way_to_the_first_one_is_told() -> None:
    with pytest.raises(FtError, match="ft-tui demo"):
        find_run()


def test_a_deleted_run_is_gone_wholly(run: RunDir) -> None:
    delete(run)
    assert list(runs_root().iterdir()) == []


def test_a_living_run_is_not_deleted(run: RunDir) -> None:
    write_status(run, Status(state="training", trainer=Identity.current()))
    with pytest.raises(FtError, match="still at work"):
        delete(run)
    assert list_runs() == [run]


def test_a_run_that_is_just_being_started_is_not_deleted(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunLock, "acquire", lambda _: False)
    with pytest.raises(FtError, match="still at work"):
        delete(run)
    assert list_runs() == [run]


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 10_000])
def test_a_damaged_plan_is_empty(run: RunDir, text: str) -> None:
    run.plan_file.write_text(text)
    assert read_plan(run) == {}


@pytest.mark.parametrize("part", ["", "control"])
def test_a_run_others_can_write_to_is_neither_found_nor_started_nor_asked(run: RunDir, part: str) -> None:
    (run.path / part).chmod(0o777)
    for use in (lambda: find_run(run.name), lambda: launch(run), lambda: resume(run), lambda: ask(run, "stop")):
        with pytest.raises(FtError, match="chmod go-w"):
            use()
    assert [found.name for found in list_runs()] == [run.name]
