"""Over a real ssh to this machine: the connection is killed in the middle, the run goes on, a new one reattaches."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_core import demo
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.recipe.yaml_io import save
from finetune_core.runs.directory import find_run
from finetune_core.runs.status import live
from tests.e2e.conftest import FT_TUI
from tests.e2e.runs import LONGER, state, steps
from tests.e2e.ssh import INSTALLED, connect, server
from tests.e2e.terminals import wait_for, wait_until

pytestmark = pytest.mark.skipif(not INSTALLED, reason="openssh is not installed here")


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[list[str]]:
    """The ssh command to an sshd on loopback."""
    with server(tmp_path) as command:
        yield command


def test_a_run_survives_a_killed_connection_and_is_found_again(
    ssh: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    save(with_values(Recipe(), {**demo.recipe_values(), **LONGER}), recipe)
    first = connect(ssh, environment, FT_TUI, "train", str(recipe), cwd=tmp_path)
    wait_for(first, "training", seconds=90)
    run = find_run()
    wait_until(lambda: len(steps(run)) >= 3, seconds=60, what=lambda: state(run))
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert live(run)
    second = connect(ssh, environment, FT_TUI, "attach", cwd=tmp_path)
    wait_for(second, r"training|evaluating|done")
    wait_until(lambda: state(run) == "done", seconds=300, what=lambda: run.log_file.read_text()[-2000:])
    wait_for(second, "done")
    second.press("q")
    second.press("q")
    second.wait()
    assert steps(run) == list(range(1, len(steps(run)) + 1))
