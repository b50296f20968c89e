"""How a run began, where versions of this program begin differently: a run that goes on keeps what it began with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

_NAME: Final = "began"


@dataclass(frozen=True)
class Began:
    """What checkpoints note of it.

    `packed`: rows share sequences. `rises_from_zero`: the first step has a rate of 0. `narrow_adapter`: the adapter of
    a quantised base is in bfloat16.
    """

    packed: bool
    rises_from_zero: bool = False
    narrow_adapter: bool = False

    def notes(self) -> dict[str, Any]:
        """As a checkpoint keeps it."""
        return {_NAME: asdict(self)}


def began(notes: Mapping[str, Any], *, packed: bool) -> Began | None:
    """How the run of these notes began, None of one that begins now. `packed` is what its recipe says.

    A checkpoint of an earlier version notes nothing of it.
    """
    if not notes:
        return None
    found = notes.get(_NAME)
    if not isinstance(found, dict):
        return Began(packed=packed, rises_from_zero=True, narrow_adapter=True)
    return Began(*(found.get(name) is True for name in ("packed", "rises_from_zero", "narrow_adapter")))
