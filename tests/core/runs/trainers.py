"""Small programs that stand where the trainer does, so that the supervisor meets every way to end."""

from __future__ import annotations

import sys
import textwrap

_BEGIN = """
import os, signal, sys, time
from pathlib import Path
from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Journal
from finetune_core.runs.status import StatusWriter
from finetune_core.runs.control import take
run = RunDir(Path(sys.argv[1]))
"""


def program(run_path: object, code: str) -> list[str]:
    """A command that runs `code` with the run's parts at hand."""
    return [sys.executable, "-c", _BEGIN + textwrap.dedent(code), str(run_path)]


# Steps until it is asked to stop, as the real trainer does.
STEPPING = """
status = StatusWriter(run, every=0)
journal = Journal(run.events_file)
journal.write("state", state="training", phase="")
step = 0
while not take(run, {"stop"}):
    step += 1
    journal.write("step", step=step, loss=1.0 / step)
    status.update(state="training", step=step)
    time.sleep(0.02)
journal.write("end", state="stopped", cause="asked to", remedy=None, last_lines=None)
journal.close()
status.close()
"""

# Reaches its state and then heeds nothing but SIGKILL.
STUBBORN = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
status = StatusWriter(run)
status.update(state="training")
while True:
    time.sleep(1)
"""
