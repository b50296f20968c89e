"""The first and the last moment of a run directory: made whole or not at all, and removed."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from pathlib import Path

from finetune_core.errors import problem
from finetune_core.files import write_atomic
from finetune_core.paths import refused, runs_root
from finetune_core.recipe.schema import Recipe
from finetune_core.recipe.yaml_io import dump
from finetune_core.runs.directory import RunDir
from finetune_core.runs.events import StateEvent
from finetune_core.runs.journal import Journal
from finetune_core.runs.naming import Title, title_of
from finetune_core.runs.recorded import journal_id
from finetune_core.runs.status import Status, read_status, write_status
from finetune_core.runs.upkeep.claim import claimed
from finetune_core.runs.view import history
from finetune_core.text import clean, one_line

_NOT_MADE = "the run directory cannot be made"


def create(recipe: Recipe, plan: dict[str, object], root: Path | None = None) -> RunDir:
    """Make a run from a resolved recipe and its plan, private (0700), among the runs or in `root`; it is not started.

    The recipe is written last, and a directory without one is not a run: a run is there whole, or not at all.
    Raises FtError when the disk refuses.
    """
    root = root or runs_root()
    try:
        title = title_of(recipe, root)
        run = _reserve(root, title.slug)
    except OSError as error:
        raise refused(error, root, _NOT_MADE) from error
    try:
        _fill(run, recipe, plan, title)
    except OSError as error:
        shutil.rmtree(run.path, ignore_errors=True)
        raise refused(error, run.path, _NOT_MADE) from error
    return run


def _fill(run: RunDir, recipe: Recipe, plan: dict[str, object], title: Title) -> None:
    for folder in (run.control, run.checkpoints, run.samples, run.eval):
        folder.mkdir(mode=0o700)
    write_atomic(run.plan_file, json.dumps(plan, indent=1, default=str))
    # A file's name need not be UTF-8, which JSON has to be.
    named = {"model": clean(recipe.model.source), "data": clean(recipe.data.source), "id": secrets.token_hex(16)}
    named |= {"title": title.words, "apart": title.apart}
    with Journal(run.events_file) as journal:
        journal.record(
            StateEvent(
                state="created",
                model=named["model"],
                data=named["data"],
                id=named["id"],
                title=named["title"],
                apart=named["apart"],
            )
        )
        if journal.problem:
            raise OSError(journal.problem)
    write_status(run, Status(run=run.name).changed(**named))
    write_atomic(run.recipe_file, dump(recipe))


def run_id(run: RunDir) -> str:
    """The run's own name for all time, wherever its directory is moved; empty for runs of earlier versions.

    The status knows it too, where the journal has lost its beginning.
    """
    status = read_status(run)
    return journal_id(run) or (status.id if status is not None else "")


def _reserve(root: Path, slug: str) -> RunDir:
    base = f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}"
    for count in range(1, 1000):
        path = root / (base if count == 1 else f"{base}-{count}")
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return RunDir(path)
    raise FileExistsError(f"a thousand runs are called {base}")


def delete(run: RunDir) -> None:
    """Remove a run and all it wrote, for good. Raises FtError while it is live, or when the disk refuses."""
    with claimed(run):
        try:
            doomed = run.path.rename(run.path.with_name(f".deleted-{run.name}-{time.time_ns()}"))
            shutil.rmtree(doomed)
            history.forget(run)
        except OSError as error:
            raise problem(
                "the run cannot be deleted wholly",
                where=one_line(str(run.path), 200),
                why=error.strerror or str(error),
                remedy="check the rights there, then remove the directory by hand",
            ) from error
