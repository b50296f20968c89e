"""Rows chosen by what they say and how much: the filters of a recipe, each named in the run's record."""

from __future__ import annotations

from finetune_core.data.rows import CanonicalRow, passages
from finetune_core.errors import Problem
from finetune_core.recipe.schema import Data

# Each filter of the recipe, with the reason under which a row it leaves out is recorded.
FILTERS = {
    "data.only": "filter-only",
    "data.without": "filter-without",
    "data.min_characters": "filter-short",
    "data.max_characters": "filter-long",
}


def filter_reason(row: CanonicalRow, data: Data) -> str:
    """Which filter of the recipe leaves a row out, as one of `FILTERS`' reasons; empty when none does."""
    if not _set(data):
        return ""
    texts = [part.text for part in passages(row)]
    length = sum(map(len, texts))
    if data.min_characters is not None and length < data.min_characters:
        return "filter-short"
    if data.max_characters is not None and length > data.max_characters:
        return "filter-long"
    text = "\n".join(texts).casefold()
    if data.only is not None and data.only.casefold() not in text:
        return "filter-only"
    return "filter-without" if data.without is not None and data.without.casefold() in text else ""


def nothing_left(name: str, rows: int, data: Data) -> Problem:
    """A file without one row to train on: it has none, or the filters leave none of its `rows`."""
    if not rows:
        return Problem("there are no rows", name, "the file is empty", "choose a file with rows")
    named = _set(data)
    return Problem(
        "the filters leave no row",
        named[0] if named else "data.source",
        f"{'the one row does not pass' if rows == 1 else f'none of the {rows} rows passes'} {' and '.join(named)}",
        "change or clear the filters",
    )


def _set(data: Data) -> list[str]:
    """The fields of the recipe that filter rows."""
    return [path for path in FILTERS if getattr(data, path.removeprefix("data.")) is not None]
