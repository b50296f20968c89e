"""How a large data file is opened and scanned, against `datasets.load_dataset` on the same file in the same run.

    python tests/bench/open_data.py [--megabytes 1000] [--folder /tmp] [--huge 10]

Prints one JSON object a line, each with our figure, theirs, and their ratio. `first_page`: seconds until the first 100
rows are there, by a process that has its libraries loaded. `scan`: MB/s of parsing every row, against loading alone
(into an empty cache). `memory`: the most memory held meanwhile, in MB, by all processes together. `jump`: seconds to
the last row, before and after the scan. `check`: rows a second that are looked at for findings, by all cores against
one process. `scan rows.csv` and the like: MB/s in other containers, a fifth as large. `huge`: the first page of a file
of many GB against that of 1 MB.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROUNDS = 5
_LOAD = """
import sys, time
import datasets
datasets.disable_progress_bars()
start = time.perf_counter()
kind = "csv" if sys.argv[1].endswith(".csv") else "json"
rows = datasets.load_dataset(kind, data_files=sys.argv[1], split="train", cache_dir=sys.argv[2])
rows[:100]
print(time.perf_counter() - start)
"""
_PAGE = """
import time
from finetune_core.data.files.open import open_rows
import sys
start = time.perf_counter()
rows = open_rows(sys.argv[1]).first(100)
assert len(rows) == 100 and rows[-1].value
print(time.perf_counter() - start)
"""
_SCAN = """
import sys, time
from finetune_core.data.scan.scan import scan
start = time.perf_counter()
found = scan(sys.argv[1])
print(time.perf_counter() - start, found.rows, found.bad)
"""

_CHECK = """
import sys, time
from finetune_core.data.checks.check import check
start = time.perf_counter()
report = check(sys.argv[1], processes=int(sys.argv[2]) or None)
print(time.perf_counter() - start, report.rows)
"""


def write_rows(path: Path, size: int) -> None:
    """Conversations of one to four exchanges, one in four with characters beyond ASCII; the same every time."""
    chance = random.Random(7)
    sentence = "the model learns from what it is shown and not from what was meant"
    plain = [*sentence.split(), "\n", '"quoted"', "12.5"]
    other = [*plain, "zürich", "東京", "naïve", "—"]

    def text(words: list[str]) -> str:
        return " ".join(chance.choices(words, k=chance.randint(5, 120)))

    block = []
    while sum(map(len, block)) < min(size, 8 * 2**20):
        words = other if len(block) % 4 == 0 else plain
        roles = ["user", "assistant"] * chance.randint(1, 4)
        turns = [{"role": role, "content": text(words)} for role in roles]
        block.append(json.dumps({"id": f"{len(block):08d}", "messages": turns}, ensure_ascii=False).encode() + b"\n")
    whole = b"".join(block)
    with path.open("wb") as stream:
        for _ in range(max(1, round(size / len(whole)))):
            stream.write(whole)


def run(script: str, *arguments: str) -> tuple[list[float], float]:
    """What a fresh process prints, and the most memory it and its children held, in MB (shared pages shared out)."""
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True)
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(psutil.Process(process.pid), peak))
    watcher.start()
    output, _ = process.communicate()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"a measured process ended with {process.returncode}")
    return [float(figure) for figure in output.split()], peak[0]


def _watch(root: psutil.Process, peak: list[float]) -> None:
    while root.is_running():
        held = 0
        try:
            for process in [root, *root.children(recursive=True)]:
                held += process.memory_full_info().pss
        except (psutil.Error, OSError):
            if not root.is_running():
                return
        peak[0] = max(peak[0], held / 1e6)
        time.sleep(0.02)


def timed(work: Callable[[], object]) -> float:
    """Seconds a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(name: str, ours: float, theirs: float, **more: float) -> None:
    """Print one line."""
    figures = {key: round(value, 4) for key, value in more.items()}
    print(json.dumps({"case": name, "ours": round(ours, 4), "baseline": round(theirs, 4),
                      "ratio": round(ours / theirs, 4), **figures}), flush=True)  # fmt: skip


