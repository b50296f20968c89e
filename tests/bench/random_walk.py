"""A random walk over the app: keys, pastes, clicks and sizes by the thousand, and no exception may come out of it.

    python tests/bench/random_walk.py [--events 100000] [--seed 1] [--processes 1] [--keep FILE]

Each process walks its share from a seed of its own (seed, seed + 1 ...), in apps started anew after 2,000 events or
when the app was left. Prints a line for each: events, apps started, apps left, crashes, and an app that was stuck for a
minute counts as one. The last 50 events and the traceback of each crash go to FILE; the exit code is 1 when there are
any. What the app does beside the keys (threads, timers) is not in the seed: the same seed may walk another way.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

EVENTS = 100_000


def child(seed: int, events: int) -> None:
    """Walk, tell how far on standard error, and print what came of it as JSON."""
    from tests.tui.walking import Walk, walk

    shown = 0

    def told(found: Walk) -> None:
        nonlocal shown
        print(f"seed {seed}: {found.events} events, {len(found.crashes)} crashes", file=sys.stderr, flush=True)
        print(*found.crashes[shown:], sep="\n\n", end="", file=sys.stderr, flush=True)
        shown = len(found.crashes)

    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        found = walk(seed, events, Path(folder), told=told)
    print(json.dumps([found.events, found.starts, found.quits, found.crashes]))


def main() -> int:
    """Start the walks and print the table."""
    found = argparse.ArgumentParser()
    found.add_argument("--events", type=int, default=EVENTS)
    found.add_argument("--seed", type=int, default=1)
    found.add_argument("--processes", type=int, default=1)
    found.add_argument("--keep", type=Path, default=Path("walk-crashes.txt"))
    chosen = found.parse_args()
    share = -(-chosen.events // chosen.processes)
    seeds = range(chosen.seed, chosen.seed + chosen.processes)
    start = time.monotonic()
    started = [
        subprocess.Popen(
            [sys.executable, __file__, "--child", str(seed), str(share)], stdout=subprocess.PIPE, text=True
        )
        for seed in seeds
    ]
    ended = [json.loads(process.communicate()[0]) for process in started]
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, Python {platform.python_version()}, "
          f"textual {version('textual')}\n")  # fmt: skip
    print(f"{'seed':<8}{'events':>10}{'started':>10}{'left':>8}{'crashes':>10}")
    for seed, (events, starts, quits, crashes) in zip(seeds, ended, strict=True):
        print(f"{seed:<8}{events:>10}{starts:>10}{quits:>8}{len(crashes):>10}")
    crashes = [crash for *_, one in ended for crash in one]
    print(f"{'all':<8}{sum(one[0] for one in ended):>10}{sum(one[1] for one in ended):>10}"
          f"{sum(one[2] for one in ended):>8}{len(crashes):>10}")  # fmt: skip
    print(f"\n{time.monotonic() - start:.0f} s")
    if crashes:
        chosen.keep.write_text("\n\n".join(crashes))
    return 1 if crashes else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(int(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.exit(main())
