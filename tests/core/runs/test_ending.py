from __future__ import annotations

import signal
from pathlib import Path

import pytest

from finetune_core.runs.watch.end_causes import OomWatch, explain

TRACEBACK = ["Traceback (most recent call last):", '  File "x.py", line 1, in <module>']


@pytest.mark.parametrize(
    ("error", "cause", "remedy"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.", "GPU ran out", "micro_batch"),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory.", "GPU ran out", "micro_batch"),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory", "machine's memory", "smaller"),
        ("MemoryError", "machine's memory", "smaller"),
        ("ModuleNotFoundError: No module named 'trl'", "not installed", "install"),
        ("OSError: [Errno 28] No space left on device", "disk is full", "free"),
        ("torch.AcceleratorError: CUDA error: device-side assert triggered", "GPU reported", "nvidia-smi"),
        ("ValueError: something else", "something else", "worker.log"),
    ],
)
def test_the_last_error_of_the_log_is_told_with_what_to_do(error: str, cause: str, remedy: str) -> None:
    ending = explain(1, [*TRACEBACK, error, "a warning after it"])
    assert ending.state == "failed"
    assert cause in (ending.cause or "")
    assert remedy in (ending.remedy or "")
    assert ending.last_lines == [*TRACEBACK, error, "a warning after it"]


def test_an_error_is_told_even_when_a_bare_module_is_missing_before_any_traceback() -> None:
    ending = explain(1, ["/usr/bin/python3: No module named finetune_core.worker.train"])
    assert "not installed" in (ending.cause or "")


@pytest.mark.parametrize(("code", "words"), [(0, "without saying why"), (7, "exit code 7")])
def test_an_end_without_an_error_is_told_by_its_code(code: int, words: str) -> None:
    assert words in (explain(code, ["just a line"]).cause or "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGTERM])
def test_a_signal_is_told_by_name_and_meaning(number: signal.Signals) -> None:
    cause = explain(-number, []).cause or ""
    assert number.name in cause
    assert len(cause) > len(f"killed with {number.name}: ")


def test_an_unknown_signal_is_told_by_number() -> None:
    assert "signal 99" in (explain(-99, []).cause or "")


def test_the_kernels_out_of_memory_killer_is_named() -> None:
    assert "killed by the kernel for memory" in (explain(-9, [], killed_for_memory=True).cause or "")


@pytest.mark.parametrize(
    ("group", "file", "text"),
    [
        ("0::/user.slice/x\n", "sys/fs/cgroup/user.slice/x/memory.events", "low 0\noom 1\noom_kill {}\n"),
        ("4:cpu,memory:/job\n", "sys/fs/cgroup/memory/job/memory.oom_control", "under_oom 0\noom_kill {}\n"),
        ("0::/../../x\n", "sys/fs/cgroup/memory.events", "oom_kill {}\n"),
        ("", "proc/vmstat", "nr_free 1\noom_kill {}\nother 2\n"),
    ],
)
def test_kills_for_memory_are_read_from_every_place_a_kernel_counts_them(
    tmp_path: Path, group: str, file: str, text: str
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(group)
    counter = tmp_path / file
    counter.parent.mkdir(parents=True, exist_ok=True)
    counter.write_text(text.format(3))
    watch = OomWatch(tmp_path)
    assert not watch.killed()
    counter.write_text(text.format(4))
    assert watch.killed()


def test_a_kernel_that_counts_nothing_blames_nobody(tmp_path: Path) -> None:
    assert not OomWatch(tmp_path).killed()
    assert not OomWatch().killed()
