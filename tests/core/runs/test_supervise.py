from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from finetune_core.errors import FtError
from finetune_core.runs.control import ask, pending
from finetune_core.runs.directory import RunDir
from finetune_core.runs.identity import Identity
from finetune_core.runs.journal import Event, Journal, Tail
from finetune_core.runs.status import Status, live, read_status, shown_state, write_status
from finetune_core.runs.view.run_view import RunView
from finetune_core.runs.watch import supervise, supervisor
from finetune_core.runs.watch.end_causes import OomWatch
from finetune_core.runs.watch.supervisor import Ways
from tests.core.runs.trainers import STEPPING, STUBBORN, program

Wait = Callable[..., None]


def events(run: RunDir, kind: str) -> list[Event]:
    return [event for event in Tail(run.events_file).read() if event["kind"] == kind]


def status_of(run: RunDir) -> Status:
    return read_status(run) or Status()


def supervised(run: RunDir, code: str, **options: object) -> Status:
    """The status after a trainer with this code has ended."""
    supervise.run(run, command=program(run.path, code), **options)  # type: ignore[arg-type]
    status = status_of(run)
    assert status.trainer is None or not status.trainer.alive()
    return status


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Work in another thread, waited for at the end; what it raises is raised."""
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        yield
        working.result(30)


def test_a_trainer_that_tells_its_end_is_believed(run: RunDir) -> None:
    code = """
    status = StatusWriter(run)
    status.update(state="training", step=3, total=3, loss=0.5)
    with Journal(run.events_file) as journal:
        journal.write("end", state="done", cause=None, remedy=None, last_lines=None)
    status.close()
    """
    status = supervised(run, code)
    assert (status.state, status.step, status.loss, status.cause) == ("done", 3, 0.5, None)
    assert status.started is not None
    assert status.ended is not None
    assert status.started <= status.ended
    assert [event["state"] for event in events(run, "end")] == ["done"]


def test_the_journal_has_one_sequence_over_all_its_writers(run: RunDir) -> None:
    supervised(run, 'journal = Journal(run.events_file); journal.write("step", step=1); sys.exit(1)')
    # It is started once more.
    found = Tail(run.events_file).read()
    assert [event["seq"] for event in found] == list(range(1, len(found) + 1))
    assert [event["kind"] for event in found] == ["state", "state", "step", "alarm", "state", "step", "end"]


def test_an_error_in_the_trainer_is_told_with_the_last_lines(run: RunDir) -> None:
    status = supervised(run, 'print("step 7"); raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")')
    assert status.state == "failed"
    assert "the GPU ran out of memory" in (status.cause or "")
    assert "micro_batch" in (status.remedy or "")
    (end,) = events(run, "end")
    assert "step 7" in end["last_lines"]
    assert any("Traceback" in line for line in end["last_lines"])


def test_only_the_log_of_this_attempt_is_looked_at(run: RunDir) -> None:
    run.log_file.write_text("ValueError: of yesterday\n")
    assert "exit code 4" in (supervised(run, "sys.exit(4)").cause or "")


def test_a_missing_module_is_a_failed_run_with_a_remedy(run: RunDir) -> None:
    status = supervised(run, "import no_such_module_of_anyone")
    assert status.state == "failed"
    assert "not installed" in (status.cause or "")


def test_a_trainer_that_cannot_be_started_is_a_failed_run(run: RunDir) -> None:
    supervise.run(run, command=["/no/such/python"])
    assert status_of(run).state == "failed"
    assert "could not be started" in (status_of(run).cause or "")
    assert RunView(run).poll()


def test_a_crash_of_native_code_is_told_by_its_signal(run: RunDir) -> None:
    assert "SIGSEGV" in (supervised(run, "os.kill(os.getpid(), signal.SIGSEGV)").cause or "")


def test_a_kill_is_told_as_such(run: RunDir) -> None:
    cause = supervised(run, "os.kill(os.getpid(), signal.SIGKILL)").cause or ""
    assert "SIGKILL" in cause
    assert "for memory" not in cause


def test_a_kill_by_the_kernel_for_memory_is_told_as_such(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OomWatch, "killed", lambda _: True)
    assert "for memory" in (supervised(run, "os.kill(os.getpid(), signal.SIGKILL)").cause or "")


def test_a_silent_end_is_a_failure(run: RunDir) -> None:
    status = supervised(run, "pass")
    assert (status.state, status.cause) == ("failed", "the trainer ended without saying why")


def test_an_end_of_an_earlier_attempt_is_not_taken_for_this_ones(run: RunDir) -> None:
    with Journal(run.events_file) as journal:
        journal.write("end", state="stopped", cause="yesterday")
    assert supervised(run, "sys.exit(3)", resume=True).state == "failed"


def test_a_torn_last_event_of_a_killed_trainer_costs_only_itself(run: RunDir) -> None:
    code = """
    journal = Journal(run.events_file)
    journal.write("step", step=1)
    os.write(os.open(run.events_file, os.O_WRONLY | os.O_APPEND), b'{"v":1,"seq":4,"t":1')
    os.kill(os.getpid(), signal.SIGKILL)
    """
    supervised(run, code)
    assert [event["step"] for event in events(run, "step")] == [1, 1]
    assert len(events(run, "end")) == 1


def test_while_the_trainer_lives_the_run_is_live_and_preparing_until_it_says_otherwise(
    run: RunDir, wait_until: Wait
) -> None:
    def look() -> None:
        wait_until(lambda: status_of(run).step > 2)
        status = status_of(run)
        assert status.supervisor == Identity.current()
        assert status.trainer is not None
        assert status.trainer.pid != os.getpid()
        assert shown_state(run) == "training"
        ask(run, "stop")

    with meanwhile(look):
        assert supervised(run, STEPPING).cause == "asked to"


def test_stopping_at_once_ends_a_trainer_that_listens(run: RunDir, wait_until: Wait) -> None:
    def stop() -> None:
        wait_until(lambda: status_of(run).step > 2)
        ask(run, "stop_now")

    with meanwhile(stop):
        status = supervised(run, STEPPING)
    assert (status.state, status.cause) == ("stopped", "stopped at once on request")
    (answer,) = events(run, "control")
    assert (answer["request"], answer["ok"]) == ("stop_now", True)
    assert pending(run) == []


def test_stopping_at_once_is_told_once_and_only_when_the_trainer_is_gone(run: RunDir, wait_until: Wait) -> None:
    code = """
    def end(*_):
        (run.path / "heeded").write_text("")
        while not (run.path / "go").exists():
            time.sleep(0.02)
        os._exit(143)
    signal.signal(signal.SIGTERM, end)
    StatusWriter(run).update(state="training")
    time.sleep(60)
    """

    def stop() -> None:
        wait_until(lambda: status_of(run).state == "training")
        ask(run, "stop_now")
        wait_until((run.path / "heeded").exists)
        assert shown_state(run) == "training"
        assert events(run, "end") == []
        (run.path / "go").write_text("")

    with meanwhile(stop):
        assert supervised(run, code).cause == "stopped at once on request"
    (end,) = events(run, "end")
    assert (end["state"], end["cause"]) == ("stopped", "stopped at once on request")


def test_a_trainer_ended_by_a_signal_from_elsewhere_is_stopped_and_not_failed(run: RunDir) -> None:
    status = supervised(run, "sys.exit(143)")
    assert status.state == "preempted"
    assert "SIGTERM" in (status.cause or "")
    assert "resume" in (status.remedy or "")


def test_a_trainer_that_told_its_end_before_it_was_ended_at_once_is_believed(run: RunDir, wait_until: Wait) -> None:
    code = """
    StatusWriter(run).update(state="training")
    with Journal(run.events_file) as journal:
        journal.write("end", state="stopped", cause="asked to")
    time.sleep(60)
    """

    def stop() -> None:
        wait_until(lambda: status_of(run).state == "training")
        wait_until(lambda: events(run, "end"))
        ask(run, "stop_now")

    with meanwhile(stop):
        assert supervised(run, code).cause == "asked to"
    assert len(events(run, "end")) == 1


def test_stopping_at_once_kills_a_trainer_that_does_not_listen(run: RunDir, wait_until: Wait) -> None:
    def stop() -> None:
        wait_until(lambda: status_of(run).state == "training")
        ask(run, "stop_now")
        ask(run, "stop_now")

    with meanwhile(stop):
        status = supervised(run, STUBBORN, ways=Ways(grace=0.5))
    assert (status.state, status.cause) == ("stopped", "stopped at once on request")
    assert len(events(run, "control")) == 2


def test_requests_nobody_answered_are_answered_at_the_end(run: RunDir, wait_until: Wait) -> None:
    def leave() -> None:
        wait_until(lambda: status_of(run).state == "training")
        ask(run, "evaluate")
        ask(run, "stop")
        (run.path / "go").write_text("")

    code = """
    StatusWriter(run).update(state="training")
    while not (run.path / "go").exists():
        time.sleep(0.02)
    """
    with meanwhile(leave):
        supervised(run, code)
    assert {event["request"]: event["ok"] for event in events(run, "control")} == {"evaluate": False, "stop": True}
    assert pending(run) == []


def test_requests_left_from_an_earlier_attempt_do_not_act_on_a_resumed_run(run: RunDir) -> None:
    ask(run, "stop")
    supervised(run, "sys.exit(3 if take(run) else 4)", resume=True)
    assert "exit code 4" in (status_of(run).cause or "")
    (answer,) = events(run, "control")
    assert not answer["ok"]


def test_a_second_supervisor_is_refused(run: RunDir, wait_until: Wait) -> None:
    command = [sys.executable, "-P", "-m", "finetune_core.runs.watch.supervise", "--foreground", str(run.path)]

    def second() -> None:
        wait_until(lambda: status_of(run).step > 2)
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
        assert tried.returncode == 1
        assert "already at work" in tried.stderr
        ask(run, "stop")

    with meanwhile(second):
        assert supervised(run, STEPPING).cause == "asked to"
    assert len(events(run, "end")) == 1


def test_a_trainer_that_outlived_its_supervisor_is_not_doubled(run: RunDir) -> None:
    write_status(run, Status(state="training", trainer=Identity.current()))
    with pytest.raises(FtError, match=f"pid {os.getpid()}"):
        supervise.run(run, command=["/bin/true"])
    assert events(run, "end") == []


def test_what_the_trainer_writes_lands_in_the_log_and_its_files_are_private(run: RunDir) -> None:
    supervised(run, 'print("to stdout"); print("to stderr", file=sys.stderr)')
    assert set(run.log_file.read_text().split("\n")) >= {"to stdout", "to stderr"}
    assert run.log_file.stat().st_mode & 0o777 == 0o600


SUPERVISOR = """
import sys
from pathlib import Path
from finetune_core.runs.watch import supervise, supervisor
from finetune_core.runs.directory import RunDir
supervise.run(RunDir(Path(sys.argv[1])), command=sys.argv[2:])
"""


@contextmanager
def supervisor_process(run: RunDir, code: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", SUPERVISOR, str(run.path), *program(run.path, code)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_hang_up_does_not_end_supervisor_or_trainer(run: RunDir, wait_until: Wait) -> None:
    with supervisor_process(run, STEPPING) as process:
        wait_until(lambda: status_of(run).step > 2)
        trainer = status_of(run).trainer
        assert trainer is not None
        os.kill(process.pid, signal.SIGHUP)
        os.kill(trainer.pid, signal.SIGHUP)
        before = status_of(run).step
        wait_until(lambda: status_of(run).step > before + 5)
        ask(run, "stop")
        process.wait(20)
    assert status_of(run).cause == "asked to"


def test_sigterm_is_handed_on_to_the_trainer_and_told(run: RunDir, wait_until: Wait) -> None:
    with supervisor_process(run, STEPPING) as process:
        wait_until(lambda: status_of(run).step > 2)
        process.terminate()
        process.wait(20)
    status = status_of(run)
    assert status.state == "preempted"
    assert "SIGTERM" in (status.cause or "")
    assert not live(run)


def test_a_trainer_finishes_its_run_when_its_supervisor_is_killed(run: RunDir, wait_until: Wait) -> None:
    with supervisor_process(run, STEPPING) as process:
        wait_until(lambda: status_of(run).step > 2)
        process.kill()
        process.wait(20)
        trainer = status_of(run).trainer
        assert trainer is not None
        before = status_of(run).step
        wait_until(lambda: status_of(run).step > before + 5)
        assert live(run)
        ask(run, "stop")
        wait_until(lambda: not trainer.alive())
    view = RunView(run)
    view.poll()
    assert view.state == "stopped"


@contextmanager
def orphan(run: RunDir, code: str, wait_until: Wait) -> Iterator[Identity]:
    """A trainer at work whose supervisor was killed."""
    with supervisor_process(run, code) as process:
        wait_until(lambda: status_of(run).state == "training")
        process.kill()
        process.wait(20)
        trainer = status_of(run).trainer
        assert trainer is not None
        try:
            yield trainer
        finally:
            if trainer.alive():
                os.kill(trainer.pid, signal.SIGKILL)


@pytest.mark.parametrize("code", [STEPPING, STUBBORN])
def test_a_trainer_without_supervisor_is_ended_and_its_end_is_told(run: RunDir, code: str, wait_until: Wait) -> None:
    with orphan(run, code, wait_until) as trainer:
        asked = ask(run, "stop_now")
        assert supervise.end_orphan(run, grace=0.3)
        assert not trainer.alive()
    assert (status_of(run).state, status_of(run).cause) == ("stopped", "stopped at once on request")
    (answer,) = events(run, "control")
    assert (answer["id"], answer["ok"]) == (asked, True)
    assert [event["cause"] for event in events(run, "end")] == ["stopped at once on request"]


def test_a_trainer_with_a_supervisor_is_left_to_it(run: RunDir, wait_until: Wait) -> None:
    with supervisor_process(run, STEPPING) as process:
        wait_until(lambda: status_of(run).step > 2)
        assert not supervise.end_orphan(run)
        ask(run, "stop")
        process.wait(20)
    assert status_of(run).cause == "asked to"
    assert not supervise.end_orphan(run)


def test_another_process_with_the_pid_of_a_dead_trainer_is_left_alone(run: RunDir) -> None:
    mine = Identity.current()
    write_status(run, Status(state="training", trainer=mine.model_copy(update={"start_time": mine.start_time - 1})))
    assert not supervise.end_orphan(run)


def test_an_odd_request_left_at_the_end_is_answered_with_what_is_wrong(run: RunDir) -> None:
    (run.control / "odd.json").write_text('{"request":"explode","args":{}}')
    supervised(run, "pass")
    (answer,) = events(run, "control")
    assert (answer["id"], answer["ok"]) == ("odd", False)
    assert "unknown request" in answer["text"]


def test_a_full_disk_at_the_end_is_waited_for(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = iter([True, False])
    real = write_status

    def refuse_once(*args: object, **options: object) -> None:
        if status_of(run).state == "training" and next(refusals):
            raise OSError(28, "No space left on device")
        real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(supervisor, "write_status", refuse_once)
    monkeypatch.setattr(supervisor.time, "sleep", lambda _: None)
    status = supervised(run, 'StatusWriter(run).update(state="training"); sys.exit(5)')
    assert status.state == "failed"


def test_the_real_trainer_is_started_isolated_from_the_users_folder(run: RunDir) -> None:
    command = supervise.trainer_command(run, resume=True)
    assert command == [sys.executable, "-P", "-m", "finetune_core.worker.train", str(run.path), "--resume"]
    assert Path(command[0]).is_absolute()
