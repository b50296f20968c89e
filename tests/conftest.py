"""What every test stands on: a home of its own, a quiet environment, no network."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests.forked_helpers import USERS, ForkedHelper
from tests.forked_helpers import start as start_forking

_CLEARED = (
    "FT_TUI_HOME",
    "NO_COLOR",
    "COLORTERM",
    "HF_TOKEN",
    "HF_HOME",
    "HF_HUB_CACHE",
    "CUDA_VISIBLE_DEVICES",
    "TMUX",
)


# Files and folders, below tests/, whose tests start processes, train or walk through the app; single tests carry the
# mark themselves.
_SLOW = (
    "e2e",
    "fuzz",
    "core/worker",
    "core/data/test_tokens.py",
    "core/demo/test_demo_model.py",
    "core/plan/test_described.py",
    "core/recipe/test_hostile_strings.py",
    "core/runs/test_restart.py",
    "core/runs/test_supervise.py",
    "core/test_run_directory_machine.py",
    "test_chaos.py",
    "test_crash_points.py",
    "tui/test_app.py",
    "tui/test_bursts.py",
    "tui/test_dashboard",
    "tui/test_data_generate.py",
    "tui/test_drawing.py",
    "tui/test_home.py",
    "tui/test_hostile_strings.py",
    "tui/test_random_walk.py",
    "tui/test_review_rows.py",
    "tui/test_steady.py",
    "tui/test_styling.py",
    "tui/test_trust_code.py",
    "tui/test_typeahead.py",
    "tui/test_wizard",
    "tui/wizard/",
)

# Machines are shared: a slow example is no fault. In CI the examples are the same each time; elsewhere they vary.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# A suite that was started in the background inherits a Ctrl+C that nothing hears, and so would all it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Trainings that prove a result, and runs broken many times: minutes each, after the suite.
_PROOF = (
    *("core/worker/test_demo_run.py", "e2e/test_demo_command.py", "test_chaos.py", "test_crash_points.py"),
    *("core/worker/test_levers.py", "core/worker/test_out_of_memory.py", "core/worker/test_other_methods.py"),
    "e2e/test_warm.py",
)


# Files that take a minute or more each.
_LONGEST = ("e2e", "core/test_limits.py", "core/worker/test_own_code_hub.py", "core/worker/test_download.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests and the proofs, before any are chosen by their marks, and begin with the longest."""
    for mark, names in ((pytest.mark.slow, _SLOW), (pytest.mark.proof, _PROOF)):
        places = tuple(str(Path(__file__).parent / name) for name in names)
        for item in items:
            if str(item.path).startswith(places):
                item.add_marker(mark)
    # What takes longest begins first, so that no worker is left with it at the end.
    longest = tuple(str(Path(__file__).parent / name) for name in _LONGEST)
    items.sort(key=lambda item: not str(item.path).startswith(longest))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to import the stack where many tests are going to fork from it, so that none has to wait for it."""
    if "PYTEST_XDIST_WORKER" in os.environ and any(item.get_closest_marker("slow") for item in session.items):
        start_forking()


# Below tests/: where helpers are started as users start them.
_FRESH_HELPERS = ("e2e", "faults", "fuzz", "core/test_child_process.py", "test_chaos.py", "test_crash_points.py")


@pytest.fixture(autouse=True)
def forked_helpers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Helpers that need the training stack are forked from a process that has it."""
    places = tuple(str(Path(__file__).parent / name) for name in _FRESH_HELPERS)
    if not str(request.path).startswith(places) and not request.node.get_closest_marker("fresh_helpers"):
        for name in USERS:
            monkeypatch.setattr(name, ForkedHelper)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh FT_TUI_HOME, an empty hub cache, offline."""
    for name in _CLEARED:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    monkeypatch.setenv("FT_TUI_HOME", str(folder))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # A worker that waits for a launch takes seconds to import; the tests of it let it.
    monkeypatch.setenv("FT_TUI_WARM", "0")
    # Locks that every user of the machine sees would be seen by other tests.
    monkeypatch.setenv("FT_TUI_SHARED_LOCKS", str(tmp_path_factory.mktemp("locks")))
    # Whatever other cards a developer's machine has.
    monkeypatch.setattr("finetune_core.hardware.look.other_card", lambda _build: None)
    return folder
