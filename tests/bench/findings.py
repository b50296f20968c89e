"""How long it takes to check every row, against parsing the same rows with json alone, and how much memory it takes.

    python tests/bench/findings.py [ROWS]

Prints one JSON object a line. `rows`: all checks of rows of 1 kB, sketches included, in processor time: microseconds
a row, and the ratio to `json.loads`. `same_again`: the comparison of all rows in the end, of which every tenth is
another row again or nearly; seconds, and the ratio to looking at the rows. `memory`: MB that the facts of the rows
take at most, in a process of its own, and by that of a million.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

ROWS = 20_000
WORDS = [
    f"{stem}{end}" for stem in ("riv", "th", "st", "wint", "br", "fi", "gard") for end in ("er", "one", "a", "in", "")
]


def lines(count: int) -> Iterator[str]:
    """Rows as JSON: prose of 1 kB, some with numbers and signs that are not ASCII; every tenth like the one before."""
    chance = random.Random(1)
    last = ["once"]
    for number in range(count):
        words = list(last) if number % 10 == 9 else [chance.choice(WORDS) for _ in range(220)]
        words[number % len(words)] = chance.choice(("1984,", "caf\u00e9", f"{number}", "end. And", "\u2014"))
        last = words
        question, answer = " ".join(words[:25]) + "?", " ".join(words[25:]) + "."
        yield json.dumps(
            {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        )


def peak() -> float:
    """The most memory this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def measure(count: int) -> None:
    """Check rows one by one, as a scan does, and print the figures."""
    import numpy as np
    import rensa  # noqa: F401 - loaded before memory is measured

    from finetune_core.data.checks.findings.checker import Checker
    from finetune_core.data.rows import Conversation, Message

    np.empty(0)
    before, checker, parsing, checking, size = peak(), Checker(), 0.0, 0.0, 0
    for number, line in enumerate(lines(count), start=1):
        start = time.process_time()
        value = json.loads(line)
        parsed = time.process_time()
        turns = tuple(Message(turn["role"], turn["content"]) for turn in value["messages"])
        checker.add(Conversation(number, turns))
        checking += time.process_time() - parsed
        parsing, size = parsing + parsed - start, size + len(line)
    start = time.perf_counter()
    report = checker.finish()
    seconds = time.perf_counter() - start
    held = peak() - before
    told = {found.kind.name: found.count for found in report.findings}
    for case in (
        {"case": "rows", "rows": count, "bytes_a_row": round(size / count), "us_a_row": round(checking / count * 1e6),
         "json_us_a_row": round(parsing / count * 1e6, 1), "ratio": round(checking / parsing, 1)},
        {"case": "same_again", "seconds": round(seconds, 2), "ratio": round(seconds / checking, 3), "found": told},
        {"case": "memory", "mb": round(held), "bytes_a_row": round(held * 1e6 / count)},
    ):  # fmt: skip
        print(json.dumps(case))


def main() -> None:
    """Measure in a process of its own, so that what was held before does not count."""
    if sys.argv[1:2] == ["--here"]:
        measure(int(sys.argv[2]))
        return
    count = sys.argv[1] if len(sys.argv) > 1 else str(ROWS)
    subprocess.run([sys.executable, __file__, "--here", count], check=True)


if __name__ == "__main__":
    main()