def bench(path: Path, folder: Path) -> None:
    """One file, by both."""
    from finetune_core.data.files.open import open_rows
    from finetune_core.data.scan.scan import cached, scan

    size = path.stat().st_size
    (loaded,), load_memory = run(_LOAD, str(path), str(folder / "cache"))
    page = sorted(run(_PAGE, str(path))[0][0] for _ in range(ROUNDS))[ROUNDS // 2]
    compare("first_page", page, loaded)
    file = open_rows(str(path))
    (seconds, rows, bad), scan_memory = run(_SCAN, str(path))
    compare("scan", size / seconds / 1e6, size / loaded / 1e6, megabytes=size / 1e6, rows=rows, bad=bad)
    compare("memory", scan_memory, load_memory)
    before = timed(lambda: file.first(1, start=int(rows)))
    file = open_rows(str(path))
    again = timed(lambda: scan(str(path), file=file))
    assert cached(file) is not None
    compare("jump", timed(lambda: file.first(1, start=int(rows))), before)
    compare("second_scan", again, seconds)


def bench_check(path: Path) -> None:
    """Every row looked at for findings: by all cores against one process, and the most memory held."""
    (one, rows), _ = run(_CHECK, str(path), "1")
    (all_cores, _), memory = run(_CHECK, str(path), "0")
    compare("check", rows / all_cores, rows / one, rows=rows, memory_MB=memory, megabytes=path.stat().st_size / 1e6)


def bench_containers(folder: Path, megabytes: int) -> None:
    """The same rows in other containers, scanned, against loading them."""
    write_rows(folder / "plain.jsonl", megabytes * 10**6)
    lines = (folder / "plain.jsonl").read_bytes().splitlines()
    with gzip.open(folder / "rows.jsonl.gz", "wb", compresslevel=6) as packed:
        packed.write(b"\n".join(lines))
    (folder / "rows.json").write_bytes(b"[" + b",\n".join(lines) + b"]")
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["instruction", "output"])
        table.writerows([turn["content"] for turn in json.loads(line)["messages"][:2]] for line in lines)
    for name in ("rows.json", "rows.csv", "rows.jsonl.gz"):
        path = folder / name
        # Packed rows are counted by the bytes they unpack to.
        size = (folder / "plain.jsonl" if name.endswith(".gz") else path).stat().st_size
        (loaded,), _ = run(_LOAD, str(path), str(folder / f"cache-{name}"))
        (seconds, rows, bad), memory = run(_SCAN, str(path))
        compare(f"scan {name}", size / seconds / 1e6, size / loaded / 1e6, rows=rows, bad=bad, memory_MB=memory)


def bench_huge(folder: Path, gigabytes: int) -> None:
    """The first page of a huge file, made by repeating a block."""
    small, huge = folder / "small.jsonl", folder / "huge.jsonl"
    write_rows(small, 10**6)
    block = small.read_bytes() * 100
    with huge.open("wb") as stream:
        for _ in range(gigabytes * 10**9 // len(block)):
            stream.write(block)
    ours, theirs = (sorted(run(_PAGE, str(path))[0][0] for _ in range(ROUNDS))[ROUNDS // 2] for path in (huge, small))
    compare("huge", ours, theirs, gigabytes=huge.stat().st_size / 1e9)
    (seconds, rows, _), memory = run(_SCAN, str(huge))
    figures = {"case": "huge_scan", "MB/s": huge.stat().st_size / seconds / 1e6, "memory_MB": memory, "rows": rows}
    print(json.dumps({key: round(value) if isinstance(value, float) else value for key, value in figures.items()}))


def main() -> None:
    """All of them."""
    options = argparse.ArgumentParser()
    options.add_argument("--megabytes", type=int, default=1000)
    options.add_argument("--huge", type=int, default=0, help="gigabytes of a huge file; 0 leaves it out")
    options.add_argument("--folder", default=None)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        os.environ |= {"FT_TUI_HOME": str(folder / "home"), "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1"}
        write_rows(folder / "rows.jsonl", chosen.megabytes * 10**6)
        bench(folder / "rows.jsonl", folder)
        bench_check(folder / "rows.jsonl")
        bench_containers(folder, max(1, chosen.megabytes // 5))
        if chosen.huge:
            bench_huge(folder, chosen.huge)


if __name__ == "__main__":
    main()
