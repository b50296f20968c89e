"""What can be done with a model on a device: full fine-tuning, LoRA and QLoRA, each with a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from finetune_core.models.facts import ModelFacts
from finetune_core.plan.advice.float16 import demands_float32
from finetune_core.plan.advice.margin import margin, margin_of
from finetune_core.plan.memory.estimate import estimate
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe

Fit = Literal["room", "tight", "no"]
METHODS: Final[Mapping[str, dict[str, object]]] = {
    "full": {"adapter.kind": "none", "quantization.method": "none"},
    "lora": {"quantization.method": "none"},
    "qlora": {"quantization.method": "nf4"},
}
# A length most instruction data stays below; what fits only shorter rows than this fits tightly.
USUAL_LENGTH: Final = 2048
_SHORTEST: Final = 256
_LONGEST: Final = 131_072


@dataclass(frozen=True)
class Verdict:
    """Whether a method fits, and with what given up.

    `length` is the longest sequence in tokens with one row at a time (None where not even 256 fit), `checkpointing`
    whether activations must be computed again for it. `needs` are the bytes at that length, or of 256 tokens where
    nothing fits; `over` by how much those are more than there is.
    """

    method: str
    fit: Fit
    length: int | None
    checkpointing: bool
    needs: int
    over: int

    @property
    def words(self) -> str:
        """In a few letters: `32k` tokens at the longest, `~1k` where it is tight, `-12G` where that many GiB lack."""
        if self.length is None:
            return f"-{math.ceil(self.over / 2**30)}G"
        length = f"{self.length // 1024}k" if self.length >= 1024 else str(self.length)
        return length if self.fit == "room" else f"~{length}"


def verdicts(model: ModelFacts, free: int, device: str = "cuda", *, bfloat16: bool = True) -> tuple[Verdict, ...]:
    """Full, LoRA and QLoRA in `free` bytes; empty where the model's shapes are unknown.

    On a GPU without `bfloat16` a model that overflows in float16 is judged in float32.
    """
    dtype = "float32" if device == "cuda" and not bfloat16 and demands_float32(model.model_type) else "auto"
    methods = ((method, {**values, "model.dtype": dtype}) for method, values in METHODS.items())
    found = (_verdict(method, values, model, free, device) for method, values in methods)
    return tuple(verdict for verdict in found if verdict is not None)


def _verdict(method: str, values: Mapping[str, object], model: ModelFacts, free: int, device: str) -> Verdict | None:
    """With room: 2048 tokens without checkpointing, or 8192 with it, and the margin free. Else tightly, from 256 on."""
    smallest = _need(model, values, _SHORTEST, device, checkpointing=True)
    if smallest is None:
        return None
    if smallest > free:
        return Verdict(method, "no", None, True, smallest, smallest - free)
    spare = free - margin(free)
    longest = _longest(model, values, spare if smallest <= spare else free, device)
    whole = _need(model, values, min(USUAL_LENGTH, longest), device, checkpointing=False)
    kept_whole = with_values(Recipe(), {**values, "training.activation_checkpointing": False})
    kept = whole is not None and whole <= free - margin_of(kept_whole, free, device)
    most = model.context or _LONGEST
    roomy = longest >= min(4 * USUAL_LENGTH, most) or (kept and longest >= min(USUAL_LENGTH, most))
    roomy = roomy and smallest <= spare
    needs = _need(model, values, longest, device, checkpointing=True) or smallest
    return Verdict(method, "room" if roomy else "tight", longest, not kept, needs, 0)


def _longest(model: ModelFacts, values: Mapping[str, object], free: int, device: str) -> int:
    """The longest of 256, 512 ... tokens that fits with checkpointing, no longer than the model reads."""
    length = _SHORTEST
    while length * 2 <= min(model.context or _LONGEST, _LONGEST):
        need = _need(model, values, length * 2, device, checkpointing=True)
        if need is None or need > free:
            break
        length *= 2
    return length


def _need(
    model: ModelFacts, values: Mapping[str, object], length: int, device: str, *, checkpointing: bool
) -> int | None:
    asked = {
        "data.max_length": length,
        "training.micro_batch": 1,
        "training.activation_checkpointing": checkpointing,
        **values,
    }
    found = estimate(model, with_values(Recipe(), asked), device)
    return None if found is None else found.total


def order(model: ModelFacts, found: tuple[Verdict, ...], device: str) -> tuple[int, int]:
    """Sorts models by what fits, and among those by size: the largest first; on a CPU the smallest."""
    size = model.parameters or 0
    return -rank(found), size if device == "cpu" else -size


def rank(found: tuple[Verdict, ...]) -> int:
    """What sorts models by what fits: 2 where a method has room, 1 tightly, 0 not at all, -1 where it is unknown."""
    best = {"room": 2, "tight": 1, "no": 0}
    return max((best[verdict.fit] for verdict in found), default=-1)
