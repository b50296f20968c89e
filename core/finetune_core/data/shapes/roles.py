"""Which column probably plays which part of a shape that someone chose by hand: by its name, else by what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from finetune_core.data.shapes.columns import ANSWERING, ASKING, CONVERSATIONS, LABELS, PAIRS, TEXTS, Value

_LISTS: Final = frozenset({"messages", "conversations", "history", "tools"})
# Names that a column of this part goes by, the likeliest first.
_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "messages": CONVERSATIONS,
    "conversations": CONVERSATIONS,
    "instruction": ASKING,
    "prompt": ASKING,
    "output": ANSWERING,
    "completion": ANSWERING,
    "chosen": tuple(better for better, _ in PAIRS),
    "rejected": tuple(worse for _, worse in PAIRS),
    "label": LABELS,
    "text": TEXTS,
}


def guess_mapping(needed: Sequence[str], optional: Sequence[str], columns: Sequence[str], row: Value) -> dict[str, str]:
    """A column for each needed part for which one is left, and for optional ones a column of the part's own name.

    Names count whatever their case; where they say nothing, columns are taken in their order, by what `row` holds.
    """
    lowered = {name.lower(): name for name in reversed(columns)}
    found: dict[str, str] = {}
    for part in needed:
        names = (part, *_NAMES.get(part, ()))
        found |= _first(part, [lowered[name] for name in names if name in lowered], found)
    # A column that goes by the name of one part is not another one.
    free = [name for name in columns if name.lower() not in (*needed, *optional)]
    for part in needed:
        if part not in found:
            found |= _first(part, [name for name in free if _fits(part, row.get(name))], found)
    for part in optional:
        if part not in found and part in lowered:
            found |= _first(part, [lowered[part]], found)
    return {part: found[part] for part in (*needed, *optional) if part in found}


def _first(part: str, names: Sequence[str], taken: dict[str, str]) -> dict[str, str]:
    free = next((name for name in names if name not in taken.values()), None)
    return {} if free is None else {part: free}


def _fits(part: str, value: object) -> bool:
    """Whether a value can be this part; a table's cell holds a list as text."""
    if part in _LISTS:
        return isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("["))
    if part == "label":
        return isinstance(value, bool) or str(value).strip() in {"0", "1"}
    return isinstance(value, str)
