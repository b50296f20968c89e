from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import tty
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_core.errors import FtError
from finetune_core.recipe.schema import Hardware, Recipe
from finetune_core.runs.control import ask
from finetune_core.runs.directory import RunDir
from finetune_core.runs.identity import Identity
from finetune_core.runs.journal import Journal, Tail
from finetune_core.runs.start import launch as launch_module
from finetune_core.runs.start.launch import detach, environment, launch, resume
from finetune_core.runs.status import Status, live, read_status, shown_state, write_status
from tests.core.runs.trainers import STEPPING, program

Wait = Callable[..., None]

# What `launch` starts, but with another trainer: the same supervisor, the same detachment.
SUPERVISOR = """
import sys
from pathlib import Path
from finetune_core.runs.watch import supervise
from finetune_core.runs.directory import RunDir
writer = supervise._detach()
supervise.run(
    RunDir(Path(sys.argv[1])),
    resume=sys.argv[2] == "resume",
    command=sys.argv[3:],
    ready=lambda: supervise.os.write(writer, b"1"),
)
"""
LAUNCHER = """
import json, os, sys, time
from pathlib import Path
from finetune_core.runs.directory import RunDir
from finetune_core.runs.start.launch import detach
detach(RunDir(Path(sys.argv[1])), json.loads(sys.argv[2]), os.environ).wait(30)
print("launched", flush=True)
time.sleep(60)
"""


def status_of(run: RunDir) -> Status:
    return read_status(run) or Status()


def supervisor_command(run: RunDir, code: str, how: str = "start") -> list[str]:
    return [sys.executable, "-P", "-c", SUPERVISOR, str(run.path), how, *program(run.path, code)]


def test_a_run_outlives_a_launcher_killed_with_its_group_and_its_closed_terminal(
    run: RunDir, wait_until: Wait, tmp_path: Path
) -> None:
    import json

    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    command = [sys.executable, "-c", LAUNCHER, str(run.path), json.dumps(supervisor_command(run, STEPPING))]
    launcher = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    assert os.read(ours, 100).startswith(b"launched")
    wait_until(lambda: status_of(run).step > 2)

    os.killpg(launcher.pid, signal.SIGKILL)
    launcher.wait(20)
    os.close(ours)
    before = status_of(run).step
    wait_until(lambda: status_of(run).step > before + 10)
    assert live(run)

    supervisor = status_of(run).supervisor
    assert supervisor is not None
    ask(run, "stop")
    wait_until(lambda: not supervisor.alive())
    assert status_of(run).cause == "asked to"
    steps = [event["step"] for event in Tail(run.events_file).read() if event["kind"] == "step"]
    assert steps == list(range(1, len(steps) + 1))


def test_a_detached_run_has_its_own_session_no_terminal_and_no_tie_to_its_launcher(
    run: RunDir, wait_until: Wait
) -> None:
    starter = detach(run, supervisor_command(run, STEPPING), environment(Recipe()))
    assert starter.wait(30) == 0
    wait_until(lambda: status_of(run).step > 2)
    for process in (status_of(run).supervisor, status_of(run).trainer):
        assert process is not None
        proc = Path(f"/proc/{process.pid}")
        fields = (proc / "stat").read_text().rpartition(")")[2].split()
        assert int(fields[3]) == starter.pid != os.getsid(0), "a session of its own"
        assert fields[4] == "0", "no controlling terminal"
        assert (proc / "fd/0").readlink() == Path("/dev/null")
        assert {(proc / f"fd/{number}").readlink() for number in (1, 2)} == {run.log_file.resolve()}
        assert (proc / "cwd").readlink() == Path("/")
    supervisor = status_of(run).supervisor
    assert supervisor is not None
    parent = (Path(f"/proc/{supervisor.pid}/stat").read_text().rpartition(")")[2].split())[1]
    assert int(parent) not in {os.getpid(), starter.pid}
    ask(run, "stop")
    wait_until(lambda: not live(run))


