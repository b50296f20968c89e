from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from finetune_core.hardware.look import look
from tests.fakes import GIB, FakeGpu, FakeNvml


def test_a_machine_without_a_driver_has_no_gpus_and_says_why() -> None:
    seen = look(FakeNvml(broken="No driver here. Install it."))
    assert seen.gpus == ()
    assert seen.problem == "No driver here. Install it."
    assert (seen.driver, seen.cuda) == (None, None)


def test_the_real_library_never_raises() -> None:
    seen = look()
    assert seen.gpus or seen.problem


def test_gpus_are_seen_with_memory_driver_and_number_format() -> None:
    seen = look(FakeNvml(FakeGpu(), FakeGpu(1, "Tesla T4", 15 * GIB, 14 * GIB, (7, 5))))
    assert (seen.driver, seen.cuda, seen.problem) == ("570.86.15", "12.8", None)
    first, second = seen.gpus
    assert (first.memory_total, first.memory_used, first.memory_free) == (80 * GIB, GIB, 79 * GIB)
    assert (first.bf16, second.bf16) == (True, False)
    assert (first.power_watts, first.power_limit_watts) == (96.5, 700.0)


def test_the_library_is_closed_after_a_look() -> None:
    nvml = FakeNvml(FakeGpu())
    look(nvml)
    assert nvml.opened == 0


def test_a_driver_without_gpus_is_a_problem_in_words() -> None:
    assert "sees no GPU" in (look(FakeNvml()).problem or "")


def test_a_gpu_that_shares_the_hosts_memory_counts_it_as_its_own() -> None:
    seen = look(FakeNvml(FakeGpu(memory_total=None, memory_free=None)))
    assert seen.gpus[0].memory_total == seen.host.memory_total
    assert 0 <= seen.gpus[0].memory_used <= seen.host.memory_total


def test_hostile_names_cannot_reach_the_terminal() -> None:
    seen = look(FakeNvml(FakeGpu(name="evil\x1b[2J")))
    assert "\x1b" not in seen.gpus[0].name


@pytest.fixture
def job() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()", "some-argument"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.communicate()


def test_who_uses_a_gpu_is_told_by_user_and_command(job: subprocess.Popen[bytes]) -> None:
    seen = look(FakeNvml(FakeGpu(processes=((job.pid, 5 * GIB),))))
    (process,) = seen.gpus[0].processes
    assert process.user == psutil.Process(os.getpid()).username()
    assert process.name is not None
    assert process.name.startswith("python")
    assert process.memory_bytes == 5 * GIB


def test_a_process_of_another_container_is_a_pid_alone() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    seen = look(FakeNvml(FakeGpu(processes=((gone.pid, None),))))
    (process,) = seen.gpus[0].processes
    assert (process.pid, process.user, process.name) == (gone.pid, None, None)


@pytest.mark.parametrize(
    ("setting", "shown"),
    [("1", [1]), ("1,0", [1, 0]), ("GPU-00000001", [1]), ("0,7,1", [0]), ("", []), ("-1", [])],
)
def test_gpus_that_cuda_may_not_see_are_not_listed(
    monkeypatch: pytest.MonkeyPatch, setting: str, shown: list[int]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
    seen = look(FakeNvml(FakeGpu(0), FakeGpu(1)))
    assert [gpu.index for gpu in seen.gpus] == shown
    assert ("CUDA_VISIBLE_DEVICES" in (seen.problem or "")) == (not shown)


def test_the_disk_is_that_of_the_runs(home: Path) -> None:
    host = look(FakeNvml(broken="none")).host
    assert host.disk_path == home / "runs"
    assert 0 < host.disk_free <= host.disk_total
    assert 0 < host.memory_available <= host.memory_total
    assert 1 <= host.cores <= (os.cpu_count() or 1)
    assert host.cpu


def test_a_home_that_cannot_be_made_still_shows_its_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FT_TUI_HOME", str(tmp_path / "file" / "below"))
    assert look(FakeNvml(broken="none")).host.disk_total > 0
