"""A new recipe from the one a run was started with."""

from __future__ import annotations

from ft_core.recipe.check import with_values
from ft_core.recipe.schema import GUIDES, Recipe


def as_new(recipe: Recipe) -> Recipe:
    """The same recipe with everything automatic again that was chosen automatically then."""
    return with_values(recipe, {path: GUIDES[path].default for path in recipe.reasons if path in GUIDES})
