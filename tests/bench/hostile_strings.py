"""Hostile strings in everything that data, models, runs and arguments hold, on every screen and in every command.

    python tests/bench/hostile_strings.py [--keep FILE]

Each screen and command is opened in a terminal of its own; what it sent is read by a strict parser that knows only the
sequences the app sends by itself. Prints a line for each: what was opened, how often, and how many faults: a control
byte or an unknown sequence sent, a traceback, an action of the data run. What was wrong goes to FILE; the exit code is
1 when anything was.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def main() -> int:
    """Open all of them and print the table."""
    from tests.tui.hostile import HOSTILE
    from tests.tui.hostile_tour import COMMANDS, TOURS, commands_with, go, place, run

    options = argparse.ArgumentParser()
    options.add_argument("--keep", type=Path, default=Path("hostile-faults.txt"))
    keep = options.parse_args().keep.absolute()
    opened, wrong, told = Counter[str](), Counter[str](), list[str]()

    def look(name: str, what: str, faults: list[str]) -> None:
        opened[name] += 1
        wrong[name] += len(faults)
        told.extend(f"{what}: {fault}" for fault in faults)
        print(f"{what[:100]!r}: {len(faults)}", file=sys.stderr, flush=True)

    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, place(Path(folder)):
        for tour in TOURS:
            look(f"screen: {tour.name}", tour.name, go(tour))
        for words in COMMANDS:
            look(
                f"command: {' '.join(words[:2]) if words[0] in ('data', 'recipe') else words[0]}",
                " ".join(words),
                run(words),
            )
        for name, text in HOSTILE.items():
            for words in commands_with(text):
                look("commands given the strings", f"{name}: {' '.join(words)}", run(words))
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, Python {platform.python_version()}, "
          f"textual {version('textual')}; {len(HOSTILE)} strings, {time.monotonic() - start:.0f} s\n")  # fmt: skip
    print(f"{'opened':<32}{'times':>8}{'faults':>8}")
    for name, times in opened.items():
        print(f"{name:<32}{times:>8}{wrong[name]:>8}")
    print(f"{'all':<32}{opened.total():>8}{wrong.total():>8}")
    if told:
        keep.write_text("\n\n".join(told), errors="replace")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
