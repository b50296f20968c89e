"""Copying text out of a terminal that may refuse: by its clipboard escape, by tmux, and always into a file."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from finetune_core.files import write_atomic
from finetune_core.paths import home
from finetune_core.runs.status import ACTIVE
from finetune_core.runs.view.run_view import RunView
from finetune_tui.widgets.outcome import load_lines

_FILE = "copied.txt"
_PATIENCE = 2.0


def text_to_copy(view: RunView) -> tuple[str, str]:
    """What `y` copies of this run, and what it is in words."""
    if view.result is not None and view.state not in ACTIVE:
        return "\n".join(load_lines(view)) + "\n", "three lines of Python"
    return f"{view.run.path}\n", "the run's directory"


def keep_copy(text: str) -> tuple[Path, bool]:
    """Write the text to a file and, inside tmux, to its buffer and the outer clipboard. OSError from a full disk.

    Gives the file and whether tmux took the text. tmux by default swallows the escape sequence an application sends.
    """
    path = home() / _FILE
    write_atomic(path, text, durable=False)
    return path, bool(os.environ.get("TMUX")) and _tmux_took(text)


def _tmux_took(text: str) -> bool:
    try:
        done = subprocess.run(
            ["tmux", "load-buffer", "-w", "-"], input=text.encode(), capture_output=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
