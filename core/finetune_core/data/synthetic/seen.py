"""Whether a row says what another one said already."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from typing import Final, Protocol

from finetune_core.data.rows import Conversation

NEAR: Final = 0.7
_SHINGLE: Final = 3
# Scripts without blanks between words count a character as a word.
_WORD: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f]|[^\W\u3040-\u30ff\u3400-\u9fff]+")


class Seen(Protocol):
    """What rows are known; another measure of likeness can take its place."""

    def add(self, row: Conversation) -> None:
        """Know this row from now on."""

    def contains(self, row: Conversation) -> str | None:
        """Why the row brings nothing new (`duplicate`, `near duplicate`), or None."""


class Shingles:
    """Knows rows by their questions, exactly, and by the words of the whole conversation, nearly.

    Two rows are duplicates when their user turns agree but for case, blanks and punctuation, whatever the answers:
    a second answer to the same question would contradict. They are near duplicates when the sets of three words in a
    row of all user and assistant turns overlap by a Jaccard index of at least `threshold`; that is exact, not
    estimated, and meant for thousands of rows: only the last `most` rows added are compared in this way (about 33 MB
    for a thousand rows of 120 words).
    """

    def __init__(self, threshold: float = NEAR, most: int = 10_000) -> None:
        self._threshold = threshold
        self._most = most
        self._exact: set[bytes] = set()
        self._sets: dict[int, frozenset[int]] = {}
        self._where: defaultdict[int, list[int]] = defaultdict(list)
        self._next = 0

    def add(self, row: Conversation) -> None:
        """Know this row from now on."""
        self._exact.add(_question(row))
        shingles = self._sets[self._next] = _shingles(row)
        for one in shingles:
            self._where[one].append(self._next)
        self._next += 1
        if len(self._sets) > self._most:
            self._forget(self._next - len(self._sets))

    def contains(self, row: Conversation) -> str | None:
        """`duplicate`, `near duplicate`, or None."""
        if _question(row) in self._exact:
            return "duplicate"
        return "near duplicate" if self._has_near(_shingles(row)) else None

    def _forget(self, oldest: int) -> None:
        for one in self._sets.pop(oldest):
            # Rows were added in order, so the oldest stands first everywhere.
            self._where[one].pop(0)
            if not self._where[one]:
                del self._where[one]

    def _has_near(self, shingles: frozenset[int]) -> bool:
        # At an overlap of t, some of the rarest (1 - t)|A| + 1 shingles must be shared: the common ones need no look.
        rarest = sorted(shingles, key=lambda one: len(self._where.get(one, ())))
        probes = rarest[: int((1 - self._threshold) * len(shingles)) + 1]
        candidates = Counter(index for one in probes for index in self._where.get(one, ()))
        return any(_jaccard(shingles, self._sets[index]) >= self._threshold for index in candidates)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _question(row: Conversation) -> bytes:
    asked = "\n".join(" ".join(_words(turn.content)) or turn.content for turn in row.messages if turn.role == "user")
    return hashlib.blake2b(asked.encode(errors="surrogatepass"), digest_size=16).digest()


def _shingles(row: Conversation) -> frozenset[int]:
    found: set[int] = set()
    for turn in row.messages:
        if turn.role != "system":
            words = _words(turn.content)
            ends = range(max(len(words) - _SHINGLE + 1, 1))
            found |= {hash((turn.role, *words[start : start + _SHINGLE])) for start in ends}
    return frozenset(found)


def _jaccard(first: frozenset[int], second: frozenset[int]) -> float:
    shared = len(first & second)
    return shared / max(len(first) + len(second) - shared, 1)
