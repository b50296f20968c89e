"""What looking at every row for findings costs, against parsing the same rows with json in the same run.

    python tests/bench/findings.py [--rows 5000]

Prints one JSON object: microseconds a row of about 1 kB for both, and their ratio.
"""

from __future__ import annotations

import argparse
import json
import random
import time

from ft_core.data.findings.checker import Checker
from ft_core.data.rows import Conversation, Message

WORDS = "river hill brook ship north plain winter stone field bridge tower market garden window letter silver".split()  # noqa: SIM905


def made_rows(count: int) -> list[Conversation]:
    """Rows of about 1 kB: a question of 20 words and an answer of 140, in sentences."""
    found = random.Random(1)

    def prose(words: int) -> str:
        said = [f"{found.choice(WORDS)}{found.randint(0, 99)}" for _ in range(words)]
        return ". ".join(" ".join(said[place : place + 10]).capitalize() for place in range(0, words, 10)) + "."

    return [
        Conversation(number, (Message("user", prose(20)), Message("assistant", prose(140))))
        for number in range(1, count + 1)
    ]


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    rows = made_rows(parser.parse_args().rows)
    lines = [json.dumps([[turn.role, turn.content] for turn in row.messages]) for row in rows]
    start = time.perf_counter()
    for line in lines:
        json.loads(line)
    parsed = time.perf_counter() - start
    checker = Checker()
    start = time.perf_counter()
    for row in rows:
        checker.add(row)
    checker.findings()
    checked = time.perf_counter() - start
    print(json.dumps({
        "rows": len(rows), "bytes_a_row": round(sum(map(len, lines)) / len(lines)),
        "us_a_row": round(checked / len(rows) * 1e6), "json_us_a_row": round(parsed / len(rows) * 1e6, 1),
        "ratio": round(checked / parsed, 1),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
