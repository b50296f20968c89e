"""A scheduler's notice handed on to a run: it reaches the command a job consists of, and not the run behind that."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from finetune_core.runs.directory import RunDir
from finetune_core.runs.status import known


def hand_on(run: RunDir, number: signal.Signals) -> bool:
    """Send a signal to the run's supervisor, or to its trainer where that is alone; False when neither is alive here.

    A second signal means hurry, unless it comes within a second of the first: a scheduler may have sent both.
    """
    status = known(run)
    for process in (status.supervisor, status.trainer):
        if process is not None and process.alive():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, number)
                return True
    return False
