"""The run directory: where each part of a run lies, and making, finding, listing and deleting runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ft_core.errors import FtError, problem
from ft_core.files import write_atomic
from ft_core.paths import runs_root
from ft_core.text import one_line

if TYPE_CHECKING:
    from ft_core.recipe.schema import Recipe

_STAMP_LENGTH = len("20250101-120000")
_SLUG_LENGTH = 40
_NAMES_SHOWN = 8


@dataclass(frozen=True)
class RunDir:
    """The directory of one run; only names, nothing is read here."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name, as lists show it."""
        return self.path.name

    @property
    def recipe_file(self) -> Path:
        """The resolved recipe; never changed after the start."""
        return self.path / "recipe.yaml"

    @property
    def plan_file(self) -> Path:
        """What was predicted: steps, memory, and by which method."""
        return self.path / "plan.json"

    @property
    def events_file(self) -> Path:
        """The journal."""
        return self.path / "events.jsonl"

    @property
    def status_file(self) -> Path:
        """What the run does now."""
        return self.path / "status.json"

    @property
    def lock_file(self) -> Path:
        """Locked by the run's supervisor as long as it lives."""
        return self.path / "lock"

    @property
    def control(self) -> Path:
        """Requests to the run, one file each."""
        return self.path / "control"

    @property
    def log_file(self) -> Path:
        """Raw output of supervisor and trainer."""
        return self.path / "worker.log"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints, `step-000200/` and so on."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """Answers written during the run."""
        return self.path / "samples"

    @property
    def eval(self) -> Path:
        """The verdict with every answer."""
        return self.path / "eval"

    @property
    def result(self) -> Path:
        """The adapter (or model) in safetensors."""
        return self.path / "result"


def create(recipe: Recipe, plan: dict[str, object]) -> RunDir:
    """Make a run from a resolved recipe and its plan, private (0700); it is not started.

    The recipe is written last, and a directory without one is not a run: a run is there whole, or not at all.
    Raises FtError when the disk refuses.
    """
    try:
        run = _reserve(_slug(recipe))
    except OSError as error:
        raise _refused(error, runs_root()) from error
    try:
        _fill(run, recipe, plan)
    except OSError as error:
        shutil.rmtree(run.path, ignore_errors=True)
        raise _refused(error, run.path) from error
    return run


def _fill(run: RunDir, recipe: Recipe, plan: dict[str, object]) -> None:
    from ft_core.recipe.yaml_io import dump
    from ft_core.runs.journal import Journal
    from ft_core.runs.status import Status, write_status

    for folder in (run.control, run.checkpoints, run.samples, run.eval):
        folder.mkdir(mode=0o700)
    write_atomic(run.plan_file, json.dumps(plan, indent=1, default=str))
    with Journal(run.events_file) as journal:
        journal.write("state", state="created", phase="", done=None, total=None, unit=None)
        if journal.problem:
            raise OSError(journal.problem)
    write_status(run, Status(run=run.name, model=recipe.model.source, data=recipe.data.source), durable=True)
    write_atomic(run.recipe_file, dump(recipe))


def _reserve(slug: str) -> RunDir:
    base = f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}"
    root = runs_root()
    for count in range(1, 1000):
        path = root / (base if count == 1 else f"{base}-{count}")
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return RunDir(path)
    raise FileExistsError(f"a thousand runs are called {base}")


def _slug(recipe: Recipe) -> str:
    title = recipe.output.name or f"{Path(recipe.model.source).name}-{Path(recipe.data.source).stem}"
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower())[:_SLUG_LENGTH].strip("-")
    return slug or "run"


def _refused(error: OSError, path: Path) -> FtError:
    return problem(
        "the run directory cannot be made",
        where=one_line(str(path), 200),
        why=error.strerror or str(error),
        remedy="free some disk space or check the rights there; FT_TUI_HOME moves everything to another place",
    )


def list_runs() -> list[RunDir]:
    """Every run, the newest first."""
    found: list[tuple[str, int, RunDir]] = []
    for entry in os.scandir(runs_root()):
        run = RunDir(Path(entry.path))
        if entry.name.startswith(".") or not entry.is_dir():
            continue
        try:
            made = run.recipe_file.stat().st_mtime_ns
        except OSError:
            continue
        found.append((entry.name[:_STAMP_LENGTH], made, run))
    return [run for *_, run in sorted(found, key=lambda item: item[:2], reverse=True)]


def find_run(name: str | None = None) -> RunDir:
    """The run with this name, or this unique beginning of its name (with or without the date); None is the latest.

    Raises FtError when there is none, or several: then with their names.
    """
    runs = list_runs()
    if not runs:
        raise problem(
            "there are no runs yet",
            where=one_line(str(runs_root()), 200),
            why="nothing has been launched from this FT_TUI_HOME",
            remedy="start one with `ft-tui demo` or `ft-tui train RECIPE`",
        )
    if name is None:
        return runs[0]
    exact = [run for run in runs if run.name == name]
    matches = exact or [run for run in runs if name and _begins(run.name, name)]
    if len(matches) == 1:
        return matches[0]
    raise _not_one(name, matches, runs)


def _begins(run_name: str, name: str) -> bool:
    return run_name.startswith(name) or run_name[_STAMP_LENGTH + 1 :].startswith(name)


def _not_one(name: str, matches: list[RunDir], runs: list[RunDir]) -> FtError:
    shown = ", ".join(one_line(run.name, 80) for run in (matches or runs)[:_NAMES_SHOWN])
    more = len(matches or runs) - _NAMES_SHOWN
    return problem(
        "several runs begin like this" if matches else "no run begins like this",
        where=f"run {one_line(name, 80)}" if name else "an empty name",
        why=("they are " if matches else "the runs are ") + shown + (f" and {more} more" if more > 0 else ""),
        remedy="give more of the name" if matches else "take one of these; `ft-tui runs` lists them all",
    )


def delete(run: RunDir) -> None:
    """Remove a run and all it wrote. Raises FtError while it is live, or when the disk refuses."""
    from ft_core.runs.lock import RunLock
    from ft_core.runs.status import live

    lock = RunLock(run)
    if live(run) or not lock.acquire():
        raise problem(
            "this run is still at work",
            where=run.name,
            why="its worker would go on writing into a deleted directory",
            remedy=f"stop it first: `ft-tui stop {run.name}`",
        )
    try:
        doomed = run.path.rename(run.path.with_name(f".deleted-{run.name}-{time.time_ns()}"))
        shutil.rmtree(doomed)
    except OSError as error:
        raise problem(
            "the run cannot be deleted wholly",
            where=one_line(str(run.path), 200),
            why=error.strerror or str(error),
            remedy="check the rights there, then remove the directory by hand",
        ) from error
    finally:
        lock.release()


def read_plan(run: RunDir) -> dict[str, Any]:
    """The run's plan; empty when it is missing or damaged."""
    try:
        found = json.loads(run.plan_file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
