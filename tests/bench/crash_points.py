"""Crash points: `python tests/bench/crash_points.py`.

Every call that changes a file while a run seals a checkpoint, prunes, appends events, replaces its status and answers a
request, four times over: the process is killed instead of the call, the call fails (no space, input/output error, half
a write), or every call from there on fails. After each the run is started again as `resume` does, and must find every
acknowledged event, the newest acknowledged checkpoint whole, a readable status, and must go on. Needs gcc.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.faults.run_points import results


def main() -> int:
    """Print a line a fault; the exit code tells whether something was lost."""
    points = lost = 0
    sys.stdout.write(f"{'fault':<28}{'points':>8}{'lost':>6}\n")
    with tempfile.TemporaryDirectory() as folder:
        for result in results(Path(folder)):
            points += result["points"]
            lost += len(result["broken"])
            sys.stdout.write(f"{result['fault']:<28}{result['points']:>8}{len(result['broken']):>6}\n")
            sys.stdout.write("".join(f"    {words}\n" for words in result["broken"]))
    sys.stdout.write(f"{'all':<28}{points:>8}{lost:>6}\n")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
