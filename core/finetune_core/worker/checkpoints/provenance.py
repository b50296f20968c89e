"""What a checkpoint was made from, noted beside it, and compared before training goes on from it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from finetune_core.errors import FtError, Problem
from finetune_core.models.fingerprint import changed, fingerprint
from finetune_core.models.trust import consent_to
from finetune_core.recipe.schema import GUIDES, SECTIONS, Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.runs.upkeep.lifecycle import run_id
from finetune_core.text import one_line

# A library whose first number has changed may read a checkpoint's states otherwise, or compute another loss.
_REFUSED_WITH_ANOTHER_MAJOR: Final = ("torch", "transformers", "trl")
_LIBRARIES: Final = (*_REFUSED_WITH_ANOTHER_MAJOR, "peft", "bitsandbytes")


def notes(recipe: Recipe, run: RunDir, base: Path) -> dict[str, Any]:
    """What stands in a checkpoint's manifest of where it comes from."""
    return {"run": run_id(run), "recipe": _trained_by(recipe), "base": fingerprint(base), "versions": versions()}


def code_used(base: Path, tell: Callable[[str], None]) -> str | None:
    """The fingerprint of the code of the base's own that runs, with the day of the consent; None of none."""
    consent = consent_to(base)
    if consent is None:
        return None
    tell(
        f"this run executes code that comes with the model, consented to on {one_line(consent.day, 10)}: "
        f"{one_line(', '.join(consent.files), 300)} (SHA-256 {one_line(consent.fingerprint, 64)})"
    )
    return consent.fingerprint


def versions() -> dict[str, str]:
    """The libraries that read and write a checkpoint, with their versions."""
    return {name: importlib.metadata.version(name) for name in _LIBRARIES}


def _trained_by(recipe: Recipe) -> dict[str, Any]:
    """The values that decide what is trained, by their dotted paths.

    Of micro-batch and accumulation only the product is fixed: after a lack of memory the same rows go through in
    smaller parts.
    """
    dumped = recipe.model_dump(mode="json")
    flat = {f"{section}.{name}": value for section in SECTIONS for name, value in dumped[section].items()}
    kept = {path: value for path, value in flat.items() if not GUIDES[path].may_change}
    return {**kept, "effective batch": (recipe.training.micro_batch or 1) * (recipe.training.accumulation or 1)}


def check_recipe(recipe: Recipe, run: RunDir, earlier: Mapping[str, Any]) -> None:
    """Raises FtError, with every difference, when a recipe would learn otherwise than the checkpoint did.

    A field that the checkpoint does not know counts as its default: the program has become newer in between, and the
    run goes on as it began.
    """
    noted, now = earlier.get("recipe"), _trained_by(recipe)
    if not isinstance(noted, dict):
        return
    before = {**_trained_by(Recipe()), **noted}
    other = [path for path in now if before[path] != now[path]]
    if other:
        raise FtError([_edited(run, path, before[path], now[path]) for path in other])


def _edited(run: RunDir, path: str, before: object, now: object) -> Problem:
    return Problem(
        "the recipe is not what the run began with",
        f"{run.recipe_file.name} {path}",
        f"it was {one_line(str(before), 80)}, and is {one_line(str(now), 80)}: the steps done and those to come would "
        "not belong together",
        f"set it back to {one_line(str(before), 80)}, or start a new run with the changed recipe",
        field=path,
    )


def check_base(folder: Path, earlier: Mapping[str, Any]) -> None:
    """Raises FtError when the base's weights are not those the checkpoint was trained on."""
    before = earlier.get("base")
    if not isinstance(before, dict):
        return
    other = changed(before, fingerprint(folder))
    if other:
        raise FtError(
            Problem(
                "the base model is not the one the run began with",
                one_line(str(folder), 200),
                f"changed since the checkpoint was written: {', '.join(other[:5])}",
                "put the old model back (model.revision pins one of the hub), or start a new run",
            )
        )


def version_changes(earlier: Mapping[str, Any]) -> list[str]:
    """In words which libraries are others than those the checkpoint was written with.

    Raises FtError where a major version differs of a library that decides how a checkpoint is read.
    """
    before, now = earlier.get("versions"), versions()
    if not isinstance(before, dict):
        return []
    other = {name: str(was) for name, was in before.items() if name in now and was != now[name]}
    refused = [name for name, was in other.items() if name in _REFUSED_WITH_ANOTHER_MAJOR and _major(was, now[name])]
    if refused:
        raise FtError([_other_major(name, other[name], now[name]) for name in refused])
    return [f"{name} {was} (now {now[name]})" for name, was in other.items()]


def _major(before: str, now: str) -> bool:
    return before.partition(".")[0] != now.partition(".")[0]


def _other_major(name: str, before: str, now: str) -> Problem:
    return Problem(
        f"the checkpoint was written with {name} {before}",
        name,
        f"{now} is installed, and another major version may read it otherwise",
        f'install the one it was written with (pip install "{name}=={before}"), or start a new run',
    )
