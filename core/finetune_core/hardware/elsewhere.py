"""A machine that is not here, planned for by its GPU: a card by name, or any card of a size."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from finetune_core.errors import FtError, Problem, problem
from finetune_core.hardware.card_names import Named, named, nearest
from finetune_core.hardware.cards import CARDS, Card
from finetune_core.hardware.look import Gpu, Hardware, look
from finetune_core.text import one_line

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(?:gb|gib|g)?(?:\s*(?:vram|memory|gpu|card))?", re.IGNORECASE)
# More than any card has: a larger number is a mistyped name.
_MOST_GB: Final = 1024
_COUNT: Final = re.compile(r"(\d{1,2})\s*[x*]\s*(?=.*\d)(.+)|(.*\d.*?)(?<![a-z])[x*]\s*(\d{1,2})", re.IGNORECASE)
# AMD, Intel, Google, Apple.
_ANOTHER_MAKER: Final = re.compile(
    r"\b(amd|radeon|instinct|rx|intel|arc|gaudi\d?|tpu|apple)\b|\bmi\s?\d|\brx\s?\d|\bm[1-9]\b|\b\d{4}\s?xtx?\b",
    re.IGNORECASE,
)
_WHERE: Final = "--gpu"


def hardware_elsewhere(gpu: Gpu) -> Hardware:
    """A machine with this GPU alone; host and disk are those of this machine, which say nothing of the other."""
    return replace(look(), gpus=(gpu,), problem=None, elsewhere=True)


def gpu_elsewhere(text: str) -> tuple[Gpu, str | None]:
    """The GPU that somebody asks for, such as `4090`, `A100 40GB` or `24GB`, all of its memory free.

    And in words what a name that could mean several cards was taken for; None where it means one. Raises FtError for
    what is neither name nor size, and for several GPUs.
    """
    asked = _one_of(text.strip())
    found = named(asked)
    if found is not None:
        return _of_card(found.card), _taken_for(asked, found)
    size = _SIZE.fullmatch(asked)
    if size is None or not 0 < float(size.group(1)) <= _MOST_GB:
        raise FtError(_unknown(text))
    total = int(float(size.group(1)) * 2**30)
    # Whether it computes in bfloat16 a size does not say; cards from 2020 on do.
    return _gpu(f"a GPU of {float(size.group(1)):g} GB", total, (8, 0), bf16=True), None


def _one_of(text: str) -> str:
    """`4090` of `1x 4090`. Raises FtError where several are asked for."""
    found = _COUNT.fullmatch(text)
    if found is None:
        return text
    count, name = int(found.group(1) or found.group(4)), (found.group(2) or found.group(3)).strip()
    if count == 1:
        return name
    raise problem(
        f"`{one_line(text, 40)}` are {count} GPUs",
        where=_WHERE,
        why="this version trains on one GPU",
        remedy=f"plan for one of them: --gpu {one_line(name, 40)!r}",
    )


def _of_card(card: Card) -> Gpu:
    return _gpu(card.name, card.memory_bytes, card.capability, bf16=card.bf16)


def _gpu(name: str, total: int, capability: tuple[int, int], *, bf16: bool) -> Gpu:
    return Gpu(
        index=0,
        uuid="GPU-imagined",
        name=name,
        memory_total=total,
        memory_used=0,
        memory_free=total,
        processes=(),
        compute_capability=capability,
        bf16=bf16,
        utilisation=None,
        temperature=None,
        power_watts=None,
        power_limit_watts=None,
    )


def _taken_for(asked: str, found: Named) -> str | None:
    if not found.others:
        return None
    others = ", ".join(card.sold_as for card in found.others)
    return f"`{one_line(asked, 40)}` is taken for the {found.card.sold_as}; there are also: {others}"


def _unknown(text: str) -> Problem:
    if _ANOTHER_MAKER.search(text):
        return Problem(
            f"`{one_line(text, 40)}` is no card this program knows, and no size of memory",
            where=_WHERE,
            why="this program trains on NVIDIA's cards, and on the CPU",
            remedy="give the name of one of NVIDIA's, such as 4090 or a100-40, or a size such as 24GB",
        )
    like = nearest(text)
    known = f"; the nearest it knows: {', '.join(like)}" if like else ""
    return Problem(
        f"`{one_line(text, 40)}` is no card this program knows, and no size of memory",
        where=_WHERE,
        why=f"it is the name of one of {len(CARDS)} NVIDIA cards, or GB up to {_MOST_GB}{known}",
        remedy="give a name such as 4090 or a100-40, or a size such as 24GB",
    )
