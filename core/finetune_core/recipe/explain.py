"""From pydantic's findings to words: every bad field at once, with its place, its reason and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError

from finetune_core.errors import Problem
from finetune_core.recipe.schema import GUIDES, SECTIONS, Recipe
from finetune_core.text import one_line

Place = Callable[[tuple[str, ...]], str]
_SHOWN_INPUT = 60


def problems_of(error: ValidationError, place: Place) -> tuple[Problem, ...]:
    """All problems in a validation error; `place` turns a path of keys into words such as `recipe.yaml:12`."""
    by_path: dict[tuple[str, ...], Any] = {}
    for found in error.errors(include_url=False):
        by_path.setdefault(field_path(found["loc"]), found)
    return tuple(_problem(path, found, place(path)) for path, found in by_path.items())


def field_path(location: Iterable[int | str]) -> tuple[str, ...]:
    """The keys of a location up to the field: pydantic adds list positions and the branches of unions."""
    keys = [str(part) for part in location]
    known = keys[:1] if keys and keys[0] not in SECTIONS else keys[:2]
    return tuple(known)


def _problem(path: tuple[str, ...], found: dict[str, Any], where: str) -> Problem:
    name = ".".join(path)
    if found["type"] == "string_unicode":
        remedy = "write it anew, as UTF-8"
        return Problem(
            f"a text of {f'`{name}`' if path else 'a key'} is not whole", where, found["msg"], remedy, field=name
        )
    if not path:
        return _no_sections(found["input"], where)
    if found["type"] in {"extra_forbidden", "invalid_key"}:
        what, why, remedy = f"unknown key `{one_line(name, _SHOWN_INPUT)}`", "no setting has this name", _nearest(path)
    else:
        what = f"`{name}` cannot be {_shown(found['input'])}"
        why, remedy = found["msg"].removeprefix("Value error, "), _remedy(name)
    return Problem(what, where, why, remedy, field=name)


def _shown(value: object) -> str:
    """The value in short; Python refuses to write out thousands of digits."""
    try:
        return one_line(repr(value), _SHOWN_INPUT)
    except ValueError:
        return "a number with thousands of digits"


def _no_sections(given: object, where: str) -> Problem:
    kind = "a list" if isinstance(given, list) else f"only `{one_line(str(given), _SHOWN_INPUT)}`"
    return Problem(
        f"the recipe is {kind}",
        where,
        "a recipe has sections, with their fields below them",
        "write it as `model:`, and below that, indented, `source: demo`; `ft-tui recipe new FILE` writes a whole one",
    )


def unknown_field(path: str, text: str) -> Problem:
    """What is wrong with `path=text`, where `path` is no field that can be set."""
    typed = one_line(f"{path}={text}", _SHOWN_INPUT)
    section = path.partition(".")[0]
    if path in SECTIONS:
        fields = ", ".join(SECTIONS[path].model_fields)
        return Problem(
            f"`{typed}` sets no field",
            path,
            f"{path} is a section; its fields are {fields}",
            f"name one of them, such as {path}.{next(iter(SECTIONS[path].model_fields))}=VALUE",
        )
    if section in {"version", "reasons"}:
        return Problem(f"`{typed}` cannot be set", path, f"the program writes `{section}` itself", "leave it out")
    close = difflib.get_close_matches(path, GUIDES, n=1)
    remedy = f"did you mean `{close[0]}`?" if close else _nearest(field_path(path.split(".")))
    return Problem(f"unknown key in `{typed}`", path, "no setting has this name", remedy)


def _nearest(path: tuple[str, ...]) -> str:
    known = list(SECTIONS[path[0]].model_fields) if len(path) > 1 else list(Recipe.model_fields)
    close = difflib.get_close_matches(path[-1], known, n=1)
    if close:
        return f"did you mean `{'.'.join((*path[:-1], close[0]))}`?"
    elsewhere = [name for name in GUIDES if name.endswith("." + path[-1])]
    if elsewhere:
        return f"did you mean `{elsewhere[0]}`?"
    return f"known here: {', '.join(known)}"


def _remedy(name: str) -> str:
    guide = GUIDES.get(name)
    if guide is None:
        return "give the fields of this section, one on each line"
    allowed = [" or ".join(guide.choices), " ".join(part for part in (guide.range, guide.unit) if part)]
    if guide.takes_auto:
        allowed.append("auto")
    wanted = ", or ".join(part for part in allowed if part)
    return f"give {wanted}. {guide.help}" if wanted else guide.help
