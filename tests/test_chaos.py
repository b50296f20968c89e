"""Signals at random and at chosen moments of the real worker: resumed, it ends as if nobody had touched it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Journal
from tests.faults import chaos
from tests.faults.chaos import fingerprint

ROOT = Path(__file__).parents[1]


def test_a_worker_broken_25_times_loses_nothing_and_ends_like_the_unbroken_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults.chaos", str(tmp_path), "--kills", "25", "--seed", "7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.stdout.strip(), done.stderr[-4000:]
    outcome = json.loads(done.stdout)
    assert outcome["lost"] == []
    assert outcome["kills"] == 25
    assert len(outcome["moments"]) > 4


def test_a_step_that_differs_in_its_last_digit_is_noticed(tmp_path: Path) -> None:
    """The judge itself."""
    found = []
    for name, loss in (("a", 0.5), ("b", 0.5 + 2**-53), ("c", 0.5)):
        run = RunDir(tmp_path / name)
        run.result.mkdir(parents=True)
        (run.result / "adapter_model.safetensors").write_bytes(b"weights" if name != "c" else b"others")
        with Journal(run.events_file) as journal:
            journal.write("step", step=1, loss=loss, learning_rate=1e-3, grad_norm=1.0, tokens=10)
        found.append(fingerprint(run))
    assert found[0] != found[1]
    assert found[0]["steps"] == found[2]["steps"]
    assert found[0] != found[2]


def test_no_trainer_is_forked_from_a_process_with_a_thread_of_its_own(tmp_path: Path) -> None:
    done = threading.Event()
    other = threading.Thread(target=done.wait, name="a monitor")
    other.start()
    try:
        with pytest.raises(RuntimeError, match="a monitor"):
            chaos.Trainer(RunDir(tmp_path), resume=False)
    finally:
        done.set()
        other.join()
