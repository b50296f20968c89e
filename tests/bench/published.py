"""The plan against what other projects measured: `python tests/bench/published.py [--rows]`.

published.json holds memory, speeds, fits and everyday situations that others published, with their settings and
sources. Printed: the error of memory and of speed by kind of stack, as it is and with what that stack keeps in memory
beside ours; whether what fitted fits and what ran out of memory does not; and what the plan advises in each situation
beside what experts say. `--rows` prints every point. Nothing is trained; it takes some seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from finetune_core.hardware.card_names import card_of
from finetune_core.hardware.look import Gpu, Hardware
from finetune_core.models.catalogue import from_catalogue
from finetune_core.models.facts import ModelFacts
from finetune_core.plan.advice.advice import situation
from finetune_core.plan.memory.estimate import MemoryEstimate, estimate
from finetune_core.plan.resolve import completed, resolve
from finetune_core.plan.situation import DataFacts, TokenCount
from finetune_core.plan.speed.estimate import Range, speed
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.text import memory_text
from tests.fakes import gpu, machine

Row = dict[str, Any]
_GIB = 2**30
# Of each row of the situations, in tokens: 90 to 330 words.
_SHORTEST, _LONGEST = 118, 434


@cache
def published() -> Row:
    """The points, as they are kept."""
    found: Row = json.loads(Path(__file__).with_suffix(".json").read_bytes())
    return found


def model_of(name: str) -> ModelFacts:
    """A model of the points, or of the catalogue."""
    shapes = published()["models"].get(name)
    if shapes is None:
        known = from_catalogue(name)
        assert known is not None, name
        return known
    return ModelFacts(source=name, kind="hub", dtype="bfloat16", has_chat_template=True, **shapes)


def recipe_of(row: Row) -> Recipe:
    """The settings that were published, in 16 bits."""
    return with_values(Recipe(), {"model.dtype": "bfloat16", **row["values"]})


def machine_of(name: str, free_gib: float | None = None) -> Hardware:
    """A machine with a card of this name."""
    card = card_of(name)
    assert card is not None, name
    one: Gpu = gpu(free_gib=free_gib or card.memory, capability=card.capability, name=name)
    return machine(one, disk_gib=10_000)


@dataclass(frozen=True)
class Compared:
    """A published figure and what the plan says; `explained` counts what that stack adds, `inside` a range."""

    row: Row
    said: float
    explained: float
    inside: bool = True

    @property
    def error(self) -> float:
        """How far the plan is off, as a share of what was published."""
        return float(self.said / self.row["published"] - 1)

    @property
    def explained_error(self) -> float:
        """The same with what that stack adds."""
        return float(self.explained / self.row["published"] - 1)


def memory() -> Iterator[Compared]:
    """Each published memory: allocated is held against what tensors take, reserved against the whole."""
    for row in published()["memory"]:
        model, recipe = model_of(row["model"]), recipe_of(row)
        need = estimate(model, recipe, "cuda")
        assert need is not None
        said = need.total if row["kind"] == "reserved" else need.peak
        unit = _GIB if row["unit"] == "GiB" else 10**9
        more = sum(_added(what, model, recipe, need) for what in row["adds"])
        yield Compared(row, said / unit, (said + more) / unit)


def _added(what: str, model: ModelFacts, recipe: Recipe, need: MemoryEstimate) -> float:
    """Bytes that another stack takes beside ours.

    15 bytes a logit are the slope of Unsloth's context lengths of 8B with transformers and FlashAttention 2 on 12 to 80
    GB; litgpt's chunks take about 10. torchtune names 15 % of the activations as what compiling saves.
    """
    assert model.vocabulary is not None
    assert model.hidden is not None
    assert model.layers is not None
    tokens = (recipe.training.micro_batch or 1) * (recipe.data.max_length or 0)
    match what:
        case "logits":
            return 15 * model.vocabulary * tokens
        case "logits, 10 bytes":
            return 10 * model.vocabulary * tokens
        case "float32 embedding and head":
            return 2 * model.vocabulary * model.hidden * (1 if model.tied else 2)
        case "offloaded checkpoints":
            return -2 * model.hidden * model.layers * tokens
        case "compiled activations":
            return -0.15 * need.parts["activations"]
        case "paged optimizer":
            return -need.parts["optimiser"]
        case "gradients one by one":
            return -need.parts["gradients"]
    raise AssertionError(what)


def speeds() -> Iterator[Compared]:
    """Each published speed against the plan's; one whose card is in doubt is left out."""
    for row in published()["speed"]:
        if "doubt" in row:
            continue
        said = speed_of(row)
        yield Compared(row, said.mid, said.mid, said.low <= row["published"] <= said.high)


def speed_of(row: Row) -> Range:
    """What the plan says of a published speed's settings."""
    lengths = (row["row_tokens"],) * 2000
    data = DataFacts(2000, 20, TokenCount.of(lengths))
    found = speed(situation(recipe_of(row), machine_of(row["gpu"]), model_of(row["model"]), data), None)
    assert found is not None
    return found.tokens_per_s


