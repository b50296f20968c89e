"""Whether a run fits into memory and onto the disk, and what would fit when it does not."""

from __future__ import annotations

from typing import Final

from finetune_core.errors import Problem
from finetune_core.hardware.cards import CARDS
from finetune_core.hardware.look import Gpu
from finetune_core.models.catalogue import catalogue
from finetune_core.plan.advice.batch import SMALLEST
from finetune_core.plan.advice.fits import verdicts
from finetune_core.plan.advice.float16 import without_bfloat16
from finetune_core.plan.advice.lengths import cut_by, longest_that_fits, rounded
from finetune_core.plan.advice.margin import margin, tight
from finetune_core.plan.memory.estimate import MemoryEstimate, estimate, length_of
from finetune_core.plan.situation import Situation
from finetune_core.recipe.check import with_values
from finetune_core.text import bytes_text, memory_text

_LENGTH = "data.max_length"
_SMALL_RANK = 8
_OFFERED_MODELS = 2
# What least memory is needed with: the smallest form of the base and the shortest rows that make sense.
_LEAST: dict[str, object] = {
    "adapter.kind": "lora", "quantization.method": "nf4", "adapter.rank": _SMALL_RANK, "data.max_length": 256,
}  # fmt: skip
# The one card of a size that is named: what one can rent or buy most easily.
_OFFERED_CARDS: Final = (
    "RTX 4060", "RTX 4070", "RTX 4080", "RTX 3090", "RTX 5090", "L40S", "RTX A6000", "A100 80 GB", "H100 NVL",
    "RTX PRO 6000", "H200", "B200", "B300",
)  # fmt: skip


def memory_warning(now: Situation, need: MemoryEstimate | None) -> Problem | None:
    """What is too large, by how much, who else is on the GPU, and what would fit; None when it fits."""
    free = now.free_memory
    if need is None or need.total <= free:
        return None
    others = _others(now.gpus)
    return Problem(
        f"the run needs about {memory_text(need.total)} of {now.memory_name}, and {memory_text(free)} are free",
        "hardware.gpus" if now.device == "cuda" else "hardware.device",
        f"{_largest(need)}{others}",
        _remedy(now, need),
    )


def tight_warning(now: Situation, need: MemoryEstimate | None) -> Problem | None:
    """How little of the free memory a run that fits leaves; None where that is the margin or more."""
    free = now.free_memory
    if need is None or not tight(need.total, free):
        return None
    spare, left = margin(free), free - need.total
    return Problem(
        f"it is tight: of {memory_text(free)} of free {now.memory_name} the run leaves {memory_text(left)}",
        "hardware.gpus" if now.device == "cuda" else "hardware.device",
        f"{memory_text(spare)} should stay free: what the allocator cannot use of its gaps, and what other programs"
        " take, is not known beforehand",
        "close what else uses it, or choose a smaller model, a smaller rank or shorter rows; where memory runs out, the"
        " run goes on with smaller micro-batches",
    )


def disk_problem(now: Situation) -> Problem | None:
    """The disk is too full for the checkpoints the recipe keeps and the result; None when it is not.

    Of a machine elsewhere it says only what they need there, where that is more than this one has.
    """
    host = now.hardware.host
    memory = estimate(now.model, now.recipe, now.device)
    if memory is None:
        return None
    result = memory.parts["adapter"] or memory.parts["weights"]
    # A checkpoint holds the optimiser's states beside the weights; the oldest goes when a newer one is complete.
    need = (result + memory.parts["optimiser"]) * (now.recipe.saving.keep + 1) + result
    if need <= host.disk_free:
        return None
    if now.hardware.elsewhere:
        return Problem(
            f"checkpoints and result need about {bytes_text(need)} of disk",
            "saving.keep",
            f"{now.recipe.saving.keep} checkpoints are kept, and one more is there while it is written; this machine"
            f" would have {bytes_text(host.disk_free)} free",
            "take a machine with a disk that holds them, or keep fewer checkpoints (saving.keep)",
        )
    return Problem(
        f"checkpoints and result need about {bytes_text(need)} of disk, and {bytes_text(host.disk_free)} are free",
        str(host.disk_path),
        f"{now.recipe.saving.keep} checkpoints are kept, and one more is there while it is written",
        "free some space, keep fewer checkpoints (saving.keep), or point FT_TUI_HOME at a larger disk",
    )


def _largest(need: MemoryEstimate) -> str:
    parts = sorted(need.parts.items(), key=lambda part: part[1], reverse=True)[:3]
    return "most of it is " + ", ".join(f"{name} ({memory_text(size)})" for name, size in parts)


