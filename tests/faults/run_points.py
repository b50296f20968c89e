"""Builds the failing calls and tries every point in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def build(folder: Path) -> Path:
    """The library to preload, compiled with gcc. Raises FileNotFoundError where there is none."""
    library = folder / "fail_call.so"
    source = Path(__file__).with_name("fail_call.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-w", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def results(folder: Path, *faults: str) -> Iterator[dict[str, Any]]:
    """One result a fault, as `points.main` prints them."""
    command = [sys.executable, "-m", "tests.faults.points", str(folder), *faults]
    variables = {**os.environ, "LD_PRELOAD": str(build(folder)), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables, cwd=ROOT) as process:
        assert process.stdout is not None
        yield from (json.loads(line) for line in process.stdout)
    if process.returncode:
        raise RuntimeError(f"the points ended with {process.returncode}")
