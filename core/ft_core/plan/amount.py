"""Whether there are enough rows for what is to be trained on them."""

from __future__ import annotations

from typing import Final

from ft_core.errors import Problem
from ft_core.recipe.schema import Recipe

# A rule of thumb: each rank of an adapter can hold about as much as this many short rows teach.
_ROWS_FOR_A_RANK: Final = 20
_LOW_RANK: Final = 16


def rank_warning(recipe: Recipe, rows: int) -> Problem | None:
    """Said of a rank above 16, the default, for which there are fewer than 20 training rows for each of it."""
    rank = recipe.adapter.rank_or_usual
    if recipe.adapter.kind == "none" or rank <= _LOW_RANK or not 0 < rows < _ROWS_FOR_A_RANK * rank:
        return None
    # Ranks are powers of two by custom.
    enough = max(1 << max((rows // _ROWS_FOR_A_RANK).bit_length() - 1, 0), _LOW_RANK)
    return Problem(
        f"rank {rank} is high for {rows:,} rows",
        "adapter.rank",
        "so large an adapter can learn them by heart",
        f"rank {enough} learns as much from so few; watch that the held-out loss does not rise",
    )
