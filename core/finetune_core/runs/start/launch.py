"""Start a run, or continue one, so that it outlives the terminal, the app and the connection."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from finetune_core.child_process import python_command
from finetune_core.environment import RUN
from finetune_core.errors import FtError, problem
from finetune_core.runs.directory import RunDir, require_own_run
from finetune_core.runs.events import EndEvent
from finetune_core.runs.gpu_locks import busy, taken
from finetune_core.runs.journal import Journal
from finetune_core.runs.lock import RunLock, at_work
from finetune_core.runs.log import last_lines, open_log
from finetune_core.runs.oddities import refuse_oddities
from finetune_core.runs.start import answer
from finetune_core.runs.start.logout import SCOPE_COMMAND, can_escape, killed_at_logout, logout_risk
from finetune_core.runs.start.startable import refuse_used
from finetune_core.runs.status import ENDED, known, known_events, live, write_status

if TYPE_CHECKING:
    from finetune_core.recipe.schema import Recipe
    from finetune_core.runs.start.warm import WarmWorker

__all__ = ["detach", "environment", "launch", "logout_risk", "resume"]

_START_SECONDS = 60.0
_ENDING_SECONDS = 5.0
_LOOK_SECONDS = 0.05
_LOG_LINES = 20


def launch(run: RunDir, *, resume: bool = False, warm: WarmWorker | None = None, queue: bool = False) -> int:
    """Start the run's supervisor, detached, and give its pid once it is at work (0 where it is gone already).

    Takes a fraction of a second.

    `resume` continues an ended or crashed run from its newest checkpoint, in the same directory; one that ended before
    the first was written begins again there. A new run is handed to the `warm` worker where it fits. While another run
    has its GPU, this one is refused, or with `queue` waits there until the GPU is free.

    Raises FtError when the run is at work, open to other users, damaged, or was already started (with `resume`: is
    complete); when its GPU is taken, its recipe is damaged, or the supervisor cannot start. What the supervisor refuses
    is raised as it is; that it failed otherwise is also written down as the run's end.
    """
    from finetune_core.recipe.yaml_io import load

    _refuse(run, resume=resume)
    recipe = load(run.recipe_file)
    holder = taken(recipe)
    if holder is not None and not queue:
        raise busy(holder)
    variables = environment(recipe)
    command = python_command("finetune_core.runs.watch.supervise", str(run.path))
    if resume:
        command.append("--resume")
    if queue:
        command.append("--queue")
    if killed_at_logout() and can_escape():
        command = [*SCOPE_COMMAND, *command]
    handed = warm is not None and not resume and holder is None and warm.take(run, variables)
    why = None if handed else _start(run, command, variables)
    if why is not None:
        raise _not_started(run, why)
    supervisor = known(run).supervisor
    return 0 if supervisor is None else supervisor.pid


def resume(run: RunDir, *, queue: bool = False) -> int:
    """Continue a run from its newest checkpoint; as `launch(run, resume=True)`."""
    _wait_for_end(run)
    return launch(run, resume=True, queue=queue)


def _wait_for_end(run: RunDir) -> None:
    """A run that has written its end takes a moment to be gone."""
    deadline = time.monotonic() + _ENDING_SECONDS
    while time.monotonic() < deadline and known(run).state in ENDED and live(run):
        time.sleep(_LOOK_SECONDS)


def _refuse(run: RunDir, *, resume: bool) -> None:
    require_own_run(run)
    if live(run):
        raise problem(
            "this run is already at work",
            where=run.name,
            why="its worker is alive",
            remedy=f"attach to it: `ft-tui attach {run.name}`",
        )
    refuse_oddities(run)
    refuse_used(run, resume=resume)


def environment(recipe: Recipe, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables the worker gets: the caller's own, hub tokens included, with the run's settings on top.

    GPUs are named by UUID where the recipe does; indices are those of `nvidia-smi`. On the CPU none is visible.
    """
    variables = dict(os.environ if base is None else base)
    variables |= RUN
    if "PYTHONPATH" in variables:
        # The worker starts in another folder: relative entries would point nowhere, an empty one to that folder.
        entries = (entry for entry in variables["PYTHONPATH"].split(os.pathsep) if entry)
        variables["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in entries)
    if recipe.hardware.device == "cpu":
        variables["CUDA_VISIBLE_DEVICES"] = ""
    elif recipe.hardware.gpus:
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(recipe.hardware.gpus)
    return variables


def detach(run: RunDir, command: Sequence[str], variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a command that no terminal reaches: a session of its own, no input, its output in worker.log, in `/`.

    Raises OSError when it cannot be started.
    """
    log = open_log(run.log_file)
    try:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env=dict(variables),
            pass_fds=[int(variables[answer.VARIABLE])] if answer.VARIABLE in variables else [],
        )
    finally:
        os.close(log)


def _start(run: RunDir, command: Sequence[str], variables: Mapping[str, str]) -> str | None:
    """Start and wait until the supervisor says it is at work; why it did not, or None.

    Raises FtError with the problems it answers.
    """
    reader, writer = os.pipe()
    try:
        return _wait(run, command, {**variables, answer.VARIABLE: str(writer)}, reader)
    except OSError as error:
        return f"{error.strerror or error}"
    except subprocess.TimeoutExpired:
        return f"it has not answered within {_START_SECONDS:.0f} seconds"
    finally:
        os.close(reader)
        os.close(writer)


def _wait(run: RunDir, command: Sequence[str], variables: Mapping[str, str], reader: int) -> str | None:
    before = run.log_file.stat().st_size if run.log_file.exists() else 0
    # The child that is waited for ends at once: the supervisor is its child, and so nobody's zombie.
    code = detach(run, command, variables).wait(_START_SECONDS)
    if code == 0:
        return None
    if problems := answer.read(reader):
        raise FtError(problems)
    lines = last_lines(run.log_file, _LOG_LINES, start=before)
    return "\n".join(_own_lines(lines)) or f"it ended with exit code {code}"


def _own_lines(lines: list[str]) -> list[str]:
    """What a program said at its end: of a traceback its error, all lines of it, else everything."""
    start = max((place for place, line in enumerate(lines) if line.startswith("Traceback ")), default=-1)
    rest = lines[start + 1 :]
    return next((rest[place:] for place, line in enumerate(rest) if not line.startswith(" ")), lines)


def _not_started(run: RunDir, why: str) -> FtError:
    error = problem(
        "the worker could not be started",
        where=run.name,
        why=why,
        remedy=f"read {run.log_file}; `ft-tui doctor` checks the environment",
    )
    _record(run, f"{error.problems[0].what}: {why}", error.problems[0].remedy)
    return error


def _record(run: RunDir, cause: str, remedy: str) -> None:
    """Write down that the run has failed, holding its lock: nobody writes into a run that another one works on.

    What cannot be written is let go: the launch error itself, which the caller is about to see, is the better message.
    """
    lock = RunLock(run)
    with suppress(OSError):
        if at_work(run) or not lock.acquire():
            return
        try:
            lines = last_lines(run.log_file, _LOG_LINES)
            with Journal(run.events_file, after=known_events(run)) as journal:
                journal.record(EndEvent(state="failed", cause=cause, remedy=remedy, last_lines=lines))
            write_status(run, known(run).changed(state="failed", cause=cause, remedy=remedy))
        finally:
            lock.release()
