"""Which card a name means: the driver's (`NVIDIA GeForce RTX 4090 Laptop GPU`), or one typed (`a100-40`, `4060ti`)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from finetune_core.hardware.cards import CARDS, Card

# Words that set no card apart from another.
_NOISE: Final = frozenset(
    "nvidia geforce rtx gtx tesla gpu gpus graphics card generation edition workstation desktop founders design with"  # noqa: SIM905
    " tensor core vram memory blackwell sxm gddr6 gddr6x gddr7 hbm2 hbm2e hbm3 hbm3e".split()
)
# Words a name may lack or have too many of: `Quadro A6000`, `A40-PCIE`.
_LOOSE: Final = frozenset({"pcie", "nvl", "quadro", "server"})
_SAME: Final = {"mobile": "laptop", "notebook": "laptop", "m": "laptop", "s": "super", "dgx": "gb10", "spark": "gb10"}
_MODELS: Final = frozenset(word for card in CARDS for word in card.words.split())
# Names are cut into these, the longest first: `rtx4070tisuper` is three words, and `a100` not `a10`.
_WORDS: Final = re.compile("|".join(sorted(map(re.escape, _MODELS | _NOISE | _SAME.keys()), key=len, reverse=True)))
_SIZE: Final = re.compile(r"(\d{1,4})(?:gib|gb|g)?")
_APART: Final = re.compile(r"(\d)[\s_-]+(gib|gb|g)\b")
# A driver's name of a slice of a card (MIG: sevenths of its arithmetic), and of a share that VMs take turns with.
_SLICE: Final = re.compile(r"\bmig\s+(\d)[cg][\w.+]*")
_PROFILE: Final = re.compile(r"-\d+[qcab]\b|^grid\s+")
_UNSIZED: Final = re.compile(r"\b\d{1,3}\s*(?:gib|gb|g)?\s*$")
# What a name must have one of to mean a card: `super` and `laptop` alone mean none.
_MEANT: Final = frozenset(word for word in _MODELS if any(map(str.isdigit, word))) | {"titan"}
_PRO: Final = frozenset(word for card in CARDS if "pro" in card.words.split() for word in card.words.split())
_ABOUT: Final = 0.07
_SHOWN: Final = 4


@dataclass(frozen=True)
class Named:
    """The card that a typed name is taken for, and the others it could mean."""

    card: Card
    others: tuple[Card, ...] = ()


def card_of(name: str, memory: int | None = None) -> Card | None:
    """The card of a driver's name; None where the table has none of just that name.

    `memory` in bytes chooses among cards of one name.
    """
    text = _PROFILE.sub(" ", name.lower())
    found = _read(text)
    if found is None:
        return None
    words, sizes = found
    cards = [card for card in CARDS if _words(card) == words] or [
        card for card in CARDS if _bare(card) == words - _LOOSE
    ]
    if not cards:
        return None
    if memory is not None:
        return min(cards, key=lambda card: abs(card.memory_bytes - memory))
    return next((card for card in cards if sizes and _sold(card, sizes[0])), cards[0])


def named(text: str) -> Named | None:
    """The card that somebody means by what they typed; None where there is none of that name and size."""
    found = None if _SLICE.search(text.lower()) else _read(text.lower())
    if found is None:
        return None
    words, sizes = found
    if "ada" in words:
        # `A6000 Ada` is what many call the RTX 6000 Ada.
        words = frozenset(re.sub(r"^a(?=\d000$)", "", word) for word in words)
    if "blackwell" in text.lower() and words & _PRO:
        words |= {"pro"}
    if not any(word in _MEANT for word in words) or len(sizes) > 1:
        return None
    cards = [card for card in CARDS if words - _LOOSE <= _words(card) and (not sizes or _sold(card, sizes[0]))]
    # The one of just that name comes first, then those with all its words.
    cards.sort(key=lambda card: (_words(card) != words, not words <= _words(card)))
    return Named(cards[0], tuple(card for card in cards[1:] if words <= _words(card))) if cards else None


def nearest(text: str) -> tuple[str, ...]:
    """Names of the cards that are spelled most like it, the likest first; empty where none is like it."""
    unsized = named(_UNSIZED.sub(" ", text.lower()))
    if unsized is not None:
        return tuple(card.sold_as for card in (unsized.card, *unsized.others))[:_SHOWN]
    spelled: dict[str, str] = {}
    for card in CARDS:
        for form in (card.name, card.words):
            spelled.setdefault(_squeezed(form), card.sold_as)
    close = difflib.get_close_matches(_squeezed(text), spelled, n=2 * _SHOWN, cutoff=0.5)
    return tuple(dict.fromkeys(spelled[form] for form in close))[:_SHOWN]


def part_of(name: str) -> float:
    """The share of its card's arithmetic that a driver's name stands for: sevenths of a slice (MIG), else all."""
    found = _SLICE.search(name.lower())
    # `MIG 3g.20gb` is three sevenths, `MIG 1c.3g.20gb` one of them.
    return 1.0 if found is None else min(7, int(found.group(1))) / 7


def _read(text: str) -> tuple[frozenset[str], Sequence[int]] | None:
    """Its words that set cards apart, and the sizes in GB it names; None where a word is unknown."""
    text = _APART.sub(r"\1\2", _SLICE.sub(" ", text))
    text = re.sub(r"sxm\d?", " sxm ", re.sub(r"max-?\s?q", " maxq ", text))
    words: set[str] = set()
    sizes: list[int] = []
    for piece in filter(None, re.split(r"[\s_/,()-]+", text)):
        words.update(_WORDS.findall(piece))
        rest = _WORDS.sub(" ", piece).strip()
        size = _SIZE.fullmatch(rest)
        if size:
            sizes.append(int(size.group(1)))
        elif rest:
            return None
    kept = (word for word in words if word not in _NOISE or (word == "rtx" and "titan" in words))
    return frozenset(_SAME.get(word, word) for word in kept), sizes


def _words(card: Card) -> frozenset[str]:
    return frozenset(card.words.split())


def _bare(card: Card) -> frozenset[str]:
    return _words(card) - _LOOSE


def _sold(card: Card, gb: int) -> bool:
    """Whether it is sold with about so much, or shows so much: a B200 has 180 or 192 GB, depending on who counts."""
    return abs(gb - card.gb) <= _ABOUT * card.gb or gb in {int(card.memory), round(card.memory)}


def _squeezed(text: str) -> str:
    return re.sub(r"[^a-z0-9]|nvidia|geforce|rtx|gtx", "", text.lower())
