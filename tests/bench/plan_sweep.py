"""Plans over models and card sizes that do not fit by their own account: `python tests/bench/plan_sweep.py`.

Six models of the catalogue on 193 sizes of free memory from 2 to 145 GiB, with rows of everyday lengths, with documents
and with rows not counted, everything on auto. Printed for each: how many plans fit with their margin, fit tightly, do
not fit though another layout would (a fault: the exit code is 1), and fit in no layout.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[2]))

from finetune_core.models.catalogue import from_catalogue
from finetune_core.models.facts import ModelFacts
from finetune_core.plan.advice.advice import advised
from finetune_core.plan.advice.margin import margin
from finetune_core.plan.memory.estimate import estimate
from finetune_core.plan.situation import DataFacts
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from tests.core.plan.cases import data
from tests.fakes import GIB, gpu, machine

MODELS: Final = (
    "meta-llama/Llama-3.2-3B-Instruct", "mistralai/Mistral-7B-Instruct-v0.3", "meta-llama/Llama-3.1-8B-Instruct",
    "Qwen/Qwen3-14B", "Qwen/Qwen3-32B", "meta-llama/Llama-3.3-70B-Instruct",
)  # fmt: skip
SIZES: Final = tuple(2 + 0.2 * step for step in range(120)) + tuple(26 + 119 * step / 72 for step in range(73))


def model(name: str) -> ModelFacts:
    """A model of the catalogue."""
    found = from_catalogue(name)
    assert found is not None
    return found


def everyday_rows() -> dict[str, DataFacts]:
    """Kinds of data: short rows and documents, counted in tokens, and rows of which no length is known."""
    chance = random.Random(0)
    short = tuple(chance.randint(120, 430) for _ in range(1000))
    documents = tuple(chance.randint(9_000, 16_500) for _ in range(300))
    return {
        "short rows": data(1000, 276, short),
        "documents of 16k": data(300, 14_000, documents),
        "not counted": data(1000, 276),
    }


def layouts(recipe: Recipe) -> Iterator[Recipe]:
    """Every layout of a filled recipe that a plan could have chosen instead."""
    batch = (recipe.training.micro_batch or 1) * (recipe.training.accumulation or 1)
    for method in ("none", "nf4"):
        for checkpointing in (True, False):
            for micro in (1, 2, 4, 8):
                for summed in {1, max(1, round(batch / micro))}:
                    yield with_values(
                        recipe,
                        {
                            "quantization.method": method,
                            "training.activation_checkpointing": checkpointing,
                            "training.micro_batch": micro,
                            "training.accumulation": summed,
                        },
                    )


def verdict(model: ModelFacts, facts: DataFacts, free: int) -> str:
    """`room`, `tight`, `fault` (another layout would fit) or `none fits`."""
    hardware = machine(gpu(free_gib=free / GIB))
    done = advised(Recipe(), hardware, model, facts)
    need = estimate(model, done, "cuda")
    assert need is not None
    if need.total <= free:
        return "room" if need.total <= free - margin(free) else "tight"
    others = (estimate(model, other, "cuda") for other in layouts(done))
    return "fault" if any(other is not None and other.total <= free for other in others) else "none fits"


def main() -> None:
    """Print the table."""
    faults = 0
    for kind, facts in everyday_rows().items():
        print(f"\n{kind:<36} {'room':>9} {'tight':>9} {'fault':>9} {'none fits':>9}")
        for name in MODELS:
            start = time.perf_counter()
            found = Counter(verdict(model(name), facts, int(size * GIB)) for size in SIZES)
            faults += found["fault"]
            cells = " ".join(f"{found[word]:>9}" for word in ("room", "tight", "fault", "none fits"))
            print(f"{name:<36} {cells}   {time.perf_counter() - start:.1f} s", flush=True)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
