from __future__ import annotations

import subprocess
import sys

from finetune_core.runs.directory import RunDir
from finetune_core.runs.lock import RunLock

HOLD = """
import sys
from pathlib import Path
from finetune_core.runs.directory import RunDir
from finetune_core.runs.lock import RunLock
lock = RunLock(RunDir(Path(sys.argv[1])))
print(lock.acquire(), flush=True)
sys.stdin.read()
"""


def test_one_process_holds_a_run_and_its_death_lets_go(run: RunDir) -> None:
    command = [sys.executable, "-c", HOLD, str(run.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        lock = RunLock(run)
        assert not lock.acquire()
        assert lock.held_elsewhere()
        holder.kill()
    assert not lock.held_elsewhere()
    assert lock.acquire()
    lock.release()
    lock.release()


def test_a_child_does_not_inherit_the_lock(run: RunDir) -> None:
    lock = RunLock(run)
    assert lock.acquire()
    command = [sys.executable, "-c", HOLD, str(run.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "False\n"
        child.kill()
    lock.release()
