"""A place in a row: a column, or a path into one such as `response.choices[0].message`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_LONGEST: Final = 1_000_000


def value_at(value: Mapping[str, object], column: str) -> object:
    """What a column or a path holds; None where there is nothing. A column whose own name has dots goes first.

    A text of JSON is read where a path leads into it.
    """
    if column in value:
        return value[column]
    found: object = value if column else None
    for name, index in _STEP.findall(column):
        found = _read(found)
        if name and isinstance(found, Mapping):
            found = found.get(name)
        elif index and isinstance(found, list) and int(index) < len(found):
            found = found[int(index)]
        else:
            return None
    return found


def root(column: str) -> str:
    """The column that a path begins with."""
    begin = _STEP.match(column)
    return begin[1] if begin is not None and begin[1] else column


def _read(value: object) -> object:
    if not isinstance(value, str) or value[:1] not in "[{" or not 1 < len(value) <= _LONGEST:
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