def verdicts() -> Iterator[tuple[Row, int, int]]:
    """Each published verdict, with the bytes that the plan says are needed, as that stack has them, and the card's."""
    for row in published()["verdicts"]:
        need, card = estimate(model_of(row["model"]), recipe_of(row), "cuda"), card_of(row["gpu"])
        assert need is not None
        assert card is not None
        more = sum(_added(what, model_of(row["model"]), recipe_of(row), need) for what in row.get("adds", ()))
        yield row, int(need.total + more), card.memory_bytes


def advice() -> Iterator[tuple[Row, str]]:
    """Each everyday situation, and what the plan advises in it, in words."""
    for row in published()["situations"]:
        count, most = row["rows"], row.get("row_tokens", _LONGEST)
        least = most * 9 // 10 if "row_tokens" in row else _SHORTEST
        lengths = tuple(least + index * 7919 % (most - least + 1) for index in range(count))
        data = DataFacts(count, count // 20, TokenCount.of(lengths, lengths[: count // 20]))
        found = completed(resolve(Recipe(), machine_of(row["gpu"], row["free_gib"]), model_of(row["model"]), data))
        recipe, training = found.recipe, found.recipe.training
        again = "checkpointing" if training.activation_checkpointing else "no checkpointing"
        said = [
            recipe.model.dtype, str(recipe.quantization.method),
            f"{training.micro_batch}x{recipe.data.max_length}", again, f"sum {training.accumulation}",
            f"r{recipe.adapter.rank_or_usual}", f"lr {training.learning_rate:g}", f"{training.epochs:g} epochs",
            *(["compiled"] if training.compile else []),
        ]  # fmt: skip
        if found.memory is not None:
            free = found.situation.free_memory
            fits = "" if found.memory.total <= free else ", does not fit"
            said.append(f"{memory_text(found.memory.total)} of {memory_text(free)}{fits}")
        said += [f"warns: {warning.what}" for warning in found.warnings if "consented" not in warning.what]
        yield row, ", ".join(said)


def by_stack(points: Iterable[Compared]) -> dict[str, list[Compared]]:
    """The points of each kind of stack, in the order of the table."""
    found: dict[str, list[Compared]] = {}
    for point in points:
        found.setdefault(point.row["stack"], []).append(point)
    return found


def _memory_table(points: list[Compared]) -> None:
    print(f"memory: {len(points)} points; error of the plan, and with what that stack adds")
    for stack, some in [*by_stack(points).items(), ("all", points)]:
        raw = sorted(point.error for point in some)
        explained = sorted(point.explained_error for point in some)
        print(
            f"  {stack:28} {len(some):3}  median {statistics.median(raw):+5.0%}  worst {max(raw, key=abs):+5.0%}   "
            f"explained {statistics.median(explained):+5.0%}  absolute {statistics.median(map(abs, explained)):4.0%}  "
            f"worst {max(explained, key=abs):+5.0%}"
        )


def _speed_table(points: list[Compared]) -> None:
    print(f"\nspeed: {len(points)} points; what the plan says over what was published, and how many within its range")
    for stack, some in [*by_stack(points).items(), ("all", points)]:
        ratios = sorted(1 + point.error for point in some)
        inside = sum(point.inside for point in some)
        print(
            f"  {stack:28} {len(some):3}  median {statistics.median(ratios):5.2f}"
            f"  {ratios[0]:5.2f} to {ratios[-1]:5.2f}   within {inside} of {len(some)}"
        )


def _print_rows(memories: list[Compared], rates: list[Compared]) -> None:
    print()
    for point in memories:
        row = point.row
        added = f"  {point.explained_error:+5.0%} with {', '.join(row['adds'])}" if row["adds"] else ""
        print(
            f"  {row['source'][:20]:20} {row['configuration'][:58]:58} {row['published']:6.2f} {row['unit']}"
            f" {point.said:6.2f} {point.error:+5.0%}{added}"
        )
    for point in rates:
        row = point.row
        inside = "" if point.inside else "  outside"
        print(
            f"  {row['source'][:20]:20} {row['configuration'][:44]:44} {row['published']:7,.0f} tokens/s"
            f" {point.said:7,.0f} {1 + point.error:5.2f}{inside}"
        )


def main() -> None:
    """Print the tables; with --rows every point too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", action="store_true")
    chosen = parser.parse_args()
    memories, rates = list(memory()), list(speeds())
    _memory_table(memories)
    _speed_table(rates)
    if chosen.rows:
        _print_rows(memories, rates)
    print("\nfits or not, as published, and what the plan says is needed of the card")
    for row, need, there in verdicts():
        right = "same" if (need <= there) == row["fits"] else "OTHERWISE"
        print(
            f"  {row['source']:16} {row['configuration']:26} {row['gpu']:11} {'fits' if row['fits'] else 'does not':9}"
            f" {need / _GIB:5.1f} of {there / _GIB:5.1f} GiB  {right}"
        )
    print("\nadvice")
    for row, said in advice():
        print(f"  {row['situation']}, {row['model'].rpartition('/')[2]}, {row['rows']:,} rows")
        print(f"    plan     {said}\n    experts  {row['experts']}")


if __name__ == "__main__":
    main()
