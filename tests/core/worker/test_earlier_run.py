"""A run that an earlier version wrote is listed, shown and gone on with, wherever its packages were called otherwise.

`tests/core/runs/earlier` is a run of the demo, stopped after step 6 of 24, as version 0.1 wrote it when its packages
still had other names and it was installed elsewhere.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from finetune_core.runs.directory import RunDir, list_runs
from finetune_core.runs.view.run_view import RunView
from finetune_core.runs.view.summary import summarise
from tests.core.worker import tiny

EARLIER = Path(__file__).parents[1] / "runs" / "earlier"
NAME = "20261201-072649-demo"


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.setenv("FT_TUI_HOME", str(tmp_path))
    run = RunDir(tmp_path / "runs" / NAME)
    shutil.copytree(EARLIER, run.path)
    # As the umask of a run leaves them; a checkout has its own.
    for path in (run.path.parent, run.path, *run.path.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return run


def test_an_earlier_run_is_listed_with_its_state_and_figures(earlier: RunDir) -> None:
    assert [run.name for run in list_runs()] == [NAME]
    summary = summarise(earlier)
    assert (summary.state, summary.step, summary.total) == ("stopped", 6, 24)
    assert summary.damage == ()


def test_an_earlier_run_is_shown_with_its_curve_and_checkpoints(earlier: RunDir) -> None:
    view = RunView(earlier)
    view.poll()
    assert (view.state, view.step, view.total) == ("stopped", 6, 24)
    assert [event["step"] for event in view.checkpoints] == [4, 6]
    assert {event["step"] for event in view.samples} == {0, 3, 6}


def test_an_earlier_run_goes_on_from_its_checkpoint_to_its_verdict(earlier: RunDir) -> None:
    before = tiny.losses(earlier)
    assert tiny.train(earlier, resume=True) == 0, tiny.ended(earlier)
    after = tiny.losses(earlier)
    assert sorted(after) == list(range(1, 25))
    assert {step: after[step] for step in before} == before
    assert after[24] < before[6]
    assert tiny.ended(earlier)["state"] == "done"
    assert json.loads((earlier.path / "status.json").read_text())["step"] == 24
