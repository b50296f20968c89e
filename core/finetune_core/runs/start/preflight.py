"""The preflight without a run: everything is prepared as for one, the longest batch is measured, nothing is trained."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Any, Final

from finetune_core.child_process import Helper
from finetune_core.errors import FtError, problem
from finetune_core.paths import cache_root, private_folder
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Tail
from finetune_core.runs.log import last_lines
from finetune_core.runs.start.launch import environment
from finetune_core.runs.upkeep.lifecycle import create

_LOOK_SECONDS: Final = 0.2


def preflight(
    recipe: Recipe,
    report: Callable[[str], None] = lambda _phase: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """What a resolved recipe's longest batch takes on its device: memory in bytes, tokens a second.

    `report` is called with each phase; once `cancelled` says so, nothing more is measured and nothing is given. The
    fields are those of `finetune_core.worker.memory.preflight.Probed`. Raises FtError when the recipe cannot be
    prepared or does not fit.
    """
    run = create(recipe, {}, private_folder(cache_root() / "probes"))
    try:
        return _measured(run, recipe, report, cancelled)
    finally:
        shutil.rmtree(run.path, ignore_errors=True)


def _measured(
    run: RunDir, recipe: Recipe, report: Callable[[str], None], cancelled: Callable[[], bool]
) -> dict[str, Any]:
    arguments = [str(run.path), "--probe"]
    with run.log_file.open("wb") as log:
        worker = Helper(
            "finetune_core.worker.train", arguments, stdout=log, stderr=log, cwd=run.path, env=environment(recipe)
        )
    events = Tail(run.events_file)
    found: dict[str, Any] | None = None
    failed: FtError | None = None
    try:
        while True:
            ended = worker.poll() is not None
            for event in events.read():
                if event["kind"] == "state":
                    report(str(event.get("phase") or event.get("state")))
                elif event["kind"] == "probe":
                    found = event
                elif event["kind"] == "end" and event.get("state") == "failed":
                    failed = _failed(str(event.get("cause")), event.get("remedy"))
            if cancelled():
                return {}
            if ended:
                break
            time.sleep(_LOOK_SECONDS)
    finally:
        worker.end(0)
    if failed is not None:
        raise failed
    if found is None:
        raise _failed(
            "; ".join(last_lines(run.log_file, 3)) or f"its process ended with code {worker.returncode}", None
        )
    return {name: value for name, value in found.items() if name not in {"v", "seq", "t", "mono", "kind"}}


def _failed(cause: str, remedy: object) -> FtError:
    return problem(
        "the preflight did not come to its end",
        where="the worker",
        why=cause,
        remedy=str(remedy) if remedy else "run `ft-tui doctor`, which checks the environment",
    )
