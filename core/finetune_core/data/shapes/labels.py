"""Columns that say of an answer whether it is a good one, and what their values mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

_GOOD: Final = frozenset(
    "1 1.0 true yes good up thumbs_up thumbs-up thumbsup positive accepted accept approved approve chosen desirable"  # noqa: SIM905
    " like liked pass passed correct right helpful upvote upvoted preferred".split()
) | {"thumbs up", "\N{THUMBS UP SIGN}"}
_BAD: Final = frozenset(
    "0 0.0 -1 -1.0 false no bad down thumbs_down thumbs-down thumbsdown negative rejected reject disapproved"  # noqa: SIM905
    " undesirable dislike disliked fail failed incorrect wrong unhelpful downvote downvoted declined denied".split()
) | {"thumbs down", "\N{THUMBS DOWN SIGN}"}
# Parts of the names that such columns have, and names of marks on a scale.
_NAMES: Final = frozenset(
    "label kto desirable thumb feedback status rating score accept approv correct vote like helpful good".split()  # noqa: SIM905
)
_SCALES: Final = frozenset({"rating", "stars", "score", "user_rating", "feedback_score"})
_MOST_VALUES: Final = 12


def grade(value: object) -> bool | None:
    """Whether a label calls an answer good; None where it says neither."""
    word = str(value).strip().casefold()
    return True if word in _GOOD else False if word in _BAD else None


def label_column(values: Sequence[Mapping[str, object]], taken: Iterable[str]) -> tuple[str, str] | None:
    """A column that may mark bad answers, and one of its values that would; None where there is none.

    It is called like one, and holds words for good and bad, or marks on a scale in whole numbers.
    """
    used = set(taken)
    for name in dict.fromkeys(name for value in values for name in value):
        if name in used or not any(part in name.lower() for part in (*_NAMES, *_SCALES)):
            continue
        found = {str(value[name]).strip() for value in values if isinstance(value.get(name), str | int | float)}
        if not 1 < len(found) <= _MOST_VALUES:
            continue
        marks = _numbers(found)
        if name.lower() in _SCALES and marks and max(marks) > 1:
            return name, min(found, key=float)
        grades = {one: grade(one) for one in found}
        bad = sorted(one for one, good in grades.items() if good is False)
        known = None not in grades.values() if marks else True in grades.values()
        if bad and known:
            return name, bad[0]
    return None


def _numbers(found: Iterable[str]) -> list[float]:
    """The values as whole numbers from -1 to 10; none where any is something else."""
    try:
        numbers = [float(one) for one in found]
    except ValueError:
        return []
    return numbers if all(number.is_integer() and -1 <= number <= 10 for number in numbers) else []
