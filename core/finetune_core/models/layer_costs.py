"""What a traced architecture's layers hold and keep, where no formula knows them: found once, then as good as one."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Final

from finetune_core.errors import FtError
from finetune_core.files import read_sealed, write_sealed
from finetune_core.paths import cache_root

_LARGEST: Final = 1024 * 1024
_LIBRARIES: Final = ("torch", "transformers", "peft", "trl")


@dataclass(frozen=True)
class Figures:
    """Figures of all decoder layers together, traced from a config (`finetune_core.worker.memory.layer_costs`).

    Parameters: `parameters` of the whole language model; `linear` those of the layers' matrices, which quantisation
    compresses; `active` those that one token meets; `largest` the largest matrix. With adapters on every linear layer
    there are `modules` of them with `adapter` parameters for each unit of rank.
    Bytes for each token, in 16-bit products: `kept` for the backward pass without checkpointing, beside what the rank
    adds; `upcast` the part of it that is in float32 anyway; `trained` comes on top when the weights themselves are
    trained; `busy` is what one layer takes while it is computed again and gone back through.
    """

    parameters: int
    linear: int
    active: int
    largest: int
    modules: int
    adapter: int
    kept: int
    upcast: int
    trained: int
    busy: int


def figures_from(found: Mapping[str, Any]) -> Figures | None:
    """Figures that were written down; None where they are not whole."""
    names = [field.name for field in fields(Figures)]
    whole = all(isinstance(found.get(name), int) and 0 <= found[name] < 2**62 for name in names)
    return Figures(**{name: found[name] for name in names}) if whole else None


def kept_figures(folder: Path) -> Figures | None:
    """What was found out before for a model with this config, with the libraries that are installed."""
    with suppress(OSError, ValueError, FtError):
        found = read_sealed(_file(folder), _LARGEST)
        return figures_from(found) if found is not None else None
    return None


def keep_figures(folder: Path, found: Figures) -> None:
    """Write them down for the next time; without a place to write, nothing is kept."""
    with suppress(OSError, FtError):
        path = _file(folder)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_sealed(path, asdict(found))


@cache
def _versions() -> list[str]:
    return [importlib.metadata.version(name) for name in _LIBRARIES]


def _file(folder: Path) -> Path:
    config = (folder / "config.json").read_text(encoding="utf-8", errors="replace")
    key = hashlib.sha256(json.dumps([config, _versions()]).encode()).hexdigest()[:32]
    return cache_root() / "figures" / f"{key}.json"
