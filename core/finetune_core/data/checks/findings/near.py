"""Rows found that are nearly the same: a sketch of 128 bytes for each row, compared only where a stretch of it agrees.

The sketch is a MinHash over triples of words, of which one byte each is kept (b-bit MinHash, Li and Koenig 2010).
Sketches of a million rows fit in 128 MB, and stretches of eight bytes are the keys of the buckets (LSH).
"""

from __future__ import annotations

import hashlib
import re
from array import array
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pairs = NDArray[np.int64]
    Matrix = NDArray[np.uint8]

NEAR: Final = 0.8
SKETCH: Final = 128
# Shorter rows share most of their words by chance.
LEAST_TRIPLES: Final = 32
_BANDS: Final = SKETCH // 8
_MOST_WORDS: Final = 20_000
_BATCH_ROWS, _BATCH_WORDS = 512, 200_000
_COMPARED_AT_ONCE: Final = 100_000
_FEW: Final = 4
_KNOWN_WORDS: Final = 200_000
_LONG: Final = 1_000_000
# Scripts without blanks between words: a sign counts as a word.
_WORD: Final = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
    r"|[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|[^\w\s]"
)

_ASCII_WORD: Final = re.compile(r"\w+|[^\w\s]", re.ASCII)


class _WordHashes(dict[str, int]):
    """64-bit hashes of words, the same in every process; those seen lately are remembered."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _KNOWN_WORDS:
            self.clear()
        value = int.from_bytes(hashlib.blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest(), "big")
        if len(word) < 100:
            self[word] = value
        return value


_HASHES: Final = _WordHashes()


def word_hashes(text: str) -> array[int]:
    """A hash for each word and sign of a text, whatever its case and blanks; of a very long text its beginning."""
    pattern = _ASCII_WORD if text.isascii() else _WORD
    return array("Q", map(_HASHES.__getitem__, pattern.findall(text[:_LONG].casefold())))


class Sketches:
    """Sketches of rows in the order they were added; `places` says which rows these are. Short rows have none."""

    def __init__(self, seed: int) -> None:
        self.places = array("I")
        self.seed = seed
        self._made = bytearray()
        self._words = array("Q")
        self._ends = array("Q", [0])

    def __getstate__(self) -> dict[str, object]:
        # Work that waits is done here, not by whoever takes this to other processes' results.
        self._work()
        return self.__dict__

    def add(self, place: int, words: array[int]) -> None:
        """Sketch a row of these word hashes."""
        if len(words) - 2 < LEAST_TRIPLES:
            return
        self.places.append(place)
        self._words.extend(words[:_MOST_WORDS])
        self._ends.append(len(self._words))
        if len(self._ends) > _BATCH_ROWS or len(self._words) > _BATCH_WORDS:
            self._work()

    def extend(self, other: Sketches, offset: int) -> None:
        """Take the sketches of rows that come behind `offset` rows known here. ValueError for another seed."""
        if other.seed != self.seed:
            raise ValueError("sketches of two seeds cannot be compared")
        self._work()
        other._work()
        self.places.extend(place + offset for place in other.places)
        self._made += other._made

    def matrix(self) -> Matrix:
        """All sketches: uint8, (rows, 128), a view: nothing can be added while it is held."""
        import numpy as np

        self._work()
        return np.frombuffer(self._made, dtype=np.uint8).reshape(-1, SKETCH)

    def _work(self) -> None:
        """Sketch the rows that wait: many at once cost a third of one by one."""
        if len(self._ends) == 1:
            return
        import numpy as np
        from rensa import RMinHash

        words = np.frombuffer(self._words, dtype=np.uint64)
        ends = np.frombuffer(self._ends, dtype=np.uint64)
        # Triples that reach into the next row stay out: each row has two fewer than words.
        triples = words[:-2] * np.uint64(0x9E3779B97F4A7C15) + words[1:-1] * np.uint64(0xC2B2AE3D27D4EB4F) + words[2:]
        inside = np.ones(len(triples), dtype=bool)
        borders = ends[1:-1].astype(np.int64)
        inside[borders - 2] = inside[borders - 1] = False
        offsets = ends - 2 * np.arange(len(ends), dtype=np.uint64)
        made = RMinHash.digest_matrix_from_flat_token_hashes(triples[inside], offsets, num_perm=SKETCH, seed=self.seed)
        self._made += np.array(made.to_rows(), dtype=np.uint32).astype(np.uint8).tobytes()
        del words, ends
        self._words, self._ends = array("Q"), array("Q", [0])


def near_pairs(sketches: Matrix, among: NDArray[np.int64]) -> Pairs:
    """Pairs (earlier, later) of rows of a matrix that are nearly the same: int64, (pairs, 2), in order of the later.

    Only the rows `among` are compared, which are in ascending order.
    In each bucket a row is compared to the first and to the one before it, not to all: buckets may hold any number.
    For each later row the first four earlier ones are given.
    """
    import numpy as np

    found = np.empty((0, 2), dtype=np.int64)
    for band in range(_BANDS):
        keys = _keys(sketches, band)[among]
        by_key = np.argsort(keys, kind="stable")
        ordered, order = keys[by_key], among[by_key]
        again = np.flatnonzero(ordered[1:] == ordered[:-1]) + 1
        starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        first = starts[np.searchsorted(starts, again, side="right") - 1]
        pairs = [np.stack((order[before], order[again]), axis=1) for before in (first, again - 1)]
        found = _first_few(np.concatenate((found, *(_alike(sketches, sketches, part) for part in pairs))))
    return found


def near_matches(sketches: Matrix, others: Matrix) -> Pairs:
    """Pairs (row of `sketches`, row of `others`) that are nearly the same: int64, (pairs, 2), in order of the other."""
    import numpy as np

    found = np.empty((0, 2), dtype=np.int64)
    for band in range(_BANDS):
        keys, wanted = _keys(sketches, band), _keys(others, band)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        begin = np.searchsorted(ordered, wanted, side="left")
        end = np.searchsorted(ordered, wanted, side="right")
        places = [np.flatnonzero(begin + step < end) for step in range(_FEW)]
        pairs = [np.stack((order[begin[other] + step], other), axis=1) for step, other in enumerate(places)]
        found = _first_few(np.concatenate((found, *(_alike(sketches, others, part) for part in pairs))))
    return found


def _first_few(pairs: Pairs) -> Pairs:
    """The pairs by their second place, for each of those the four of the lowest first places."""
    import numpy as np

    unique = np.unique(pairs[:, ::-1], axis=0)
    later = unique[:, 0]
    kept = np.ones(len(unique), dtype=bool)
    kept[_FEW:] = later[_FEW:] != later[:-_FEW]
    return unique[kept][:, ::-1]


def _keys(sketches: Matrix, band: int) -> NDArray[np.uint64]:
    """Eight bytes of each sketch, as a number."""
    import numpy as np

    return sketches.view(np.uint64)[:, band]


def _alike(sketches: Matrix, others: Matrix, pairs: Pairs) -> Pairs:
    """Those of the pairs whose sketches agree as those of rows do that share at least `NEAR` of their triples."""
    import numpy as np

    # One byte in 256 agrees by chance.
    least = round((NEAR + (1 - NEAR) / 256) * SKETCH)
    kept = [np.empty((0, 2), dtype=np.int64)]
    for begin in range(0, len(pairs), _COMPARED_AT_ONCE):
        part = pairs[begin : begin + _COMPARED_AT_ONCE]
        same = np.count_nonzero(sketches[part[:, 0]] == others[part[:, 1]], axis=1)
        kept.append(part[same >= least])
    return np.concatenate(kept)
