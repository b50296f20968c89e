"""A run in one line, for lists: read from status.json alone, so that hundreds of runs are listed at once."""

from __future__ import annotations

from dataclasses import dataclass

from finetune_core.runs.directory import RunDir, without_date
from finetune_core.runs.status import Status, read_settled, read_status
from finetune_core.runs.view.damage import listed_damage
from finetune_core.text import clean


@dataclass(frozen=True)
class Summary:
    """One run of a list; `progress` is the share of steps done, 0 to 1, `started` unix seconds.

    `title` is its name in words, without the date, and `apart` what sets it apart from earlier runs. `verdict` is the
    outcome of the comparison with the base; None before it, and in runs of earlier versions. `damage` says what is
    wrong with the run's files.
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
    damage: tuple[str, ...] = ()


def summarise(run: RunDir) -> Summary:
    """The run's line in a list; a run without a readable status is described by its recipe as far as that goes."""
    kept = read_status(run)
    status, state = read_settled(run, kept)
    if not status.model:
        status = _with_recipe(run, status)
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
        damage=tuple(listed_damage(run, status, kept)),
    )


def _with_recipe(run: RunDir, status: Status) -> Status:
    from finetune_core.errors import FtError
    from finetune_core.recipe.yaml_io import load

    try:
        recipe = load(run.recipe_file)
    except FtError:
        return status.changed(phase="its files are damaged")
    return status.changed(model=clean(recipe.model.source), data=clean(recipe.data.source))
