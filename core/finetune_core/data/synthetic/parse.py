"""Rows out of what a model wrote: in a code fence, one object a line, with words around them, or cut off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

# Each failure may read the rest of the text: a hostile answer must not make it quadratic.
_FAILURES: Final = 200
_END_OF_THOUGHT: Final = "</think>"


def objects(text: str) -> list[dict[str, object]]:
    """Every JSON object at the top of the text or in a list there, in order; broken ones are passed over.

    An object whose only value is a list (`{"rows": [...]}`) counts as that list, unless it is a conversation; a bare
    list of turns counts as a conversation. A turn by itself, what is left of a row that was cut off, is passed over.
    """
    found = (item for value in _values(text) for item in _flat(value))
    return [item for item in found if isinstance(item, dict) and not _is_turn(item)]


def strings(text: str) -> list[str]:
    """Every text in the lists of the text: what a model gives when it is asked for a list of topics."""
    return [item for value in _values(text) for item in _flat(value) if isinstance(item, str)]


def _values(text: str) -> Iterator[object]:
    text = text.rpartition(_END_OF_THOUGHT)[2]
    decoder = json.JSONDecoder()
    at, failures = _next(text, 0), 0
    while at >= 0 and failures < _FAILURES:
        try:
            value, at = decoder.raw_decode(text, at)
            yield value
        except (ValueError, RecursionError):
            failures, at = failures + 1, at + 1
        at = _next(text, at)


def _next(text: str, start: int) -> int:
    found = [at for at in (text.find("{", start), text.find("[", start)) if at >= 0]
    return min(found, default=-1)


def _flat(value: object) -> Iterator[object]:
    if isinstance(value, dict) and len(value) == 1:
        only = next(iter(value.values()))
        if isinstance(only, list) and only and not _is_turn(only[0]):
            yield from _flat(only)
            return
    if not isinstance(value, list):
        yield value
    elif value and _is_turn(value[0]):
        yield {"messages": value}
    else:
        for item in value:
            yield {"messages": item} if isinstance(item, list) and item and _is_turn(item[0]) else item


def _is_turn(value: object) -> bool:
    return isinstance(value, dict) and bool(value.keys() & {"role", "from"})
