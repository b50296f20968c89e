"""Where ft-tui keeps what it writes: under FT_TUI_HOME, or the platform's user data folder."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_path

HOME_VARIABLE = "FT_TUI_HOME"


def home() -> Path:
    """The folder that holds everything the program writes, made private (0700) if it is not there."""
    chosen = os.environ.get(HOME_VARIABLE)
    return private_folder(Path(chosen).expanduser().absolute() if chosen else user_data_path("ft-tui"))


def runs_root() -> Path:
    """The folder of all run directories."""
    return private_folder(home() / "runs")


def drafts_root() -> Path:
    """The folder of unfinished wizard sessions."""
    return private_folder(home() / "drafts")


def cache_root() -> Path:
    """The folder of what can be computed again: scans, traces, histories."""
    return private_folder(home() / "cache")


def private_folder(path: Path) -> Path:
    """Make `path` (and its parents) if needed; a folder made here can be entered by its owner only."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
