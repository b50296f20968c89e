"""A run seen from another PID namespace, as from a container that shares the folder of runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from finetune_core.recipe.schema import Recipe
from finetune_core.runs.control import ask
from finetune_core.runs.directory import RunDir
from finetune_core.runs.identity import Identity
from finetune_core.runs.journal import Tail
from finetune_core.runs.lock import RunLock
from finetune_core.runs.start.launch import environment
from finetune_core.runs.status import ACTIVE, Status, live, read_status, shown_state, write_status
from tests.core.runs.trainers import STEPPING, STUBBORN, program

Wait = Callable[..., None]
_UNSHARE = ("unshare", "--pid", "--fork", "--kill-child")
LOOK = """
import json, sys
from pathlib import Path
from finetune_core.errors import FtError
from finetune_core.runs.directory import RunDir
from finetune_core.runs.start.launch import resume
from finetune_core.runs.status import live, shown_state
from finetune_core.runs.watch.supervise import end_orphan
from finetune_core.runs.upkeep.trash import move_to_trash
from finetune_core.runs.view.run_view import RunView
run = RunDir(Path(sys.argv[1]))
view = RunView(run)
view.poll()
said = []
for action in (resume, move_to_trash):
    try:
        action(run)
    except FtError as error:
        said.append(error.problems[0].what)
print(json.dumps([shown_state(run), view.state, live(run), end_orphan(run), said]))
"""
SUPERVISE = """
import sys
from pathlib import Path
from finetune_core.runs.watch import supervise
from finetune_core.runs.directory import RunDir
supervise.run(RunDir(Path(sys.argv[1])), resume=sys.argv[2] == "resume", command=sys.argv[3:])
"""


def can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*_UNSHARE, "--mount-proc", "true"], capture_output=True, check=False).returncode == 0


real = pytest.mark.skipif(not can_unshare(), reason="needs the right to make a PID namespace")
# With a /proc of its own, and in front of the old one.
PROCS = (["--mount-proc"], [])


def seen_from_elsewhere(run: RunDir, proc: list[str]) -> list[Any]:
    command = [*_UNSHARE, *proc, sys.executable, "-c", LOOK, str(run.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return list(json.loads(done.stdout))


@contextmanager
def supervised(run: RunDir, code: str, before: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[bytes]]:
    command = [*before, sys.executable, "-P", "-c", SUPERVISE, str(run.path), "start", *program(run.path, code)]
    with subprocess.Popen(command, start_new_session=True, env=environment(Recipe())) as process:
        try:
            yield process
        finally:
            process.kill()


def step_of(run: RunDir) -> int:
    return (read_status(run) or Status()).step


@real
@pytest.mark.parametrize("proc", PROCS)
def test_a_live_run_is_live_from_everywhere_and_nobody_else_writes_into_it(
    run: RunDir, wait_until: Wait, proc: list[str]
) -> None:
    with supervised(run, STEPPING):
        wait_until(lambda: step_of(run) > 2)
        refused = ["this run is already at work", "this run is still at work"]
        assert seen_from_elsewhere(run, proc) == ["training", "training", True, False, refused]
        ask(run, "stop")
        wait_until(lambda: not live(run))
    events = Tail(run.events_file)
    ends = [event["state"] for event in events.read() if event["kind"] == "end"]
    assert ends == ["stopped"]
    assert not events.faults


@real
def test_a_trainer_that_outlived_its_supervisor_is_at_work_from_everywhere(run: RunDir, wait_until: Wait) -> None:
    locked = f"from finetune_core.runs.lock import RunLock\nassert RunLock(run, trainer=True).acquire()\n{STUBBORN}"
    with supervised(run, locked) as supervisor:
        wait_until(lambda: shown_state(run) == "training")
        supervisor.kill()
        supervisor.wait(20)
        trainer = (read_status(run) or Status()).trainer
        try:
            state, viewed, alive, ended, _ = seen_from_elsewhere(run, ["--mount-proc"])
            assert (state, viewed in ACTIVE, alive, ended) == ("training", True, True, False)
        finally:
            assert trainer is not None
            subprocess.run(["kill", "-9", str(trainer.pid)], check=True)
    wait_until(lambda: not live(run))
    assert [event for event in Tail(run.events_file).read() if event["kind"] == "end"] == []


@real
def test_a_run_of_a_container_is_live_here_until_the_container_is_gone(run: RunDir, wait_until: Wait) -> None:
    with supervised(run, STEPPING, (*_UNSHARE, "--mount-proc")) as container:
        wait_until(lambda: step_of(run) > 2)
        status = read_status(run)
        assert status is not None
        assert status.trainer is not None
        assert not status.trainer.here
        assert shown_state(run) == "training"
        ask(run, "stop_now")
        container.wait(60)
    assert shown_state(run) == "stopped"


@pytest.mark.parametrize("held", ["run", "trainer", "neither"])
def test_a_process_of_another_namespace_is_judged_by_its_locks_never_by_its_pid(
    run: RunDir, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for lock in (RunLock(run), RunLock(run, trainer=True)):
        lock.acquire()
        lock.release()
    other = Identity.current().model_copy(update={"namespace": "pid:[1]"})
    assert not other.here
    assert not other.alive()
    write_status(run, Status(run=run.name, state="training", supervisor=other, trainer=other))
    lock = RunLock(run, trainer=held == "trainer")
    if held != "neither":
        assert lock.acquire()
    assert live(run) == (held != "neither")
    assert shown_state(run) == ("crashed" if held == "neither" else "training")
    lock.release()


def test_where_the_lock_of_another_namespace_is_gone_the_heartbeat_speaks(run: RunDir) -> None:
    other = Identity.current().model_copy(update={"namespace": "pid:[1]"})
    write_status(run, Status(run=run.name, state="training", supervisor=other, trainer=other))
    assert not run.lock_file.exists()
    assert live(run)
