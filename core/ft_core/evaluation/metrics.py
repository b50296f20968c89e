"""Measures of one answer, and what many of them say together."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from math import comb
from typing import NoReturn


def parse_json(text: str) -> object | None:
    """The JSON object or array that the whole text is (space around it aside); None for anything else.

    Strict: one value, no NaN or infinities, nothing before or after it; a bare string or number is not enough.
    """
    try:
        found = json.loads(text.strip(" \t\r\n"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) else None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def valid_json(text: str) -> bool:
    """Whether the whole text is one strict JSON object or array."""
    return parse_json(text) is not None


def json_like(text: str, reference: str) -> bool:
    """Whether the text is JSON as the reference is: an object with the same keys, or an array."""
    found, wanted = parse_json(text), parse_json(reference)
    if isinstance(wanted, dict):
        return isinstance(found, dict) and found.keys() == wanted.keys()
    return isinstance(found, list)


def right_fact(text: str, fact: str) -> bool:
    """Whether the text says the fact: as whole words, whatever its case, Unicode form (NFKC) and line breaks.

    Of a JSON answer the values count, not the keys. `7` is not said by `17`, `7.5` or `7th`.
    """
    wanted = _normal(fact)
    if not wanted:
        return False
    before = r"(?<![\w])" + (r"(?<!\d[.,])" if wanted[0].isdigit() else "")
    after = r"(?!\w)" + (r"(?![.,]\d)" if wanted[-1].isdigit() else "")
    return re.search(before + re.escape(wanted) + after, _normal(_said(text))) is not None


def exact(text: str, reference: str) -> bool:
    """Whether the answer is the reference, space around both aside."""
    return text.strip() == reference.strip()


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _said(text: str) -> str:
    found = parse_json(text)
    return text if found is None else " | ".join(_leaves(found))


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str):
        yield value
    else:
        yield json.dumps(value)


def share(flags: Iterable[bool]) -> float:
    """The share of true ones, 0 to 1. Raises ValueError when there are none at all."""
    known = list(flags)
    if not known:
        raise ValueError("a share of nothing")
    return sum(known) / len(known)


def chance_of_change(gained: int, lost: int) -> float:
    """How likely a change at least this one-sided is by chance: `gained` answers became right, `lost` became wrong.

    The exact two-sided form of McNemar's test (Psychometrika 12, 1947): a fair coin for each answer that changed.
    """
    changed = gained + lost
    tail = sum(comb(changed, count) for count in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / (1 << changed))
