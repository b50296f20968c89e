"""What advice is drawn from: the data in numbers, and the situation a recipe meets."""

from __future__ import annotations

from dataclasses import dataclass

from ft_core.hardware.look import Gpu, Hardware
from ft_core.models.facts import ModelFacts
from ft_core.recipe.schema import Recipe


@dataclass(frozen=True)
class Choice:
    """A value chosen automatically for a field of the recipe, with the reason in plain words."""

    field: str
    value: object
    reason: str


@dataclass(frozen=True)
class DataFacts:
    """The data in numbers. `rows` are for training, `held_out_rows` for measuring; `unusable` ones are in neither.

    `mixed` of the training rows come from each of the other files, in the order of the recipe.

    `token_lengths` are tokens of each training row and `longest` the most of them, when they were counted with the
    model's tokenizer. When they were not, `estimated_tokens` is a guess from the size of the texts, and `bound` a
    number of tokens no row can exceed, a token being a byte or more.
    """

    rows: int
    held_out_rows: int
    token_lengths: tuple[int, ...] | None
    longest: int | None
    estimated_tokens: int | None = None
    bound: int | None = None
    unusable: int = 0
    mixed: tuple[int, ...] = ()

    @property
    def mixed_in(self) -> int:
        """Training rows that come from other files than the source."""
        return sum(self.mixed)

    @property
    def tokens(self) -> int | None:
        """Tokens of all training rows: counted, else estimated, else None."""
        return sum(self.token_lengths) if self.token_lengths else self.estimated_tokens


@dataclass(frozen=True)
class Situation:
    """A recipe filled so far, with everything known about where, on what and from what it will train."""

    recipe: Recipe
    hardware: Hardware
    model: ModelFacts
    data: DataFacts | None
    device: str
    gpus: tuple[Gpu, ...]
    device_reason: str

    @property
    def free_memory(self) -> int:
        """Bytes the run may take on its device: of the fullest of its GPUs, or of the host."""
        if self.device == "cuda":
            return min(gpu.memory_free for gpu in self.gpus)
        return self.hardware.host.memory_available

    @property
    def memory_total(self) -> int:
        """Bytes of memory its device has."""
        if self.device == "cuda":
            return min(gpu.memory_total for gpu in self.gpus)
        return self.hardware.host.memory_total

    @property
    def memory_name(self) -> str:
        """The memory the run lives in, in words."""
        return "GPU memory" if self.device == "cuda" else "memory"
