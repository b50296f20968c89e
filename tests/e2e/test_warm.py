"""A worker that waits for the launch: the run it takes is one like any other, and nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from finetune_core import demo
from finetune_core.errors import FtError
from finetune_core.plan.prepare import prepare
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.runs import control
from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Tail
from finetune_core.runs.start.launch import environment, launch
from finetune_core.runs.start.warm import WarmWorker, worthwhile
from finetune_core.runs.status import read_status
from finetune_core.runs.upkeep.lifecycle import create
from finetune_tui import start
from finetune_tui.warm_link import warming_up
from tests.e2e.runs import state

SHORT: dict[str, object] = {
    "training.epochs": None, "training.max_steps": 3, "evaluation.questions": 1, "samples.count": 0,
    "hardware.device": "cpu",
}  # fmt: skip


@pytest.fixture
def recipe() -> Recipe:
    return prepare(with_values(Recipe(), {**demo.recipe_values(), **SHORT})).recipe


@pytest.fixture
def warm(recipe: Recipe, home: Path) -> Iterator[WarmWorker]:
    home.mkdir(exist_ok=True)
    found = WarmWorker(environment(recipe))
    yield found
    found.close()
    until(lambda: not waiting(home))


def until(true: Callable[[], bool], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "never came true"
        time.sleep(0.05)


def waiting(home: Path) -> list[int]:
    """Pids of supervisors and trainers of this test that wait for a run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            ours = f"FT_TUI_HOME={home}".encode() in (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if ours and (b"finetune_core.runs.watch.supervise_waiting" in words or b"finetune_core.worker.warm" in words):
            found.append(int(folder.name))
    return sorted(found)


def losses(run: RunDir) -> list[float]:
    return [event["loss"] for event in Tail(run.events_file).read() if event["kind"] == "step"]


def test_a_run_that_is_handed_over_takes_the_same_steps_and_is_seen_as_any_other(
    recipe: Recipe, warm: WarmWorker
) -> None:
    cold, handed = create(recipe, {}), create(recipe, {})
    pid = launch(handed, warm=warm)
    launch(cold)
    until(lambda: state(handed) == "done" and state(cold) == "done")
    assert losses(handed) == losses(cold) != []
    status = read_status(handed)
    assert status is not None
    assert status.supervisor is not None
    assert status.supervisor.pid == pid
    assert "training: training" in handed.log_file.read_text()


def test_it_ends_when_it_is_let_go(warm: WarmWorker, home: Path) -> None:
    until(lambda: len(waiting(home)) == 2)
    warm.close()
    until(lambda: not waiting(home))


def test_it_ends_when_the_program_that_waits_is_killed(recipe: Recipe, home: Path) -> None:
    home.mkdir(exist_ok=True)
    code = (
        "import os, sys, time; from finetune_core.runs.start.warm import WarmWorker; "
        "w = WarmWorker(dict(os.environ)); print('up', flush=True); time.sleep(600)"
    )
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment(recipe))
    assert program.stdout is not None
    assert program.stdout.readline() == b"up\n"
    until(lambda: len(waiting(home)) == 2)
    program.kill()
    program.wait()
    program.stdout.close()
    until(lambda: not waiting(home))


def test_a_run_of_another_environment_is_started_cold(recipe: Recipe, warm: WarmWorker, home: Path) -> None:
    run = create(with_values(recipe, {"hardware.device": "auto"}), {})
    launch(run, warm=warm)
    until(lambda: state(run) == "done")
    until(lambda: not waiting(home))


def test_a_run_is_started_although_the_waiting_trainer_has_died(recipe: Recipe, warm: WarmWorker, home: Path) -> None:
    until(lambda: len(waiting(home)) == 2)
    for pid in waiting(home):
        if b"finetune_core.worker.warm" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            os.kill(pid, signal.SIGKILL)
    run = create(recipe, {})
    launch(run, warm=warm)
    until(lambda: state(run) == "done")


def test_a_handed_run_is_stopped_at_once_like_any_other(recipe: Recipe, warm: WarmWorker) -> None:
    run = create(with_values(recipe, {"training.max_steps": 100_000}), {})
    launch(run, warm=warm)
    until(lambda: bool(losses(run)))
    control.ask(run, "stop_now")
    until(lambda: state(run) == "stopped")


def test_a_stack_that_cannot_be_imported_is_reported_by_the_run(
    recipe: Recipe, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir(exist_ok=True)
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch is not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = create(recipe, {})
    launch(run, warm=WarmWorker(environment(recipe)))
    until(lambda: state(run) == "failed")
    assert "libtorch is not here" in run.log_file.read_text()
    end = next(event for event in Tail(run.events_file).read() if event["kind"] == "end")
    assert "libtorch is not here" in str(end)


def test_a_worker_imports_the_stack_while_a_run_is_prepared(
    recipe: Recipe, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FT_TUI_WARM", "1")
    home.mkdir(exist_ok=True)
    taken: list[bool] = []
    take = WarmWorker.take

    def noted(worker: WarmWorker, run: RunDir, variables: Mapping[str, str]) -> bool:
        taken.append(take(worker, run, variables))
        return taken[-1]

    monkeypatch.setattr(WarmWorker, "take", noted)
    with warming_up(recipe) as link:
        until(lambda: len(waiting(home)) == 2)
        run, _ = start.start_prepared(start.fetch_and_prepare(recipe), link.hand())
    assert taken == [True]
    until(lambda: state(run) == "done")
    until(lambda: not waiting(home))


def test_a_worker_of_a_run_that_is_refused_ends(recipe: Recipe, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FT_TUI_WARM", "1")
    home.mkdir(exist_ok=True)
    bad = with_values(recipe, {"data.source": "/nowhere/rows.jsonl"})
    with warming_up(bad):
        until(lambda: len(waiting(home)) == 2)
        with pytest.raises(FtError):
            start.fetch_and_prepare(bad)
    until(lambda: not waiting(home))


def test_no_worker_waits_where_that_is_forbidden_or_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune_core.runs.start.warm.host_memory_now", lambda: (64 * 2**30, 32 * 2**30))
    assert not worthwhile(), "the tests forbid it"
    monkeypatch.setenv("FT_TUI_WARM", "1")
    assert worthwhile()
    monkeypatch.setattr("finetune_core.runs.start.warm.host_memory_now", lambda: (4 * 2**30, 2**30))
    assert not worthwhile()
