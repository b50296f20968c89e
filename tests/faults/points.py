"""Every call that changes a file during a cycle, killed or failed in turn: `python -m tests.faults.points FOLDER`.

Started with `fail_call.c` preloaded. A process is forked for each point, which costs milliseconds where a new one costs
a third of a second. Prints one JSON object: points, and for each broken promise where it broke.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults import cycle
from tests.faults.forked import fork

# Name -> (what happens at the point, whether it goes on happening).
FAULTS: dict[str, tuple[int, bool]] = {
    "SIGKILL": (0, False),
    "ENOSPC": (errno.ENOSPC, False),
    "EIO": (errno.EIO, False),
    "half a write": (-1, False),
    "ENOSPC from there on": (errno.ENOSPC, True),
    "half a write, then ENOSPC": (-1, True),
}


def points(folder: Path, fault: str, library: Any) -> dict[str, Any]:
    """Try every point with one fault; gives how many there were and what was broken."""
    what, lasting = FAULTS[fault]
    broken: list[str] = []
    total = _in_child(folder, lambda run, safe: _counted(run, safe, library))[1]
    for point in range(1, total + 1):
        run, status, safe = _tried(folder, point, what, library, lasting=lasting)
        expected = -signal.SIGKILL if what == 0 else 0
        found = cycle.broken_promises(run, safe)
        if status != expected:
            found.append(f"the process ended with {status}")
        broken += [f"point {point}: {words}" for words in found]
    return {"fault": fault, "points": total, "broken": broken}


def _counted(run: Any, safe: cycle.Acknowledged, library: Any) -> int:
    library.ft_arm(10**9, 0, 0)
    cycle.work(run, safe)
    counted: int = library.ft_count()
    library.ft_arm(0, 0, 0)
    return counted


def _in_child(folder: Path, work: Callable[[Any, cycle.Acknowledged], int]) -> tuple[Any, int]:
    """Do the work in a forked process that reports a number through a file."""
    shutil.rmtree(folder, ignore_errors=True)
    run, safe, report = cycle.prepare(folder), cycle.Acknowledged(), folder.with_name("count")
    child = fork()
    if child == 0:
        report.write_text(str(work(run, safe)))
        os._exit(0)
    os.waitpid(child, 0)
    return run, int(report.read_text())


def _tried(folder: Path, point: int, what: int, library: Any, *, lasting: bool) -> tuple[Any, int, cycle.Acknowledged]:
    shutil.rmtree(folder, ignore_errors=True)
    run, safe = cycle.prepare(folder), cycle.Acknowledged()
    child = fork()
    if child == 0:
        library.ft_arm(point, what, int(lasting))
        try:
            cycle.work(run, safe)
        except BaseException as error:  # noqa: BLE001 - whatever escapes is a broken promise
            library.ft_arm(0, 0, 0)
            sys.stderr.write(f"point {point}: {type(error).__name__}: {error}\n")
            os._exit(1)
        os._exit(0)
    return run, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), safe


def main() -> None:
    """Try all faults that are named after the folder, or every one."""
    library = ctypes.CDLL(None)
    folder = Path(sys.argv[1]) / "run"
    for fault in sys.argv[2:] or FAULTS:
        sys.stdout.write(json.dumps(points(folder, fault, library)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
