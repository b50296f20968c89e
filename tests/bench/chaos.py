"""Chaos on the real worker: `python tests/bench/chaos.py --kills 1000`.

SIGKILL, SIGTERM, SIGINT and SIGSTOP, at random and at chosen moments (load, base, step, save, evaluate, sample, judge,
export) of a tiny model's training with packing, accumulation and dropout; after each the run is resumed, eight times a
run, and then must equal the run that nobody broke bit for bit: losses, learning rates, gradient norms, tokens, held-out
losses, verdict and adapter. After every kill no event may be missing, and the newest checkpoint told must be whole.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Pass the arguments on; the exit code tells whether something was lost."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.faults.chaos", folder, *sys.argv[1:]]
        return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
