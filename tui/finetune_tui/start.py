"""From a recipe to a running process: the one way, for the command line and the wizard."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from finetune_core.data.files.hub import fetch_all
from finetune_core.errors import FtError, Problem
from finetune_core.hardware.look import Hardware
from finetune_core.plan.prepare import prepare
from finetune_core.plan.resolve import Resolved
from finetune_core.plan.settling import plan_to_launch
from finetune_core.plan.situation import TokenCount
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.runs.start import launch
from finetune_core.runs.status import shown_state
from finetune_core.runs.upkeep.lifecycle import create, delete

if TYPE_CHECKING:
    from finetune_core.recipe.read_recipe import Given
    from finetune_core.runs.start.warm import WarmWorker


class Known(NamedTuple):
    """What a plan that was shown was drawn from: the rows in tokens, where they were counted, and the machine."""

    counted: TokenCount | None = None
    hardware: Hardware | None = None


NOTHING_KNOWN: Final = Known()


def start_run(
    recipe: Recipe | Given,
    known: Known = NOTHING_KNOWN,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    warm: WarmWorker | None = None,
    queue: bool = False,
) -> tuple[RunDir, tuple[Problem, ...]]:
    """Check the recipe, fill in what is automatic, make the run directory and start the run detached.

    The run's worker counts the rows in any case. Data sets of the hub are fetched first, where they are not here yet;
    `progress` is called with bytes here and bytes in all. A `warm` worker takes the run where it can; with `queue` a
    run whose GPU another one has waits for it. Gives the run and what the user should know of. Raises FtError with
    every problem; then nothing was started.
    """
    return start_prepared(fetch_and_prepare(recipe, known, progress=progress), warm, queue=queue)


def fetch_and_prepare(
    recipe: Recipe | Given,
    known: Known = NOTHING_KNOWN,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Resolved:
    """The first half of `start_run`: everything that can take long, or be refused."""
    _fetch_data(recipe, progress)
    return prepare(recipe, counted=known.counted, hardware=known.hardware)


def start_prepared(
    prepared: Resolved, warm: WarmWorker | None = None, *, queue: bool = False
) -> tuple[RunDir, tuple[Problem, ...]]:
    """The second half of `start_run`; takes a fraction of a second."""
    run = create(prepared.to_launch, plan_to_launch(prepared))
    _launch_or_remove(run, warm, queue=queue)
    risk = launch.logout_risk()
    return run, (*prepared.warnings, *((risk,) if risk else ()))


def _launch_or_remove(run: RunDir, warm: WarmWorker | None, *, queue: bool) -> None:
    """Start the run. One that never began leaves nothing behind; one that failed keeps its log."""
    try:
        launch.launch(run, warm=warm, queue=queue)
    except FtError:
        if shown_state(run) == "created":
            with suppress(FtError):
                delete(run)
        raise


def _fetch_data(recipe: Recipe | Given, progress: Callable[[int, int], None]) -> None:
    """Fetch what the recipe's data needs of the hub; not for a recipe that is going to be refused."""
    problems = () if isinstance(recipe, Recipe) else recipe.problems
    data = recipe.data if isinstance(recipe, Recipe) else recipe.recipe.data
    if not problems:
        fetch_all((data.source, data.held_out or "", *data.mix), progress)


def continue_run(run: RunDir, *, queue: bool = False) -> None:
    """Go on from the last checkpoint, or begin a run that was made and never started. Raises FtError."""
    if shown_state(run) == "created":
        launch.launch(run, queue=queue)
    else:
        launch.resume(run, queue=queue)
