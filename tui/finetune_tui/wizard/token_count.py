"""The rows of the recipe counted in tokens for the wizard. Blocking; run in threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from finetune_core.errors import FtError, Problem
from finetune_core.plan.situation import TokenCount
from finetune_core.recipe.schema import Recipe
from finetune_tui.wizard.data_news import Asked, TokensCounted
from finetune_tui.wizard.session import CountKey
from finetune_tui.wizard.token_link import TokenLink

_TELLING_SECONDS: Final = 0.5


def count_tokens(
    link: TokenLink,
    asked: Asked,
    recipe: Recipe,
    key: CountKey,
    post: Callable[[TokensCounted], object],
    cancelled: Callable[[], bool],
) -> None:
    """Count, and post how far that is twice a second and what it came to; nothing more once it is `cancelled`."""
    said_at = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at > _TELLING_SECONDS:
            said_at = time.monotonic()
            post(TokensCounted(key, None, f"{done} of {total} rows"))

    counted: TokenCount | None = None
    problems: tuple[Problem, ...] = ()
    try:
        counted = link.count(recipe, asked, progress, cancelled)
    except FtError as error:
        problems = error.problems
    if not cancelled():
        post(TokensCounted(key, counted, problems=problems))
