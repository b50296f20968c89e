"""A new recipe from the one a run was started with."""

from __future__ import annotations

from finetune_core.recipe.check import reopened, with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.status import ACTIVE
from finetune_core.runs.view.run_view import RunView
from finetune_core.runs.view.verdict import change_of
from finetune_core.text import one_line


def as_new(recipe: Recipe) -> Recipe:
    """The same recipe with everything automatic again that was chosen automatically then."""
    return reopened(recipe, recipe.reasons)


def refusal(view: RunView) -> str | None:
    """Why no run can be set up with the change that this one's verdict proposes; None where it can."""
    if view.state in ACTIVE | {"created"}:
        return "What to change next is said when the run has ended."
    change = change_of(view.verdict)
    if change is None:
        return "The verdict proposes no change." if view.verdict else "There is no verdict that could propose a change."
    return None if change.set else f"That is no change of the recipe: {one_line(change.what, 200)}."


def changed(view: RunView) -> tuple[Recipe, str]:
    """A new recipe from the run's, with the change its verdict proposes; and that change in words.

    Raises FtError where the recipe, or a value that was proposed, cannot be read.
    """
    change, recipe = change_of(view.verdict), as_new(view.recipe)
    if change is None:
        return recipe, "Nothing: the recipe is as it was."
    words = f"{one_line(change.what, 200)}: {one_line(change.why, 300)}"
    return with_values(recipe, change.set), f"{words[:1].upper()}{words[1:]}."
