"""A seeded order over any number of rows, worked out place by place: nothing is kept, and nothing is shuffled."""

from __future__ import annotations

import hashlib
from typing import Final

_ROUNDS: Final = 4


class SampledOrder:
    """Every row number from 1 to `rows` once, in an order that looks random; the same for the same seed and rows.

    A Feistel network over the next power of four, with numbers beyond the last row walked past: Black and Rogaway,
    "Ciphers with Arbitrary Finite Domains" (2002).
    """

    def __init__(self, rows: int, seed: int = 0) -> None:
        if rows < 1:
            raise ValueError("an order needs a row")
        self.rows = rows
        self._seed = seed
        self._half = max((rows - 1).bit_length() + 1, 2) // 2

    def row(self, place: int) -> int:
        """The row number at a place; places count from 0 and go round."""
        value = self._mixed(place % self.rows)
        while value >= self.rows:
            value = self._mixed(value)
        return value + 1

    def _mixed(self, value: int) -> int:
        mask = (1 << self._half) - 1
        left, right = value >> self._half, value & mask
        for turn in range(_ROUNDS):
            key = f"{self._seed}:{turn}:{right}".encode()
            mixed = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
            left, right = right, left ^ (mixed & mask)
        return left << self._half | right
