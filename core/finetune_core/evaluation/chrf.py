"""chrF: how alike an answer and the row's own answer are, by the characters they share; for text in any script."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import lru_cache
from typing import Final

_ORDERS: Final = 6
_BETA: Final = 2
_SHARE_OF_PRECISION: Final = 1 + _BETA * _BETA


def chrf(text: str, reference: str) -> float:
    """chrF2 of one answer, 0 to 1 (Popovic, WMT 2015): the F score of n-grams of 1 to 6 characters, recall twice.

    Precision and recall are means over the orders that both texts are long enough for. Characters are code points
    of the composed form (NFC) without white space, so no script, accent or combining mark is dropped. Two empty
    texts are alike, an empty one and another are not.
    """
    if text == reference:
        return 1.0
    shares = [_overlap(one, other) for one, other in zip(_grams(text), _grams(reference), strict=True)]
    known = [(precision, recall) for precision, recall in shares if precision is not None and recall is not None]
    if not known:
        # Too short for any n-gram: they differ in white space only, or one is empty.
        return float(_letters(text) == _letters(reference))
    precision, recall = (sum(values) / len(known) for values in zip(*known, strict=True))
    below = _BETA * _BETA * precision + recall
    return _SHARE_OF_PRECISION * precision * recall / below if below else 0.0


def _overlap(found: Counter[str], wanted: Counter[str]) -> tuple[float | None, float | None]:
    given, needed = found.total(), wanted.total()
    if not given or not needed:
        return None, None
    common = (found & wanted).total()
    return common / given, common / needed


def _letters(text: str) -> str:
    return "".join(unicodedata.normalize("NFC", text).split())


@lru_cache(maxsize=1024)
def _grams(text: str) -> tuple[Counter[str], ...]:
    letters = _letters(text)
    return tuple(
        Counter(letters[place : place + order] for place in range(len(letters) - order + 1))
        for order in range(1, _ORDERS + 1)
    )
