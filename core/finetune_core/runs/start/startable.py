"""Whether a run may be started or continued, and from where it then goes on: by journal and sealed checkpoints."""

from __future__ import annotations

from finetune_core.errors import problem
from finetune_core.runs.directory import RunDir
from finetune_core.runs.recorded import sealed_steps
from finetune_core.runs.status import known


def refuse_used(run: RunDir, *, resume: bool) -> None:
    """Raise FtError for a complete run that is to be resumed, and for a used one that is to be started anew."""
    state = known(run).state
    if resume and state == "done":
        raise problem(
            "this run is complete",
            where=run.name,
            why="every step has been trained; nothing is left to continue",
            remedy="clone it as a new recipe to train further or otherwise",
        )
    if not resume and state != "created":
        raise problem(
            "this run has been started before",
            where=run.name,
            why="a run directory holds one run, from its start to its end",
            remedy="resume it from its last checkpoint, or clone it as a new recipe",
        )


def goes_on_words(run: RunDir) -> str:
    """In words from where a run goes on when it is resumed; whether that checkpoint is whole, the trainer checks."""
    steps, status = sealed_steps(run), known(run)
    if not steps:
        again = "" if status.state == "created" else "again, since it has no checkpoint, "
        return f"It begins {again}with the first step."
    total = status.total
    of = f" of {total}" if total else ""
    return f"It goes on from its newest checkpoint, of step {steps[-1]}{of}, if every byte of that is whole."
