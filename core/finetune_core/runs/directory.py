"""The run directory: where each part of a run lies, and finding and listing runs."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_core.errors import FtError, problem
from finetune_core.files import read_capped
from finetune_core.paths import refused, require_own, runs_root
from finetune_core.text import one_line

_STAMP_LENGTH = len("20250101-120000")
_DATE = re.compile(r"\d{8}-\d{6}-(?=.)")
_NAMES_SHOWN = 8
_LARGEST_PLAN = 64 * 1024 * 1024


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
        """The resolved recipe; settled once by the trainer, before it trains, and never changed after that."""
        return self.path / "recipe.yaml"

    @property
    def plan_file(self) -> Path:
        """What was predicted: steps, memory, and by which method."""
        return self.path / "plan.json"

    @property
    def adapted_file(self) -> Path:
        """What is done otherwise than the recipe says since memory ran out."""
        return self.path / "adapted.json"

    @property
    def data_file(self) -> Path:
        """Which rows were used, as hashes over content and order, and which were left out and why."""
        return self.path / "data.json"

    @property
    def template_file(self) -> Path:
        """A copy of the chat template, where the recipe names a file."""
        return self.path / "chat_template.jinja"

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
    def trainer_lock_file(self) -> Path:
        """Locked by the run's trainer as long as it lives: it may outlive its supervisor."""
        return self.path / "trainer.lock"

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
        """The verdict with every answer, and the held-out losses row by row."""
        return self.path / "eval"

    def losses_file(self, step: int) -> Path:
        """The held-out losses measured after a step, row by row; step 0 is the base."""
        return self.eval / f"losses-{step:06d}.json"

    @property
    def result(self) -> Path:
        """The adapter (or model) in safetensors."""
        return self.path / "result"


def list_runs() -> list[RunDir]:
    """Every run, the newest first. Raises FtError when the folder of runs cannot be made or read."""
    root = runs_root()
    try:
        entries = list(os.scandir(root))
    except OSError as error:
        raise refused(error, root, "the runs cannot be listed") from error
    found: list[tuple[str, int, RunDir]] = []
    for entry in entries:
        run = RunDir(Path(entry.path))
        if entry.name.startswith(".") or not _is_folder(entry):
            continue
        made = _made(run)
        if made is None:
            continue
        found.append((entry.name[:_STAMP_LENGTH], made, run))
    return [run for *_, run in sorted(found, key=lambda item: item[:2], reverse=True)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # of a link that leads back to itself
        return False


def _made(run: RunDir) -> int | None:
    """When a run was made, in ns; None of what is no run: it has no recipe, and nobody ever took its lock.

    What cannot be looked into, or has lost its recipe, is a run all the same, and shown as damaged.
    """
    for path in (run.recipe_file, run.lock_file):
        try:
            return path.lstat().st_mtime_ns
        except FileNotFoundError:
            continue
        except OSError:
            return 0
    return None


def strangers() -> list[tuple[str, int]]:
    """What lies among the runs and is none: names with the mode of each, in order; nothing where it cannot be read."""
    found = []
    with suppress(OSError, FtError), os.scandir(runs_root()) as entries:
        for entry in entries:
            with suppress(OSError):
                if not entry.name.startswith(".") and not _is_folder(entry):
                    found.append((entry.name, entry.stat(follow_symlinks=False).st_mode))
    return sorted(found)


def find_run(name: str | None = None) -> RunDir:
    """The run with this name, or this unique beginning of its name (with or without the date); None is the latest.

    Raises FtError when there is none, or several: then with their names; and as `require_own_run`.
    """
    found = _named(name)
    require_own_run(found)
    return found


def require_own_run(run: RunDir) -> None:
    """Raise FtError where another user could change what is read from this run, or give it orders."""
    for folder in (run.path, run.control):
        # What is not there is missed by whoever needs it.
        with suppress(OSError):
            require_own(folder)


def _named(name: str | None) -> RunDir:
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
    matches = exact or [run for run in runs if name and begins(run.name, name)]
    if len(matches) == 1:
        return matches[0]
    raise _not_one(name, matches, runs)


def without_date(run_name: str) -> str:
    """A run's name without the date before it."""
    return _DATE.sub("", run_name, count=1)


def begins(run_name: str, name: str) -> bool:
    """Whether a run's name begins so, with or without its date."""
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


def read_plan(run: RunDir) -> dict[str, Any]:
    """The run's plan; empty when it is missing or damaged."""
    try:
        found = json.loads(read_capped(run.plan_file, _LARGEST_PLAN))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
