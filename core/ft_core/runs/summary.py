"""A run in one line, for lists: read from status.json alone, so that hundreds of runs are listed at once."""

from __future__ import annotations

from dataclasses import dataclass

from ft_core.runs.directory import RunDir, without_date
from ft_core.runs.status import Status, read_settled


@dataclass(frozen=True)
class Summary:
    """One run of a list; `progress` is the share of steps done, 0 to 1, `started` unix seconds.

    `title` is its name in words, without the date, and `apart` what sets it apart from earlier runs. `verdict` is the
    outcome of the comparison with the base; None before it, and in runs of earlier versions.
    """

    name: str
    state: str
    step: int
    total: int | None
    progress: float
    loss: float | None
    started: float | None
    ended: float | None
    model: str
    data: str
    title: str = ""
    apart: str = ""
    verdict: str | None = None


def summarise(run: RunDir) -> Summary:
    """The run's line in a list; a run without a readable status is described by its recipe as far as that goes."""
    found, state = read_settled(run)
    status = found or _from_recipe(run)
    share = status.step / status.total if status.total else 0.0
    return Summary(
        name=run.name,
        state=state,
        step=status.step,
        total=status.total,
        progress=1.0 if state == "done" else min(max(share, 0.0), 1.0),
        loss=status.loss,
        started=status.started,
        ended=status.ended,
        model=status.model,
        data=status.data,
        title=status.title or without_date(run.name),
        apart=status.apart,
        verdict=status.verdict,
    )


def _from_recipe(run: RunDir) -> Status:
    from ft_core.errors import FtError
    from ft_core.recipe.yaml_io import load

    try:
        recipe = load(run.recipe_file)
    except FtError:
        return Status(run=run.name, phase="its files are damaged")
    return Status(run=run.name, model=recipe.model.source, data=recipe.data.source)
