"""A disk that is full to the last byte: the log may be lost, the run is not, and its result waits for room."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetune_core.runs import control
from finetune_core.runs.directory import RunDir
from finetune_core.runs.events import StepEvent
from finetune_core.worker.controls import Controls, Signals, Stopped
from finetune_core.worker.disk_space import when_there_is_room
from finetune_core.worker.report import Reporter
from tests.core.worker import tiny


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_log_that_takes_nothing_ends_neither_trainer_nor_supervisor(model: Path, data: Path, tmp_path: Path) -> None:
    run = tiny.make_run(tmp_path, tiny.make_recipe(model, data, samples__count=0, evaluation__questions=0))
    code = (
        "import sys; from pathlib import Path; from finetune_core.runs.watch import supervisor, supervise;"
        "from finetune_core.runs.directory import RunDir;"
        "supervisor.open_log = lambda _: __import__('os').open('/dev/full', 1);"
        "supervise.run(RunDir(Path(sys.argv[1])))"
    )
    with Path("/dev/full").open("w") as full:
        subprocess.run(
            [sys.executable, "-c", code, str(run.path)],
            stdout=full,
            stderr=full,
            env={**os.environ, "FT_TUI_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
            check=False,
            timeout=120,
        )
    assert tiny.ended(run)["state"] == "done"
    assert (run.result / "adapter_model.safetensors").is_file()


@pytest.fixture
def reporter(model: Path, data: Path, tmp_path: Path) -> Reporter:
    return Reporter(tiny.make_run(tmp_path, tiny.make_recipe(model, data)))


class Disk:
    """A disk that takes nothing until it was asked so many times."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    def write(self) -> str:
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return "written"


def waiting(reporter: Reporter, disk: Disk, patience: float = 60) -> str:
    return when_there_is_room(disk.write, reporter, Controls(reporter, Signals()), lambda _: None, patience)


def test_the_result_waits_for_room_and_says_so_once(reporter: Reporter) -> None:
    assert waiting(reporter, Disk(3)) == "written"
    (alarm,) = tiny.events(reporter.run, "alarm")
    assert "free some space" in alarm["text"]
    assert tiny.events(reporter.run, "state")[-1]["phase"] == "waiting for room on the disk"
    reporter.close()


def test_it_does_not_wait_for_ever_and_not_for_anything_else(reporter: Reporter) -> None:
    with pytest.raises(OSError, match="No space left"):
        waiting(reporter, Disk(99), patience=20)

    def other() -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with pytest.raises(PermissionError):
        when_there_is_room(other, reporter, Controls(reporter, Signals()), pytest.fail)
    reporter.close()


def test_a_stop_ends_the_waiting(reporter: Reporter) -> None:
    run: RunDir = reporter.run
    control.ask(run, "stop")
    with pytest.raises(Stopped):
        waiting(reporter, Disk(99))
    reporter.close()


def test_events_that_wait_for_room_are_waited_for_at_the_end(
    reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune_core.runs import journal
    from finetune_core.worker import report

    real, refusals = journal._write_whole, iter([True] * 4)

    def refuse(handle: int, data: bytes) -> None:
        if next(refusals, False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle, data)

    monkeypatch.setattr(journal, "_write_whole", refuse)
    monkeypatch.setattr(report.time, "sleep", lambda _: None)
    reporter.event(StepEvent(step=1, epoch=None, metrics={}, tokens=0, seconds=0.1, memory={}, gpus=[]))
    reporter.close()
    assert [event["step"] for event in tiny.events(reporter.run, "step")] == [1]
