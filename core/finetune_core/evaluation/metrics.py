"""Measures of one answer, and which references are labels."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final, NoReturn

# A label is a word or a few of them, and each of them comes up often enough to stand apart from the others.
_LONGEST_LABEL: Final = 40
_MOST_LABELS: Final = 20
_ROWS_FOR_A_LABEL: Final = 3
_AROUND: Final = " .,;:!?\"'`*()[]{}<>\u3002\u201c\u201d\u2018\u2019"


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


def labels_of(references: Sequence[str]) -> tuple[str, ...]:
    """The labels, in order, when these references are a choice among few short ones; empty for any other rows.

    At least two and at most 20 of at most 40 characters, with three rows or more for each on average.
    """
    found = sorted({label(reference) for reference in references})
    few = 2 <= len(found) <= _MOST_LABELS and len(references) >= _ROWS_FOR_A_LABEL * len(found)
    short = all(0 < len(one) <= _LONGEST_LABEL and "\n" not in one for one in found)
    return tuple(found) if few and short else ()


def label(text: str) -> str:
    """An answer as a label: whatever its case, Unicode form (NFKC), spaces, and the punctuation around it."""
    return _normal(text).strip(_AROUND)
