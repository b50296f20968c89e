"""How far the closed form is off a traced training step: `python tests/bench/memory_error.py [--json FILE]`.

Every architecture the closed form knows, with LoRA, QLoRA and full fine-tuning, with and without checkpointing, from
512 to 16384 tokens; and on a CPU in float32. The trace itself is within 1 % of what the trainer allocates
(tests/core/worker/test_trace.py).
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.core.worker.test_trace import ARCHITECTURES, METHODS, config_of, error

Row = dict[str, Any]


def rows(lengths: list[int], kinds: list[str]) -> Iterator[Row]:
    """One measured configuration after another."""
    for kind, (method, values), checkpointing, length in itertools.product(
        kinds, METHODS.items(), (False, True), lengths
    ):
        asked = {**values, "training.activation_checkpointing": checkpointing, "data.max_length": length}
        off = error(config_of(kind), asked)
        yield {"model": kind, "method": method, "checkpointing": checkpointing, "tokens": length, "error": off}
    for length in lengths:
        asked = {"model.dtype": "float32", "data.max_length": length, "training.activation_checkpointing": False}
        off = error(config_of(kinds[0]), asked, "cpu")
        yield {"model": kinds[0], "method": "lora, CPU", "checkpointing": False, "tokens": length, "error": off}


def main() -> None:
    """Print the table, then its median and worst; write all of it to a file where one is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 4096, 16384])
    parser.add_argument("--models", nargs="+", default=list(ARCHITECTURES), choices=list(ARCHITECTURES))
    chosen = parser.parse_args()
    warnings.filterwarnings("ignore")
    found = []
    for row in rows(chosen.tokens, chosen.models):
        found.append(row)
        layout = "checkpointing" if row["checkpointing"] else ""
        print(f"{row['model']:12} {row['method']:9} {layout:13} {row['tokens']:6} tokens {100 * row['error']:+6.2f} %")
    off = sorted(abs(row["error"]) for row in found)
    summary = {
        "configurations": len(off),
        "median": statistics.median(off),
        "p90": off[int(0.9 * (len(off) - 1))],
        "worst": off[-1],
    }
    shown = ", ".join(f"{name} {100 * value:.2f} %" for name, value in summary.items() if name != "configurations")
    print(f"\n{len(off)} configurations: {shown}")
    if chosen.json:
        chosen.json.write_text(json.dumps({"summary": summary, "rows": found}, indent=1))


if __name__ == "__main__":
    main()
