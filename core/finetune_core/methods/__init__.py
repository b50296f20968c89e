"""The methods of training, each in a file of its own; `finetune_core.worker.methods` holds what needs the stack."""

from __future__ import annotations

from typing import Final

from finetune_core.data.rows import CanonicalRow
from finetune_core.errors import Problem
from finetune_core.methods.cpt import CPT
from finetune_core.methods.method import Method
from finetune_core.methods.sft import SFT
from finetune_core.recipe.fields import AUTO

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
