"""A bounded part of `tests/bench/fuzz_parsers.py`; a reader that crashes here is told with the input's number."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz.planted import PLANTED
from tests.fuzz.runner import Target, Uncaught, feed, made
from tests.fuzz.targets import TARGETS

SECONDS_EACH = 0.8
BENCH = Path(__file__).resolve().parents[1] / "bench" / "fuzz_parsers.py"


def told(target: Target, seed: int, found: list[Uncaught]) -> str:
    """How to have each again."""
    return "\n".join(
        f"{fault.what} at {fault.where}: tests/bench/fuzz_parsers.py --only '{target.name}' --seed {seed} "
        f"--first {fault.number} --inputs 1"
        for fault in found
    )


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_reader_lets_anything_but_its_own_errors_out(target: Target, tmp_path: Path) -> None:
    seed = 0 if os.environ.get("CI") else int(time.time())
    count, found = feed(target, seed, range(20_000), tmp_path, until=time.monotonic() + SECONDS_EACH)
    assert count > 1
    assert not found, told(target, seed, found)


def test_an_input_is_known_by_its_seed_and_number() -> None:
    target = TARGETS[0]
    assert made(target, 1, 7) == made(target, 1, 7)
    assert len({made(target, 1, number) for number in range(100)}) > 90
    assert made(target, 1, 7) != made(target, 2, 7)


def test_exceptions_hangs_and_greed_are_found(tmp_path: Path) -> None:
    faulty = PLANTED[0]
    _, found = feed(faulty, 1, range(60), tmp_path, seconds=0.6, growth=2**27)
    said = {fault.data: fault.what for fault in found}
    assert said[b"raises"] == "IndexError: planted"
    assert said[b"slow"] == "too slow"
    assert said[b"large"].startswith("grew by")
    assert b"fine" not in said


def test_the_bench_counts_a_reader_that_takes_its_process_with_it(tmp_path: Path) -> None:
    numbers = range(40)
    deadly = sum(made(PLANTED[1], 1, number) == b"raises" for number in numbers)
    assert deadly
    command = [sys.executable, str(BENCH), "--only", "planted deaths", "--inputs", str(len(numbers)), "--keep"]
    done = subprocess.run([*command, str(tmp_path / "kept")], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.split("\n")[-2].split() == ["all", str(len(numbers)), str(deadly)]
    assert {path.read_bytes() for path in (tmp_path / "kept").iterdir()} == {b"raises"}
