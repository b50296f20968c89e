"""Readers with known faults, to show that each is found."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

from tests.fuzz.runner import Target


def _make(chance: Random) -> bytes:
    return chance.choice((*[b"fine"] * 9, b"raises", b"slow", b"large"))


def _faulty(data: bytes, _folder: Path) -> None:
    if data == b"raises":
        raise IndexError("planted")
    if data == b"large":
        bytearray(os.urandom(1)) * (200 * 2**20)
    while data == b"slow":
        pass


def _deadly(data: bytes, _folder: Path) -> None:
    if data == b"raises":
        os.abort()


PLANTED = (Target("planted faults", 1, _make, _faulty), Target("planted deaths", 1, _make, _deadly))
