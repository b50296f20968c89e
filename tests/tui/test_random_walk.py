"""A bounded part of `tests/bench/random_walk.py`, and that it finds what it looks for."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from finetune_tui.app import FtApp
from tests.tui import walking
from tests.tui.walking import walk

SECONDS = 20.0


def test_nothing_that_is_typed_pasted_clicked_or_resized_crashes_the_app(tmp_path: Path) -> None:
    seed = 0 if os.environ.get("CI") else int(time.time())
    found = walk(seed, 5_000, tmp_path, each=150, until=time.monotonic() + SECONDS)
    assert found.events > 20
    assert not found.crashes, found.crashes[0]


def first_crash(folder: Path) -> str:
    """What the first crash says, of walks that go other ways: how far one gets hangs on how busy the machine is."""
    for seed in range(1, 9):
        (folder / str(seed)).mkdir()
        found = walk(seed, 3_000, folder / str(seed), crashes=1)
        if found.crashes:
            return found.crashes[0]
    raise AssertionError("no walk came upon the fault")


def test_a_fault_is_found_with_the_events_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(_app: FtApp) -> None:
        raise ValueError("planted")

    monkeypatch.setattr(FtApp, "action_focus_next", planted)
    said = first_crash(tmp_path)
    assert "ValueError: planted" in said
    assert "\npress " in said


def test_an_app_that_hangs_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "STUCK_SECONDS", 5)
    monkeypatch.setattr(FtApp, "action_focus_next", lambda _app: time.sleep(60))
    assert "StuckError" in first_crash(tmp_path)
