"""Chaos on the real worker: `python tests/bench/chaos.py --kills 1000 [--processes 1]`.

SIGKILL, SIGTERM, SIGINT and SIGSTOP, at random and at chosen moments (load, base, step, save, evaluate, sample, judge,
export) of a tiny model's training with packing, accumulation and dropout; after each the run is resumed, eight times a
run, and then must equal the run that nobody broke bit for bit: losses, learning rates, gradient norms, tokens, held-out
losses, verdict and adapter. After every kill no event may be missing, and the newest checkpoint told must be whole.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Share the kills among processes and add up what came of them; the exit code tells whether something was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        started = []
        for number in range(chosen.processes):
            kills = (chosen.kills + number) // chosen.processes
            own = Path(folder, str(number))
            own.mkdir()
            command = [sys.executable, "-m", "tests.faults.chaos", str(own)]
            command += ["--kills", str(kills), "--seed", str(chosen.seed + number)]
            started.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        printed = [process.communicate()[0] for process in started]
    whole = all(process.returncode in (0, 1) for process in started)
    total = added([json.loads(text.splitlines()[-1]) for text in printed if text.strip()])
    print(json.dumps(total))
    return 0 if whole and not total["lost"] else 1


def added(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """The outcomes of all processes as one."""
    signals: Counter[str] = Counter()
    moments: Counter[str] = Counter()
    for outcome in outcomes:
        signals.update(outcome["signals"])
        moments.update(outcome["moments"])
    return {
        "kills": sum(outcome["kills"] for outcome in outcomes),
        "runs": sum(outcome["runs"] for outcome in outcomes),
        "signals": dict(signals.most_common()),
        "moments": dict(moments.most_common()),
        "lost": [words for outcome in outcomes for words in outcome["lost"]],
    }


if __name__ == "__main__":
    sys.exit(main())
