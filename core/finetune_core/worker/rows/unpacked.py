"""A run whose rows were to be packed, and cannot be: it goes on with each row by itself, in steps of as many rows."""

from __future__ import annotations

from finetune_core.errors import problem
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.worker.report import Reporter
from finetune_core.worker.rows.dataset import Tokens, to_dataset

_PACKING, _ACCUMULATION = "data.packing", "training.accumulation"
_REASON = "tried on the model itself, packed rows would see each other"


def longest(recipe: Recipe, tokens: Tokens) -> int:
    """Tokens of the longest row a run may pack."""
    return min(max(map(len, tokens.input_ids)), recipe.data.max_length or 2**31)


def leave_unpacked(recipe: Recipe, tokens: Tokens, why: str, report: Reporter) -> Recipe:
    """The recipe without packing, said with its reason. Raises FtError where packing was no automatic choice."""
    if _PACKING not in recipe.reasons:
        raise problem(
            "rows cannot be packed for this model",
            where=_PACKING,
            why=f"tried on the model itself, {why}",
            remedy="set data.packing to auto or none",
        )
    report.alarm("rows_unpacked", f"rows are not packed: tried on the model itself, {why}")
    return unpacked(recipe, tokens)


def unpacked(recipe: Recipe, tokens: Tokens) -> Recipe:
    """The recipe without packing; an accumulation that was chosen automatically makes steps of as many rows as before.

    A micro-batch keeps its number of sequences, so that it needs no more memory than was planned.
    """
    rows_each = len(tokens) / len(to_dataset(tokens, recipe.data))
    values: dict[str, object] = {_PACKING: "none"}
    if _ACCUMULATION in recipe.reasons:
        values[_ACCUMULATION] = max(1, round((recipe.training.accumulation or 1) * rows_each))
    if "training.attention" in recipe.reasons:
        values["training.attention"] = "auto"
    found = with_values(recipe, values)
    # What was chosen automatically stays so: a copy of the recipe chooses anew.
    kept = {path: _REASON for path in values if path in recipe.reasons}
    return found.model_copy(update={"reasons": {**found.reasons, **kept}})
