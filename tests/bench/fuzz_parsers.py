"""Fuzzing of every reader of what others write: changed documents in, and nothing but FtErrors may come out.

    python tests/bench/fuzz_parsers.py [--inputs 1000000] [--seed 1] [--only NAME ...] [--first N] [--keep FOLDER]

Prints a table of targets, inputs, and how many were not stood: an exception that is no FtError, more than 5 s of the
processor for one input, more than 1 GiB of memory, or a process that is gone. Such inputs are kept in FOLDER, and one
is made again by its target and number: `--only NAME --first NUMBER --inputs 1`. Each target runs in processes of its
own; the exit code is 1 when any input was not stood.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fuzz.runner import Target

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

INPUTS = 1_000_000
# A reader that hangs where no signal is heard.
_SILENT_SECONDS = 120.0
_PIECE = 20_000
_KEPT_EACH = 5
_LIBRARIES = ("pyarrow", "pydantic-core", "orjson", "ruamel.yaml")


def named(name: str) -> Target:
    """The target of this name, or the reader with planted faults."""
    from tests.fuzz.planted import PLANTED
    from tests.fuzz.targets import TARGETS

    return next(target for target in (*TARGETS, *PLANTED) if target.name == name)


def child(name: str, seed: int, first: int, count: int, state: Path) -> None:
    """Read some inputs of one target; each fault goes out as one line of JSON, the present number into `state`."""
    from tests.fuzz.runner import feed

    target = named(name)
    with state.open("r+b") as stream, mmap.mmap(stream.fileno(), 8) as present:
        for begin in range(first, first + count, 100):
            numbers = range(begin, min(begin + 100, first + count))
            _, found = feed(target, seed, numbers, state.parent, begin=lambda n: struct.pack_into("<q", present, 0, n))
            for fault in found:
                print(json.dumps([fault.number, fault.what, fault.where]), flush=True)
        struct.pack_into("<q", present, 0, first + count)


class Run:
    """One target's inputs, in one process after the other; those that take their process with them are counted."""

    def __init__(self, name: str, seed: int, home: Path) -> None:
        self.name, self.seed, self.home = name, seed, home
        self.faults: list[tuple[int, str, str]] = []

    def feed(self, first: int, count: int) -> None:
        """Read `count` inputs from number `first` on."""
        end = first + count
        while first < end:
            first = self._piece(first, min(_PIECE, end - first))

    def _piece(self, first: int, count: int) -> int:
        """Read some in one process; the number of the next input."""
        folder = Path(tempfile.mkdtemp(dir=self.home))
        state = folder / "state"
        state.write_bytes(struct.pack("<q", first))
        words = (self.name, str(self.seed), str(first), str(count), str(state))
        with (folder / "out").open("w+") as out:
            process = subprocess.Popen([sys.executable, __file__, "--child", *words], stdout=out)
            code = self._wait(process, state)
            out.seek(0)
            self.faults += [(number, what, where) for number, what, where in map(json.loads, out)]
        (reached,) = struct.unpack("<q", state.read_bytes())
        shutil.rmtree(folder)
        if code == 0:
            return first + count
        self.faults.append((reached, f"its process ended with {code}", ""))
        return int(reached) + 1

    def _wait(self, process: subprocess.Popen[bytes], state: Path) -> int:
        last, since = b"", time.monotonic()
        while True:
            try:
                return process.wait(1.0)
            except subprocess.TimeoutExpired:
                now = state.read_bytes()
                last, since = (last, since) if now == last else (now, time.monotonic())
                if time.monotonic() - since > _SILENT_SECONDS:
                    process.kill()


def keep(run: Run, folder: Path) -> None:
    """Write the first inputs of each fault into a folder, and tell them."""
    from tests.fuzz.runner import made

    target = named(run.name)
    seen: Counter[tuple[str, str]] = Counter()
    for number, what, where in run.faults:
        fault = what.partition(":")[0], where
        seen[fault] += 1
        if seen[fault] <= _KEPT_EACH:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{run.name.replace(' ', '-')}-{number}").write_bytes(made(target, run.seed, number))
            print(f"  input {number}: {what} at {where}", flush=True)
    for (what, where), count in seen.items():
        print(f"  {count} times {what} at {where}", flush=True)


def options() -> argparse.Namespace:
    """What was asked for."""
    found = argparse.ArgumentParser()
    found.add_argument("--inputs", type=int, default=INPUTS)
    found.add_argument("--seed", type=int, default=1)
    found.add_argument("--only", nargs="*", default=())
    found.add_argument("--first", type=int, default=0)
    found.add_argument("--keep", type=Path, default=Path("fuzz-faults"))
    return found.parse_args()


def main() -> int:
    """Feed all targets and print the table."""
    chosen = options()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as home:
        os.environ |= {"FT_TUI_HOME": f"{home}/home", "HF_HOME": f"{home}/hf", "HF_HUB_OFFLINE": "1"}
        from tests.fuzz.targets import TARGETS

        targets = list(map(named, chosen.only)) or TARGETS
        whole = sum(target.weight for target in targets)
        print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, Python {platform.python_version()}, "
              + ", ".join(f"{name} {version(name)}" for name in _LIBRARIES))  # fmt: skip
        print(f"seed {chosen.seed}, inputs from number {chosen.first} on\n")
        print(f"{'target':<20}{'inputs':>10}{'uncaught':>10}{'seconds':>9}", flush=True)
        total = uncaught = 0
        for target in targets:
            count, start = -(-chosen.inputs * target.weight // whole), time.monotonic()
            run = Run(target.name, chosen.seed, Path(home))
            run.feed(chosen.first, count)
            total, uncaught = total + count, uncaught + len(run.faults)
            print(f"{target.name:<20}{count:>10}{len(run.faults):>10}{time.monotonic() - start:>9.0f}", flush=True)
            keep(run, chosen.keep)
        print(f"{'all':<20}{total:>10}{uncaught:>10}")
    return 1 if uncaught else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), Path(sys.argv[6]))
    else:
        sys.exit(main())
