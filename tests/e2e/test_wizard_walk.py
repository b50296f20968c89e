"""The wizard, walked by keys from its first screen to a launched run, in tmux and in a bare terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_core.data.files import open as data_files
from finetune_core.runs.directory import find_run, list_runs
from finetune_core.runs.status import live
from tests.e2e.conftest import FT_TUI
from tests.e2e.runs import state, steps
from tests.e2e.terminals import PtyTerminal, Terminal, TmuxTerminal, a_moment, has_tmux, wait_for, wait_until

STEPS = ("Hardware", "Model", "Data", "Hyperparameters", "Review")
TERMINALS = [
    pytest.param(PtyTerminal, id="pty"),
    pytest.param(
        TmuxTerminal, id="tmux", marks=pytest.mark.skipif(not has_tmux(), reason="tmux is not installed here")
    ),
]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Sixty of the demo's rows as a user's own file, at a path short enough to type."""
    lines = data_files.resolve_source("demo").read_text().splitlines(keepends=True)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(lines[:60]))
    return path


@pytest.mark.parametrize("open_terminal", TERMINALS)
def test_from_the_first_screen_to_a_launched_run_by_keys_alone(
    open_terminal: Callable[..., Terminal], rows: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    terminal = open_terminal([FT_TUI], size=(80, 24), env=environment, cwd=tmp_path)
    try:
        walk(terminal, rows)
    finally:
        terminal.close()


def walk(terminal: Terminal, rows: Path) -> None:
    wait_for(terminal, "n New")
    terminal.press("n")
    wait_for(terminal, r"▸ Hardware[\s\S]*(No GPU|driver)")
    page_to(terminal, "Model")
    wait_for(terminal, r"1\.87M")
    page_to(terminal, "Data")
    terminal.press("o")
    choose_file(terminal, rows)
    wait_for(terminal, r"60 rows[\s\S]*trained on", seconds=60)
    page_to(terminal, "Hyperparameters")
    wait_for(terminal, r"auto: 4.5e-4")
    page_to(terminal, "Review")
    wait_for(terminal, r"57 rows")
    terminal.press("l")
    wait_for(terminal, r"preparing|training|evaluating|done", seconds=60)
    wait_until(lambda: bool(list_runs()) and len(steps(find_run())) >= 1, seconds=90, what=terminal.text)
    terminal.press("q")
    wait_for(terminal, "n New")
    run = find_run()
    wait_until(lambda: state(run) == "done" and not live(run), seconds=90, what=terminal.text)
    wait_for(terminal, "done")


def page_to(terminal: Terminal, step: str) -> None:
    """Page on until this step is open and stays so; back, where a busy machine acted on a key late."""
    for _ in range(40):
        found = re.search(r"▸ (\w+)", terminal.text())
        shown = found[1] if found else STEPS[0]
        if shown == step:
            settle(terminal)
            if f"▸ {step}" in terminal.text():
                return
            continue
        terminal.press("pagedown" if STEPS.index(shown) < STEPS.index(step) else "pageup")
        settle(terminal)
    wait_for(terminal, f"▸ {step}", seconds=1)


def settle(terminal: Terminal) -> None:
    """Wait until the screen has stood still for a moment."""
    for _ in range(50):
        before = terminal.text()
        a_moment()
        a_moment()
        if terminal.text() == before:
            return


def choose_file(terminal: Terminal, path: Path) -> None:
    """Filter the browser, which opens where the program was started, down to the file, and take it."""
    wait_for(terminal, path.name)
    terminal.press("/")
    a_moment()
    terminal.type(path.stem)
    wait_for(terminal, rf"│ {path.stem} +│")
    terminal.press("enter")
