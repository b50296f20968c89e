"""Rules that tie fields together, and changes to a recipe that report every bad value at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from finetune_core.errors import FtError, Problem
from finetune_core.recipe.explain import problems_of, unknown_field
from finetune_core.recipe.fields import AUTO, EMPTY, FieldGuide
from finetune_core.recipe.schema import ALL_LINEAR, GUIDES, Recipe
from finetune_core.recipe.yaml_caps import reason, refuse_tricks
from finetune_core.text import counted, one_line

# Longer than any value a person types; a prompt of a sample may be a page.
_LONGEST_TYPED = 64 * 1024
# Numbers as nearly all are typed; whatever else may be one is left to YAML.
_WHOLE: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_BROKEN: Final = re.compile(r"-?[0-9]{1,17}\.[0-9]{1,17}(?:e-[0-9]{1,2})?|[1-9]e-[0-9]", re.ASCII)


def check(recipe: Recipe, broken: frozenset[str] = frozenset()) -> tuple[Problem, ...]:
    """Every rule between fields that this recipe breaks; empty when it can be run.

    Rules that look at a `broken` field, one that could not be read, are left out.
    """
    asked = [rule for rule, fields in _RULES if broken.isdisjoint(fields)]
    return tuple(found for rule in asked if (found := rule(recipe)) is not None)


def _quantised_full(recipe: Recipe) -> Problem | None:
    if not recipe.quantization.packed or recipe.adapter.kind == "lora":
        return None
    return Problem(
        f"{recipe.quantization.method} needs an adapter",
        "adapter.kind",
        "quantised weights are frozen: without an adapter nothing could be trained",
        "set adapter.kind to lora, or quantization.method to none",
    )


def _epochs_and_steps(recipe: Recipe) -> Problem | None:
    if recipe.training.epochs is None or recipe.training.max_steps is None:
        return None
    return Problem(
        "both epochs and steps are given",
        "training.max_steps",
        "each of them sets the length of the run",
        "keep one: leave training.max_steps empty, or set training.epochs to auto",
    )


def _adapter_on_head(recipe: Recipe) -> Problem | None:
    targets = recipe.adapter.target_modules
    if isinstance(targets, str) and targets != ALL_LINEAR:
        return Problem(
            f"`{one_line(targets, 60)}` is no choice of layers",
            "adapter.target_modules",
            "a single word is only allowed for all-linear",
            f"give a list, such as [{one_line(targets, 40)}], or all-linear",
        )
    if isinstance(targets, list) and (not targets or "lm_head" in targets):
        return Problem(
            "the output head cannot take an adapter" if targets else "no layer is chosen",
            "adapter.target_modules",
            "the loss is fused with lm_head and never sees an adapter on it" if targets else "the list is empty",
            "leave lm_head out; all-linear covers every other linear layer",
        )
    return None


def _gpus_on_cpu(recipe: Recipe) -> Problem | None:
    if recipe.hardware.device != "cpu" or not recipe.hardware.gpus:
        return None
    return Problem(
        "GPUs are chosen for a CPU run",
        "hardware.gpus",
        "hardware.device is cpu",
        "empty hardware.gpus, or set hardware.device to cuda",
    )


def _nothing_held_out(recipe: Recipe) -> Problem | None:
    data = recipe.data
    if data.held_out is not None or data.held_out_share > 0 or recipe.evaluation.questions == 0:
        return None
    return Problem(
        "the result cannot be compared with the base",
        "data.held_out_share",
        "no rows are held out, so there are no questions for the verdict",
        "hold out a share such as 0.05, name a file in data.held_out, or set evaluation.questions to 0",
    )


def _mixed_in(recipe: Recipe) -> Problem | None:
    shares = recipe.data.mix
    wrong = [one_line(path, 60) for path, share in shares.items() if not 0 < share < 1]
    if not wrong and sum(shares.values()) < 1:
        return None
    return Problem(
        f"the share of {', '.join(wrong)} is not between 0 and 1" if wrong else "the shares leave no room for the rows",
        "data.mix",
        "each share is that of a file among all training rows, and together they have to stay below 1",
        "give shares such as 0.15",
    )


def _length_bounds(recipe: Recipe) -> Problem | None:
    least, most = recipe.data.min_characters, recipe.data.max_characters
    if least is None or most is None or least <= most:
        return None
    return Problem(
        "no row can be that short and that long",
        "data.max_characters",
        f"at least {counted(least, 'character is', 'characters are')} asked for, and at most {most}",
        "make data.max_characters the larger one, or clear one of the two",
    )


def _patience_for_nothing(recipe: Recipe) -> Problem | None:
    if recipe.evaluation.patience is None or recipe.data.held_out is not None or recipe.data.held_out_share > 0:
        return None
    return Problem(
        "early stopping needs held-out rows",
        "evaluation.patience",
        "nothing is held out, so there is no held-out loss to get better",
        "set data.held_out_share, such as 0.05, or leave evaluation.patience empty",
    )


# Each with the fields it looks at.
_RULES: tuple[tuple[Callable[[Recipe], Problem | None], tuple[str, ...]], ...] = (
    (_quantised_full, ("quantization.method", "adapter.kind")),
    (_epochs_and_steps, ("training.epochs", "training.max_steps")),
    (_adapter_on_head, ("adapter.target_modules",)),
    (_gpus_on_cpu, ("hardware.device", "hardware.gpus")),
    (_nothing_held_out, ("data.held_out", "data.held_out_share", "evaluation.questions")),
    (_patience_for_nothing, ("evaluation.patience", "data.held_out", "data.held_out_share")),
    (_mixed_in, ("data.mix",)),
    (_length_bounds, ("data.min_characters", "data.max_characters")),
)


def with_values(recipe: Recipe, values: Mapping[str, object]) -> Recipe:
    """A copy with these fields (dotted path -> value) changed; the reason of a changed field is dropped.

    Raises FtError naming every unknown path and every value out of range.
    """
    try:
        return Recipe.model_validate(laid_over(recipe, values))
    except ValidationError as error:
        raise FtError(problems_of(error, ".".join)) from error


def reopened(recipe: Recipe, fields: Iterable[str]) -> Recipe:
    """A copy with these fields on auto again (at their defaults, where there is no auto), without their reasons."""
    return with_values(recipe, {path: GUIDES[path].default for path in fields if path in GUIDES})


def laid_over(recipe: Recipe, values: Mapping[str, object]) -> dict[str, object]:
    """The recipe as plain values with these laid over it, not yet looked at; reasons of the changed ones are gone."""
    reasons = {path: reason for path, reason in recipe.reasons.items() if path not in values}
    data: dict[str, object] = recipe.model_dump() | {"reasons": reasons}
    for path, value in values.items():
        section, _, name = path.partition(".")
        target = data.get(section)
        if name and isinstance(target, dict) and section != "reasons":
            target[name] = value
        else:
            data[path] = value
    return data


def from_text(path: str, text: str) -> object:
    """What a user typed for one field, as a value: `2e-4`, `auto`, `true`, `[q_proj, v_proj]`; nothing is the default.

    Free text fields (paths, names, prompts) are taken as they stand; `none` and `null` empty a field that may be
    empty. Raises FtError for an unknown path or text that cannot be read; whether the value is in range is
    `with_values`' to say.
    """
    if path not in GUIDES:
        raise FtError(unknown_field(path, text))
    stripped = text.strip()
    if len(stripped) > _LONGEST_TYPED:
        why = f"it has {len(stripped):,} characters, and at most {_LONGEST_TYPED:,} are read"
        raise FtError(Problem(f"`{path}` cannot be read", path, why, f"shorten it. {GUIDES[path].help}"))
    if not stripped:
        return GUIDES[path].default
    if stripped in _words_for_none(GUIDES[path]):
        return None
    if GUIDES[path].kind in ("text", "choice"):
        return stripped
    # As YAML reads them, in a hundredth of the time: it is asked for every field of a form.
    if _WHOLE.fullmatch(stripped):
        return int(stripped)
    if _BROKEN.fullmatch(stripped):
        return float(stripped)
    try:
        refuse_tricks(stripped, path)
        return YAML(typ="safe", pure=True).load(stripped)
    except FtError as error:
        raise FtError([replace(found, where=path) for found in error.problems]) from error
    except (YAMLError, ValueError, RecursionError) as error:
        why = one_line(reason(error), 120)
        raise FtError(Problem(f"`{path}` cannot be read", path, why, f"give one value. {GUIDES[path].help}")) from error


def _words_for_none(guide: FieldGuide) -> tuple[str, ...]:
    if guide.takes_auto:
        return (AUTO,)
    return (EMPTY, "null") if guide.optional else ()


def parse_assignments(assignments: tuple[str, ...]) -> dict[str, object]:
    """`field=value` texts, as `--set` takes them, as values by path. Raises FtError with every bad one."""
    values, found = read_assignments(assignments)
    if found:
        raise FtError(found)
    return values


def read_assignments(assignments: tuple[str, ...]) -> tuple[dict[str, object], list[Problem]]:
    """The values by path that can be read, and the problems of the assignments that cannot."""
    values: dict[str, object] = {}
    found: list[Problem] = []
    for assignment in assignments:
        path, sign, text = assignment.partition("=")
        if not sign:
            shown = one_line(assignment, 60)
            found.append(Problem(f"`{shown}` sets nothing", "--set", "there is no `=` in it", "write field=value"))
            continue
        try:
            values[path.strip()] = from_text(path.strip(), text)
        except FtError as error:
            found.extend(error.problems)
    return values, found