def test_launching_gives_the_supervisors_pid_and_a_trainer_that_fails_is_told(
    run: RunDir, wait_until: Wait, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A folder that shadows the worker stands where the user stands; isolation must pass it by, PYTHONPATH must not.
    broken = tmp_path / "broken"
    (broken / "torch").mkdir(parents=True)
    (broken / "torch/__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    here = tmp_path / "here"
    (here / "finetune_core").mkdir(parents=True)
    (here / "finetune_core/__init__.py").write_text("raise SystemExit('the folder of the user was imported')")
    (here / "random.py").write_text("raise SystemExit('the folder of the user was imported')")
    monkeypatch.chdir(here)
    monkeypatch.setenv("PYTHONPATH", str(broken))
    pid = launch(run)
    assert pid != os.getpid()
    wait_until(lambda: not live(run), 60)
    status = status_of(run)
    assert status.supervisor is not None
    assert status.supervisor.pid == pid
    assert status.state == "failed"
    assert "not installed" in (status.cause or "") or "torch" in (status.cause or "")
    assert "folder of the user" not in run.log_file.read_text()


def test_a_supervisor_that_cannot_start_is_an_error_and_a_failed_run(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(FtError, match="could not be started"):
        launch(run)
    assert shown_state(run) == "failed"
    assert Tail(run.events_file).read()[-1]["kind"] == "end"


def test_a_supervisor_that_fails_at_once_is_told_by_its_last_words(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'something is missing' >&2\nexit 3\n")
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(FtError, match="something is missing"):
        launch(run)


def test_a_supervisor_that_never_answers_is_told(run: RunDir, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 2\n")
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(launch_module, "_START_SECONDS", 0.1)
    with pytest.raises(FtError, match="has not answered"):
        launch(run)


@pytest.mark.parametrize("again", [False, True])
def test_a_run_at_work_is_not_started_again(run: RunDir, again: bool) -> None:
    write_status(run, Status(state="training", trainer=Identity.current()))
    with pytest.raises(FtError, match="already at work"):
        launch(run, resume=again)


@pytest.mark.parametrize("state", ["done", "stopped", "failed", "training"])
def test_a_run_that_was_started_before_is_only_resumed(run: RunDir, state: str) -> None:
    write_status(run, Status(state=state))
    with pytest.raises(FtError, match="started before"):
        launch(run)


def test_a_complete_run_is_not_resumed(run: RunDir) -> None:
    write_status(run, Status(state="done"))
    (run.checkpoints / "step-000002").mkdir()
    with pytest.raises(FtError, match="complete"):
        resume(run)


def test_a_damaged_recipe_is_told_before_anything_starts(run: RunDir) -> None:
    run.recipe_file.write_text("model: [")
    with pytest.raises(FtError, match=r"recipe\.yaml"):
        launch(run)
    assert shown_state(run) == "created"


def test_a_run_is_resumed_with_its_checkpoint_and_keeps_its_history(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, wait_until: Wait
) -> None:
    write_status(run, status_of(run).changed(state="stopped", started=12.5, ended=20.0, cause="asked"))
    (run.checkpoints / "step-000002").mkdir()
    with Journal(run.events_file) as journal:
        journal.write("step", step=1)
    started: list[list[str]] = []

    def start(run: RunDir, command: list[str], variables: dict[str, str]) -> subprocess.Popen[bytes]:
        started.append(command)
        return detach(run, supervisor_command(run, "sys.exit(3)", "resume"), variables)

    monkeypatch.setattr(launch_module, "detach", start)
    resume(run)
    assert started == [[sys.executable, "-P", "-m", "finetune_core.runs.watch.supervise", str(run.path), "--resume"]]
    wait_until(lambda: not live(run), 60)
    status = status_of(run)
    assert (status.state, status.started) == ("failed", 12.5)
    found = Tail(run.events_file).read()
    assert [event["seq"] for event in found] == list(range(1, len(found) + 1))


def test_the_worker_is_told_to_be_quiet_and_which_gpus_are_its_own() -> None:
    variables = environment(Recipe(hardware=Hardware(device="cuda", gpus=["GPU-a", "GPU-b"])), {"HF_TOKEN": "kept"})
    assert variables["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"
    assert variables["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert variables["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert variables["TOKENIZERS_PARALLELISM"] == "false"
    assert variables["PYTHONUNBUFFERED"] == "1"
    assert variables["HF_TOKEN"] == "kept"


def test_a_run_on_the_cpu_sees_no_gpu_and_one_without_a_choice_sees_what_it_saw() -> None:
    before = {"CUDA_VISIBLE_DEVICES": "3"}
    assert environment(Recipe(hardware=Hardware(device="cpu")), before)["CUDA_VISIBLE_DEVICES"] == ""
    assert environment(Recipe(), before)["CUDA_VISIBLE_DEVICES"] == "3"
    assert "CUDA_VISIBLE_DEVICES" not in environment(Recipe(), {})


def test_relative_places_of_modules_stay_true_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    variables = environment(Recipe(), {"PYTHONPATH": f"core{os.pathsep}{os.pathsep}/abs"})
    assert variables["PYTHONPATH"] == f"{tmp_path}/core{os.pathsep}/abs"


def test_no_secret_of_the_environment_is_in_a_command_line_or_the_run(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, wait_until: Wait
) -> None:
    canary = "hf_CANARY1234567890"
    monkeypatch.setenv("HF_TOKEN", canary)
    code = f'assert os.environ["HF_TOKEN"] == "hf_" + "CANARY1234567890"\n{STEPPING}'
    assert detach(run, supervisor_command(run, code), environment(Recipe())).wait(30) == 0
    wait_until(lambda: status_of(run).step > 2)
    for process in (status_of(run).supervisor, status_of(run).trainer):
        assert process is not None
        assert canary.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    ask(run, "stop")
    wait_until(lambda: not live(run))
    assert status_of(run).cause == "asked to"
    assert not [path for path in run.path.rglob("*") if path.is_file() and canary.encode() in path.read_bytes()]


def test_of_two_that_resume_at_once_one_goes_on_and_the_other_reads_the_whole_reason(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, wait_until: Wait
) -> None:
    from finetune_core.runs.lock import RunLock

    write_status(run, status_of(run).changed(state="stopped"))
    # The first has the lock, and has written nothing yet.
    lock = RunLock(run)
    assert lock.acquire()
    monkeypatch.setattr(launch_module, "live", lambda _run: False)
    before = run.events_file.read_bytes()
    with pytest.raises(FtError) as refused:
        resume(run)
    lock.release()
    (problem,) = refused.value.problems
    assert problem.what == "this run is already at work"
    assert problem.why == "its supervisor holds the run's lock"
    assert problem.remedy == "attach to it, or stop it before resuming"
    assert run.events_file.read_bytes() == before
    assert shown_state(run) == "stopped"


def test_a_supervisor_that_refuses_for_several_reasons_is_told_whole(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_status(run, status_of(run).changed(state="stopped"))
    for path in (run.plan_file, run.control / "1.json"):
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    monkeypatch.setattr(launch_module, "refuse_oddities", lambda _run: None)
    with pytest.raises(FtError) as refused:
        resume(run)
    assert [Path(problem.where).name for problem in refused.value.problems] == ["plan.json", "1.json"]
    assert shown_state(run) == "stopped"


def test_a_start_that_fails_with_several_lines_is_told_with_all_of_them(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\necho 'Traceback (most recent call last):' >&2\necho '  File \"x\", line 1' >&2\n"
        "echo 'OSError: first line' >&2\necho 'second line' >&2\necho 'third line' >&2\nexit 3\n"
    )
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(FtError) as failed:
        launch(run)
    assert failed.value.problems[0].why == "OSError: first line\nsecond line\nthird line"
    assert status_of(run).state == "failed"


def test_nobody_writes_the_end_of_a_run_that_another_one_works_on(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune_core.runs.lock import RunLock

    write_status(run, status_of(run).changed(state="stopped"))
    before = run.events_file.read_bytes()
    lock = RunLock(run, trainer=True)
    assert lock.acquire()
    monkeypatch.setattr(launch_module, "live", lambda _run: False)
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(FtError, match="could not be started"):
        resume(run)
    lock.release()
    assert run.events_file.read_bytes() == before


def test_a_disk_that_is_full_at_resume_is_told_and_changes_nothing(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from finetune_core.runs import status
    from finetune_core.runs.watch import supervise

    write_status(run, status_of(run).changed(state="stopped", step=3))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(status, "write_atomic", full)
        with pytest.raises(OSError, match="No space left"):
            supervise.run(run, resume=True, command=["true"])
    assert shown_state(run) == "stopped"
    assert not live(run)
