"""Rows parted into training and held out, so that what is measured was not trained on."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Final, TypeVar

from finetune_core.data.rows import CanonicalRow, Conversation, Text, passages

T = TypeVar("T", bound=CanonicalRow)
NO_GROUPS: Mapping[int, Hashable] = {}
# Columns that say which conversation, or which group of rows, a row is of.
_CONVERSATION_IDS: Final = frozenset(
    "conversation_id conversationid conv_id chat_id session_id thread_id dialogue_id dialog_id group_id".split()  # noqa: SIM905
)


def split(
    rows: Sequence[T], share: float, seed: int, groups: Mapping[int, Hashable] = NO_GROUPS
) -> tuple[list[T], list[T]]:
    """Part rows into (training, held out): `share` of them, at least one of two or more, chosen by the seed.

    Both keep the order of the file. Rows that ask the same stay on one side. So do rows of one conversation: one begins
    with the turns of the other, or a column such as `conversation_id` says so. So do rows of one group (`groups` goes
    from row number to group, such as that of near-duplicates). Where all rows are one group, they are parted all the
    same. A row's place depends on seed and row number alone, so that a file that has grown keeps nearly the same rows
    held out; the same on every machine and version of Python.
    """
    count = max(min(max(1, round(len(rows) * share)), len(rows) - 1), 0) if share > 0 else 0
    ranked = sorted(range(len(rows)), key=lambda place: _rank(seed, rows[place].number))
    chosen = _whole_families(ranked, _families(rows, groups), count) or set(ranked[:count])
    train = [row for place, row in enumerate(rows) if place not in chosen]
    return train, [rows[place] for place in sorted(chosen)]


def question_key(row: CanonicalRow) -> str:
    """What a row asks, whatever its case and spacing; of a text all of it."""
    asked = [part.text for part in passages(row) if not part.trained or isinstance(row, Text)]
    return " ".join(" ".join(asked).casefold().split())


def prefixes(row: CanonicalRow) -> list[bytes]:
    """A hash for each beginning of a conversation, one turn longer each; the last is that of the whole."""
    found: list[bytes] = []
    digest = hashlib.sha256()
    for turn in row.messages if isinstance(row, Conversation) else ():
        said = " ".join(f"{turn.role} {turn.content}".casefold().split())
        digest.update(said.encode(errors="replace") + b"\0")
        found.append(digest.copy().digest())
    return found


def _ids(row: CanonicalRow) -> list[Hashable]:
    """What names the conversation or group of a row."""
    named = [(name, value) for name, value in row.extra.items() if name.lower() in _CONVERSATION_IDS]
    return [(name, str(value)) for name, value in named if isinstance(value, str | int) and str(value).strip()]


def _whole_families(ranked: Sequence[int], families: Sequence[int], count: int) -> set[int]:
    """Places by rank, each with its whole family, as long as the family has room in what is still wanted."""
    members: dict[int, list[int]] = defaultdict(list)
    for place, family in enumerate(families):
        members[family].append(place)
    chosen: set[int] = set()
    for place in ranked:
        if len(chosen) >= count:
            break
        if place not in chosen and len(members[families[place]]) <= count - len(chosen):
            chosen.update(members[families[place]])
    return chosen


def _families(rows: Sequence[CanonicalRow], groups: Mapping[int, Hashable]) -> list[int]:
    """A number for each row, the same for rows tied by their question or by their group, over any number of ties."""
    leader = list(range(len(rows)))

    def find(place: int) -> int:
        while leader[place] != place:
            leader[place] = leader[leader[place]]
            place = leader[place]
        return place

    first: dict[Hashable, int] = {}
    begun = [prefixes(row) for row in rows]
    whole = {found[-1] for found in begun if found}
    for place, row in enumerate(rows):
        ties: list[Hashable] = [("question", hashlib.sha256(question_key(row).encode(errors="replace")).digest())]
        ties += _ids(row)
        # Rows that grow turn by turn are one conversation.
        ties += [found for found in begun[place] if found in whole]
        if row.number in groups:
            ties.append(("group", groups[row.number]))
        for tie in ties:
            leader[find(place)] = find(first.setdefault(tie, place))
    return [find(place) for place in range(len(rows))]


def _rank(seed: int, number: int) -> bytes:
    return hashlib.sha256(f"{seed}:{number}".encode()).digest()
