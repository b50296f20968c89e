"""What the plan says of memory and speed on a GPU, and what comes: `python tests/bench/gpu_predictions.py`.

Random Llamas of 1B and 8B with LoRA, QLoRA and full fine-tuning, a few steps of packed rows each, in a fresh home
(nothing is remembered of earlier runs). Printed: predicted over measured peak of the memory that tensors take, and of
tokens a second; `--models 1B` and `--json FILE` as in against_trl.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench.against_trl import LENGTH, SHAPES, make_model, make_rows, prepared, rate, worker

_LORA: Final[dict[str, Any]] = {"quantization.method": "none"}
_CHECKPOINTING: Final[dict[str, Any]] = {"training.activation_checkpointing": True}
WAYS: Final[dict[str, dict[str, Any]]] = {
    "LoRA": _LORA,
    "LoRA, checkpointing": {**_LORA, **_CHECKPOINTING},
    "QLoRA": {"quantization.method": "nf4"},
    "QLoRA, checkpointing": {"quantization.method": "nf4", **_CHECKPOINTING},
    "full": {"adapter.kind": "none"},
}


def measure(name: str, way: str, folder: Path, rows: Path) -> dict[str, Any]:
    """One run; what was said of it, and what came."""
    layout = {
        "training.micro_batch": 4, "training.accumulation": 1, "training.activation_checkpointing": False,
        "data.packing": "bfd", "hardware.device": "cuda", **WAYS[way],
    }  # fmt: skip
    plan = prepared(folder, rows, LENGTH["cuda"], layout)
    assert plan.memory is not None
    assert plan.speed is not None
    found = worker(plan.recipe)
    said = plan.speed.tokens_per_s
    row = {
        "model": name, "way": way, "peak_said": plan.memory.peak, "peak": found["peak"],
        "tokens_per_s_said": [said.low, said.mid, said.high], "tokens_per_s": rate(found),
        "share_of_limit": rate(found) / plan.speed.limit,
    }  # fmt: skip
    print(
        f"{name:3} {way:21} peak {found['peak'] / 2**30:6.2f} GiB, said {row['peak_said'] / row['peak']:5.2f} of it; "
        f"{row['tokens_per_s']:9,.0f} tokens/s, said {said.mid / row['tokens_per_s']:5.2f} "
        f"({said.low / row['tokens_per_s']:.2f}-{said.high / row['tokens_per_s']:.2f}) of it",
        flush=True,
    )
    return row


def main() -> None:
    """Measure each way on each model; full fine-tuning only where it fits on one card of 80 GB."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=["1B", "8B"], default=["1B", "8B"])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    results = []
    for name in chosen.models:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["FT_TUI_HOME"] = str(Path(folder) / "home")
            model = Path(folder) / "model"
            for made in (Path(os.environ["FT_TUI_HOME"]), model):
                made.mkdir()
            make_model(model, SHAPES[name], gpu=True)
            rows, _ = make_rows(model, LENGTH["cuda"])
            ways = [way for way in chosen.ways if name == "1B" or way != "full"]
            results += [measure(name, way, model, rows) for way in ways]
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
