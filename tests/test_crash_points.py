"""Every call that changes a file while a run saves and reports, killed or failed in turn: nothing promised is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults import cycle
from tests.faults.points import FAULTS
from tests.faults.run_points import results

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="the failing calls are compiled with gcc")


@needs_gcc
def test_no_point_of_a_cycle_loses_an_event_or_a_checkpoint(tmp_path: Path) -> None:
    found = list(results(tmp_path))
    assert [result["fault"] for result in found] == list(FAULTS)
    assert all(result["points"] > 100 for result in found)
    assert [words for result in found for words in result["broken"]] == []


def test_a_lost_event_a_lost_checkpoint_and_a_torn_one_are_noticed(tmp_path: Path) -> None:
    """The judge itself: without faults nothing is broken, with a loss of each kind it is."""
    run, safe = cycle.prepare(tmp_path / "run"), cycle.Acknowledged()
    cycle.work(run, safe)
    assert safe.step == cycle.STEPS
    assert cycle.broken_promises(run, safe) == []
    lines = run.events_file.read_bytes().splitlines(keepends=True)
    run.events_file.write_bytes(b"".join(lines[:2] + lines[3:]))
    shutil.rmtree(run.checkpoints)
    run.checkpoints.mkdir()
    (run.checkpoints / "step-000002").mkdir()
    run.status_file.write_text("{")
    words = " ".join(cycle.broken_promises(run, safe))
    assert "events lost: [3]" in words
    assert "visible and not whole" in words
    assert "step 4 is lost" in words
    assert "status cannot be read" in words
