"""Runs the benchmarks whose figures the README quotes, and keeps what they printed: `.ci/dev figures [NAME ...]`.

Each writes tests/bench/results/NAME.txt: date, machine, versions, command, and the output as it came. It is done before
a release, and after a change of what is measured; tests/test_figures.py compares the README with the files.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent
RESULTS: Final = _HERE / "results"
RECORDED: Final = {
    "memory_error": ("memory_error.py",),
    "launch_to_step": ("launch_to_step.py",),
    "first_frame": ("quickness.py", "first_frame"),
    "published": ("published.py", "--rows"),
}
VERSIONS: Final = ("finetune-tui", "torch", "transformers", "peft", "trl", "bitsandbytes", "textual")


def main() -> None:
    """Run the named ones, or all, one after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RECORDED))
    for name in parser.parse_args().names or RECORDED:
        record(name)


def record(name: str) -> None:
    """Run one and keep what it printed. Raises CalledProcessError where it fails; what was kept stays then."""
    words = RECORDED[name]
    load = os.getloadavg()[0]
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(_HERE / words[0]), *words[1:]], stdout=subprocess.PIPE, text=True, check=True
    )
    minutes = (time.monotonic() - begun) / 60
    text = f"{_head(words, load, minutes)}\n\n{done.stdout.strip()}\n"
    (RESULTS / f"{name}.txt").write_text(text)
    sys.stdout.write(f"{text}\n")


def _head(words: tuple[str, ...], load: float, minutes: float) -> str:
    packages = ", ".join(f"{package} {version(package)}" for package in VERSIONS)
    return (
        f"date     {datetime.now(UTC):%Y-%m-%d}\n"
        f"machine  {len(os.sched_getaffinity(0))} cores, load {load:.1f} when it began; it took {minutes:.1f} minutes\n"
        f"versions Python {platform.python_version()}, {packages}\n"
        f"command  python tests/bench/{' '.join(words)}"
    )


if __name__ == "__main__":
    main()
