"""A recipe from a file, with the changes of the command line laid over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from finetune_core.errors import FtError
from finetune_core.recipe import yaml_io
from finetune_core.recipe.check import laid_over, read_assignments
from finetune_core.recipe.read_recipe import Given, settle
from finetune_core.recipe.schema import Recipe


def read(path: Path, assignments: tuple[str, ...] = ()) -> Given:
    """The recipe in a file, with `field=value` texts over it, and the problems of both.

    Raises FtError for a file that cannot be read or is not YAML, together with what is wrong with the assignments.
    """
    values, wrong = read_assignments(assignments)
    try:
        given = yaml_io.read(path)
    except FtError as error:
        raise FtError([*error.problems, *wrong, *_changed(Given(Recipe()), values).problems]) from error
    changed = _changed(given, values)
    return replace(changed, problems=(*given.problems, *wrong, *changed.problems))


def _changed(given: Given, values: Mapping[str, object]) -> Given:
    """The recipe with these fields changed; they are no longer those of the file."""
    changed = settle(laid_over(given.recipe, values), ".".join)
    return replace(
        changed,
        broken=(given.broken - values.keys()) | changed.broken,
        places={path: place for path, place in given.places.items() if path not in values},
    )
