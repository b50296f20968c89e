"""A run held for a moment, so that nobody starts it while its directory is moved or removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from finetune_core.errors import problem
from finetune_core.runs.directory import RunDir
from finetune_core.runs.lock import RunLock
from finetune_core.runs.oddities import oddities
from finetune_core.runs.status import live
from finetune_core.text import one_line


@contextmanager
def claimed(run: RunDir) -> Iterator[None]:
    """Hold the run's lock, so that nobody starts it meanwhile. Raises FtError while it is live, or not to be had."""
    lock = RunLock(run)
    odd = {oddity.name for oddity in oddities(run, deep=False)}
    try:
        # Nobody can hold what is no file, and a run that is damaged so can be deleted too.
        free = not live(run) and (run.lock_file.name in odd or lock.acquire())
    except OSError as error:
        raise problem(
            "the run cannot be deleted",
            where=one_line(str(run.path), 200),
            why=error.strerror or str(error),
            remedy="check the rights there; a run that is gone needs no deleting",
        ) from error
    if not free:
        raise problem(
            "this run is still at work",
            where=run.name,
            why="its worker would go on writing into a deleted directory",
            remedy=f"stop it first: `ft-tui stop {run.name}`",
        )
    try:
        yield
    finally:
        lock.release()
