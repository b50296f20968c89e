from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from finetune_core.runs.directory import RunDir, list_runs
from finetune_core.runs.status import live

FT_TUI = str(Path(sys.executable).with_name("ft-tui"))


@pytest.fixture
def environment(home: Path, tmp_path: Path) -> dict[str, str]:
    """The variables a program started by a test gets, on top of the test's own."""
    return {"FT_TUI_HOME": str(home), "HF_HOME": str(tmp_path / "hf"), "LANG": "C.UTF-8", "COLORTERM": ""}


@pytest.fixture(autouse=True)
def no_run_outlives_its_test(home: Path) -> Iterator[None]:
    """Detached runs go on by design: end those that a failed test left behind."""
    yield
    for run in list_runs():
        end_by_force(run)


def end_by_force(run: RunDir) -> None:
    """Kill what is left of a run's processes, found by its directory in their arguments."""
    deadline = time.monotonic() + 5
    while live(run) and time.monotonic() < deadline:
        for process in psutil.process_iter(["pid", "cmdline"]):
            if str(run.path) in (process.info["cmdline"] or []):
                os.kill(process.info["pid"], signal.SIGKILL)
        time.sleep(0.05)
