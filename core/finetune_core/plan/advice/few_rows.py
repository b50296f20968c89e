"""Whether there are enough rows for what is to be trained, and judged, on them."""

from __future__ import annotations

from typing import Final

from finetune_core.errors import Problem
from finetune_core.evaluation.statistics import smallest_gain
from finetune_core.methods import named
from finetune_core.recipe.schema import Recipe
from finetune_core.text import counted

# A rule of thumb: each rank of an adapter can hold about as much as this many short rows teach.
_ROWS_FOR_A_RANK: Final = 20
# So many short rows; fewer long ones teach as much.
_TOKENS_FOR_A_RANK: Final = 5_000
_LOW_RANK: Final = 16


def rank_warning(recipe: Recipe, rows: int, tokens: int | None = None) -> Problem | None:
    """Said of a rank above 16, the default, for which each of it has fewer than 20 training rows and 5,000 tokens."""
    rank = recipe.adapter.rank_or_usual
    if (tokens or 0) >= _TOKENS_FOR_A_RANK * rank:
        return None
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


def verdict_warning(recipe: Recipe, held_out: int) -> Problem | None:
    """Said where so few held-out rows will be answered that no verdict can come of them, whatever the answers are.

    `held_out` rows are there; nothing is said of none at all, which is somebody's choice.
    """
    # Of raw text, and with 0 questions, every held-out row is measured.
    questions = recipe.evaluation.questions if named(recipe.training.method).answers else 0
    judged = min(held_out, questions or held_out)
    if not judged or smallest_gain(judged, 0) is not None:
        return None
    fewest = next(rows for rows in range(judged, 100) if smallest_gain(rows, 0) is not None)
    rows = counted(judged, "held-out row")
    few_questions = questions == judged < held_out
    return Problem(
        f"{rows} will be answered, too few to tell whether the result is better",
        "evaluation.questions" if few_questions else "data.held_out_share",
        f"below {fewest} rows no change of an answer can be distinguished from chance",
        f"set it to {fewest} or more, better 100"
        if few_questions
        else "hold out a larger share, or name a file of rows in data.held_out; 100 rows show most changes",
    )
