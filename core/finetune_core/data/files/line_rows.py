"""Rows that stand on a line each, counted many at once."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import cast

from finetune_core.data.files.parse import names_if_sound, parse, quoted
from finetune_core.data.files.part_found import Found, Names
from finetune_core.data.files.row_offsets import Mark

_NAMES = 50


def take_lines(found: Found, block: bytes | bytearray, at: int, end: int, offset: int) -> None:
    """Count the whole lines between two places of a block, which begins at a byte of the file."""
    ends = _line_ends(block, at, end)
    with memoryview(block) as view:
        sound = [names_if_sound(view, before + 1, stop) for before, stop in pairwise([at - 1, *ends])]
    counted = Counter(sound)
    unsound = counted.pop(None, 0)
    named = cast("Counter[Names]", counted)
    slow = may_repeat(block, at, end, named)
    if ends and not slow and not unsound:
        found.first = Mark(1, 1, offset + at)
        found.take_many(named)
        found.lines += len(ends)
        return
    for begin, stop, names in zip([at, *(place + 1 for place in ends)], ends, sound, strict=False):
        found.lines += 1
        text = bytes(block[begin:stop])
        if text and not text.isspace():
            found.first = found.first or Mark(1, found.lines, offset + begin)
            if names is None or slow:
                _take_slowly(found, text, offset + begin)
            else:
                found.take_names(names)


def _take_slowly(found: Found, text: bytes, offset: int) -> None:
    parsed = parse(text)
    # Whether a bad row was cut off shows in its line end.
    found.take(parsed if isinstance(parsed, dict) else parse(text + b"\n"), found.lines, offset)


def _line_ends(block: bytes | bytearray, at: int, end: int) -> list[int]:
    ends: list[int] = []
    place = block.find(b"\n", at, end)
    while place >= 0:
        ends.append(place)
        place = block.find(b"\n", place + 1, end)
    return ends


def may_repeat(text: bytes | bytearray, begin: int, end: int, counted: Counter[Names]) -> bool:
    """Whether some row may have a name twice: the names stand in quotes more often than there are rows with them."""
    expected: Counter[str] = Counter()
    for names, rows in counted.items():
        for name in names:
            expected[name] += rows
    if len(expected) > _NAMES:
        return True
    return any(text.count(quoted(name), begin, end) > rows for name, rows in expected.items())
