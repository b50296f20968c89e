"""The methods of training, each in a file of its own; `finetune_core.worker.methods` holds what needs the stack."""

from __future__ import annotations

from typing import Final

from finetune_core.data.rows import CanonicalRow
from finetune_core.errors import Problem
from finetune_core.methods.cpt import CPT
from finetune_core.methods.method import Method
from finetune_core.methods.sft import SFT
from finetune_core.recipe.fields import AUTO, FieldGuide
from finetune_core.recipe.schema import GUIDES, Recipe

METHODS: Final = {method.name: method for method in (SFT, CPT)}


def method_of(row: CanonicalRow) -> Method | None:
    """The method that trains on rows of this kind; None where none here does."""
    return next((method for method in METHODS.values() if isinstance(row, method.takes)), None)


def named(name: str) -> Method:
    """The method a recipe names; where it leaves that to the rows, and they are unknown, supervised fine-tuning."""
    return METHODS.get(name, SFT)


def refusal(name: str, row: CanonicalRow) -> Problem | None:
    """Why the method a recipe names cannot train on rows of this kind; None when it can, or is on auto."""
    fitting = method_of(row)
    if name == AUTO or fitting is None or fitting.name == name:
        return None
    asked = METHODS[name]
    return Problem(
        f"{asked.title} cannot train on these rows",
        "training.method",
        f"it takes {asked.rows}, and the rows are {fitting.rows}",
        f"set training.method to auto or {fitting.name}, or choose other rows",
        field="training.method",
    )


def without_effect(recipe: Recipe, name: str) -> tuple[Problem, ...]:
    """Warnings for fields that are set by hand although the run's method has no use for them."""
    method = METHODS[name]
    found = [guide for guide in GUIDES.values() if not used(guide, name) and recipe.get(guide.path) != guide.default]
    return tuple(
        Problem(
            f"{guide.path} has no effect",
            guide.path,
            f"the rows are {method.rows}, and {method.title} has no use for it",
            f"leave {guide.path} out",
            field=guide.path,
        )
        for guide in found
    )


def used(guide: FieldGuide, name: str | None) -> bool:
    """Whether a method uses a field of the recipe; while the method is not known, every field may be used."""
    return name is None or not guide.methods or name in guide.methods
