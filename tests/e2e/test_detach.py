"""A run outlives whatever looks at it: the app, its terminal, the connection."""

from __future__ import annotations

import os
import signal
import subprocess
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
from tests.e2e.terminals import PtyTerminal, wait_for, wait_until


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The demo, long enough to be looked at while it trains, short enough to be waited for."""
    path = tmp_path / "recipe.yaml"
    save(with_values(Recipe(), {**demo.recipe_values(), **LONGER}), path)
    return path


def test_a_run_goes_on_when_the_app_is_killed_and_its_terminal_closed_and_is_attached_to_again(
    recipe: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    terminal = PtyTerminal([FT_TUI, "train", str(recipe)], size=(100, 30), env=environment, cwd=tmp_path)
    wait_for(terminal, r"training", seconds=90)
    run = find_run()
    wait_until(lambda: len(steps(run)) >= 3, seconds=60, what=lambda: state(run))
    terminal.kill()
    terminal.close()
    at_the_kill = len(steps(run))
    assert live(run)
    wait_until(
        lambda: state(run) == "done" and not live(run), seconds=300, what=lambda: run.log_file.read_text()[-2000:]
    )
    done = steps(run)
    assert len(done) > at_the_kill
    assert done == list(range(1, len(done) + 1))

    again = PtyTerminal([FT_TUI, "attach"], size=(100, 30), env=environment, cwd=tmp_path)
    screen = wait_for(again, r"done")
    assert f"{done[-1]}/{done[-1]}" in screen.replace(" ", "")
    again.press("q")
    again.press("q")
    again.wait()


def test_interrupting_the_plain_command_leaves_the_run_alive_and_says_how_to_come_back(
    recipe: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    command = [FT_TUI, "train", str(recipe), "--plain"]
    with subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("step "))
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    run = find_run()
    assert process.returncode == 130
    assert "ft-tui attach" in rest
    assert live(run)
    stopped = subprocess.run(
        [FT_TUI, "stop", run.name], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert stopped.returncode == 0, stopped.stderr
    wait_until(lambda: not live(run), seconds=60, what=lambda: run.log_file.read_text()[-2000:])
    assert state(run) == "stopped"
    assert list(run.result.glob("*.safetensors"))


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_schedulers_notice_to_the_command_seals_a_checkpoint_and_asks_to_be_queued_again(
    number: signal.Signals, recipe: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    words = {"env": {**os.environ, **environment}, "cwd": tmp_path, "text": True, "stderr": subprocess.STDOUT}
    command = [FT_TUI, "train", str(recipe), "--plain"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, **words) as process:  # type: ignore[call-overload]
        next(line for line in process.stdout if line.startswith("step "))
        process.send_signal(number)
        rest = process.stdout.read()
    run = find_run()
    assert process.returncode == 75, rest
    assert f"{number.name} is handed on to the run" in rest
    assert state(run) == "preempted"
    assert not live(run)
    (newest,) = sorted(run.checkpoints.iterdir())[-1:]
    assert newest.name == f"step-{steps(run)[-1]:06}"
    again = subprocess.run(
        [FT_TUI, "resume", "--plain"], capture_output=False, stdout=subprocess.PIPE, check=False, **words
    )  # type: ignore[call-overload]
    assert again.returncode == 0, again.stdout
    assert steps(run) == list(range(1, len(steps(run)) + 1))


def test_detaching_inside_a_schedulers_job_says_that_the_job_ends_with_the_command(
    recipe: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [FT_TUI, "train", str(recipe), "--detach"], env={**os.environ, **environment, "SLURM_JOB_ID": "7"},
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    subprocess.run([FT_TUI, "stop", "--now"], env={**os.environ, **environment}, capture_output=True, check=True)
    assert "Slurm ends every process of a job when its command ends" in done.stderr
    assert "leave --detach out" in done.stderr
