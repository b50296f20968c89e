"""What a run does otherwise than its recipe says since memory ran out; adapted.json, written by its supervisor.

The effective batch, and with it the order of rows and the curve of the loss, stays what the recipe makes it.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finetune_core.files import OddFile, read_capped, write_atomic
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir

_LARGEST = 64 * 1024


class Batch(BaseModel):
    """How a step's rows go through the model: so many at once, so many times, keeping activations or not."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    micro_batch: int = Field(ge=1)
    accumulation: int = Field(ge=1)
    activation_checkpointing: bool

    @classmethod
    def of(cls, recipe: Recipe) -> Batch:
        """As a resolved recipe has it."""
        training = recipe.training
        return cls(
            micro_batch=training.micro_batch or 1,
            accumulation=training.accumulation or 1,
            activation_checkpointing=bool(training.activation_checkpointing),
        )

    def smaller(self) -> Batch | None:
        """The next that needs less memory for the same step; None when nothing is left to give.

        First the largest micro-batch of at most half the rows that divides the effective batch, then activation
        checkpointing.
        """
        effective = self.micro_batch * self.accumulation
        for micro in range(self.micro_batch // 2, 0, -1):
            if effective % micro == 0:
                return self.model_copy(update={"micro_batch": micro, "accumulation": effective // micro})
        if not self.activation_checkpointing:
            return self.model_copy(update={"activation_checkpointing": True})
        return None

    def words(self) -> str:
        """For people: `micro-batch 2 x accumulation 8, activation checkpointing`."""
        more = ", activation checkpointing" if self.activation_checkpointing else ""
        return f"micro-batch {self.micro_batch} x accumulation {self.accumulation}{more}"


def read_adapted(run: RunDir) -> Batch | None:
    """What was adapted; None when nothing was, or the file is damaged."""
    try:
        return Batch.model_validate_json(read_capped(run.adapted_file, _LARGEST))
    except (OSError, OddFile, ValidationError):
        return None


def write_adapted(run: RunDir, batch: Batch) -> None:
    """Let every later start of the run use this. Raises OSError."""
    write_atomic(run.adapted_file, batch.model_dump_json())


def adapted(recipe: Recipe, run: RunDir) -> Recipe:
    """The recipe as the run is to carry it out."""
    batch = read_adapted(run)
    usual = Batch.of(recipe)
    if batch is None or batch.micro_batch * batch.accumulation != usual.micro_batch * usual.accumulation:
        return recipe
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=dict(batch))})