def _others(gpus: tuple[Gpu, ...]) -> str:
    held = [
        f"{process.name or 'a process'} (pid {process.pid}{f', {process.user}' if process.user else ''})"
        f" holds {memory_text(process.memory_bytes)}"
        for gpu in gpus
        for process in gpu.processes
        if process.memory_bytes
    ]
    return "; on the GPU already: " + ", ".join(held[:3]) if held else ""


def _remedy(now: Situation, need: MemoryEstimate) -> str:
    """What would fit: other settings, another GPU, else another model."""
    settings = _would_fit(now)
    smallest = estimate(now.model, with_values(now.recipe, {**_smallest(now), **_LEAST}), now.device)
    device = _device_for((need if settings else smallest or need).total) if now.device == "cuda" else ""
    if settings:
        return f"{settings}; or {device} for the settings as they are" if device else settings
    words = f"choose a smaller model{_models(now)}: no setting makes this one fit"
    return f"{words}, and QLoRA of it takes {device}" if device else words


def _device_for(need: int) -> str:
    """The smallest card that takes it and has a margin, with the memory it is sold with; empty where none does."""
    roomy = (card for card in CARDS if need <= card.memory_bytes - margin(card.memory_bytes))
    offered = [card for card in roomy if card.name in _OFFERED_CARDS]
    smallest = min(offered, key=lambda card: card.memory, default=None)
    return "" if smallest is None else f"a GPU with {smallest.gb} GB ({smallest.model})"


def _models(now: Situation) -> str:
    """The largest models of the catalogue that have room here with LoRA or QLoRA, in words."""
    found = []
    for model in sorted(catalogue(), key=lambda model: -(model.parameters or 0)):
        found_here = verdicts(model, now.free_memory, now.device, bfloat16=without_bfloat16(now) is None)
        if any(one.fit == "room" for one in found_here if one.method != "full"):
            found.append(model.source)
        if len(found) == _OFFERED_MODELS:
            break
    return f", such as {' or '.join(found)}" if found else ""


def _would_fit(now: Situation) -> str:
    """What would fit in the smallest layout; shorter rows only where nothing does that leaves rows whole."""
    whole = [{**change, **uncut} for uncut in _uncut(now) for change in _smaller(now)]
    found = [words for change in whole if (words := _fitting(now, change))] or _cutting(now)
    return f"these would fit, with micro-batch 1 and checkpointing: {'; '.join(found[:3])}" if found else ""


def _smallest(now: Situation) -> dict[str, object]:
    """The layout that needs the least memory, with the effective batch of the recipe."""
    training = now.recipe.training
    return {**SMALLEST, "training.accumulation": (training.micro_batch or 1) * (training.accumulation or 1)}


def _fitting(now: Situation, change: dict[str, object]) -> str:
    """The change in words with what the run would need; empty where it would not fit."""
    need = estimate(now.model, with_values(now.recipe, {**_smallest(now), **change}), now.device)
    if need is None or need.total > now.free_memory:
        return ""
    words = " and ".join(f"{field} {value}" for field, value in change.items()) or "checkpointing, one at a time"
    return f"{words} (about {memory_text(need.total)})"


def _uncut(now: Situation) -> list[dict[str, object]]:
    """The limit of the recipe, and one that is shorter and cuts none of the rows, where they are known."""
    rows = now.data.row_tokens if now.data is not None else None
    longest = rounded(max(rows.lengths)) if rows is not None and rows.lengths else None
    shorter = longest is not None and longest < length_of(now.model, now.recipe)
    return [{}, {_LENGTH: longest}] if shorter else [{}]


def _cutting(now: Situation) -> list[str]:
    """The longest limit that fits, as the base is and in 4 bits, with the rows it would cut."""
    found = []
    packed = [one for one in _smaller(now) if one.get("quantization.method") == "nf4"]
    for change in [{}, *packed]:
        most = longest_that_fits(now, {**_smallest(now), **change}, length_of(now.model, now.recipe))
        if most is None:
            continue
        cut = cut_by(now.data, most) if now.data is not None else None
        words = _fitting(now, {**change, _LENGTH: most})
        found.append(words if cut is None else f"{words}, which cuts {cut.cut:,} of {cut.rows:,} rows")
    return found


def _smaller(now: Situation) -> list[dict[str, object]]:
    """Changes that save memory and cut no row, those that cost least first."""
    recipe = now.recipe
    changes: list[dict[str, object]] = [{}]
    lora: dict[str, object] = {}
    if recipe.adapter.kind == "none":
        lora = {"adapter.kind": "lora"}
        changes += [{"training.optimizer": "adamw_8bit"}, lora]
    if recipe.quantization.method != "nf4" and now.model.quantized is None:
        changes += [{**lora, "quantization.method": method} for method in ("int8", "nf4")]
    rank = recipe.adapter.rank_or_usual
    if recipe.adapter.kind == "lora" and rank > _SMALL_RANK:
        changes.append({"adapter.rank": _SMALL_RANK})
    return changes
