"""A recipe as it was given: what can be read of it, what is wrong with it, and where each field was written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from finetune_core.errors import FtError, Problem
from finetune_core.paths import expanded
from finetune_core.recipe.explain import Place, field_path, problems_of
from finetune_core.recipe.schema import GUIDES, SECTIONS, Recipe
from finetune_core.text import one_line


@dataclass(frozen=True)
class Given:
    """A recipe with the problems of reading it; a field that could not be read stands at its default.

    `broken` are these fields, and `places` says where fields were written (`mine.yaml:12`); a recipe that comes from
    no file has no places.
    """

    recipe: Recipe
    problems: tuple[Problem, ...] = ()
    broken: frozenset[str] = frozenset()
    places: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def whole(self) -> Recipe:
        """The recipe. Raises FtError with every problem of reading it."""
        if self.problems:
            raise FtError(self.problems)
        return self.recipe

    def placed(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """The problems, with the file and line of each that concerns a field written in a file."""
        return tuple(map(self._placed, problems))

    def _placed(self, found: Problem) -> Problem:
        if found.where in self.places:
            return replace(found, where=f"{self.places[found.where]} {found.where}", field=found.where)
        for path, value in _named_files(self.recipe):
            if path in self.places and found.where in _spellings(value):
                return replace(found, where=f"{self.places[path]} {path}: {found.where}", field=path)
        return found


def _named_files(recipe: Recipe) -> list[tuple[str, str]]:
    """Fields that name files or folders, each with a path it names."""
    named = []
    for path, guide in GUIDES.items():
        if guide.names_file and (value := recipe.get(path)):
            named += [(path, str(one)) for one in (value if isinstance(value, dict) else (value,))]
    return named


def _spellings(value: str) -> set[str]:
    """How a path of the recipe can be written in a problem."""
    path = Path(value)
    return {one_line(text, 300) for text in (value, str(path), str(expanded(path)), str(expanded(path).absolute()))}


def settle(data: object, place: Place) -> Given:
    """A recipe from plain values, as far as they make one; `place` says where a path of keys was written."""
    try:
        return Given(Recipe.model_validate(data))
    except ValidationError as error:
        bad = {field_path(found["loc"]) for found in error.errors(include_url=False)}
        problems = problems_of(error, place)
    recipe = Recipe.model_validate(_without(data, bad))
    return Given(recipe, problems, frozenset(path for path in GUIDES if _is_in(path, bad)))


def _is_in(field_name: str, bad: set[tuple[str, ...]]) -> bool:
    keys = tuple(field_name.split("."))
    return any(keys[: len(path)] == path for path in bad)


def _without(data: object, bad: set[tuple[str, ...]]) -> dict[str, object]:
    """The values without the keys that are bad; nothing of data that has no keys."""
    if not isinstance(data, dict):
        return {}
    kept = {key: value for key, value in data.items() if key in Recipe.model_fields and (key,) not in bad}
    return {
        key: {name: item for name, item in value.items() if isinstance(name, str) and (key, name) not in bad}
        if key in SECTIONS
        else value
        for key, value in kept.items()
    }
