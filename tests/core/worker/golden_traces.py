"""Traced peaks that were kept: tracing anew what cannot have changed took a fifth of the suite.

A peak is kept under a hash of everything it follows from: config, recipe, device, the sources that trace, and the
versions of the libraries traced through. Whatever changes one of them is traced anew; `FT_TUI_UPDATE_TRACES=1` keeps
the new peaks in `traces.json`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pytest

import finetune_core
from finetune_core.models.layer_costs import Figures
from finetune_core.recipe.schema import Recipe

KEPT: Final = Path(__file__).with_name("traces.json")
_LIBRARIES: Final = ("torch", "transformers", "trl", "peft", "bitsandbytes")
_SOURCES: Final = (
    "memory/trace.py",
    "memory/layer_costs.py",
    "memory/fake_4bit.py",
    "model/adapter.py",
    "model/adapter_targets.py",
    "model/router_loss.py",
)


def traced_peak(config: Any, asked: Recipe, device: str, *, anew: bool = False) -> int:
    """The peak of a step in bytes; traced where none is kept, or where it is wanted `anew`."""

    def trace_it() -> int:
        from finetune_core.worker.memory.trace import trace

        return trace(config, asked, device).peak

    # Without what is at its default: a field that becomes part of the recipe traces nothing otherwise.
    values = asked.model_dump(mode="json", exclude={"reasons"}, exclude_defaults=True)
    return int(_found([config.to_dict(), values, device], trace_it, anew=anew))


def traced_figures(config: Any, *, anew: bool = False) -> Figures:
    """The figures of an architecture's layers; traced where none are kept, or where they are wanted `anew`."""

    def trace_them() -> dict[str, Any]:
        from finetune_core.worker.memory.layer_costs import figures

        return asdict(figures(config))

    return Figures(**_found([config.to_dict(), "figures"], trace_them, anew=anew))


def _found(what: list[Any], trace: Callable[[], Any], *, anew: bool) -> Any:
    parts = json.dumps([*what, _versions(), _sources()], sort_keys=True, default=str)
    key = hashlib.sha256(parts.encode()).hexdigest()[:32]
    kept = _kept().get(key)
    if kept is not None and not anew:
        return kept
    found = trace()
    # Another build of torch may round a buffer otherwise.
    assert kept is None or found == pytest.approx(kept, rel=1e-3), "trace all anew: .ci/dev traces"
    if os.environ.get("FT_TUI_UPDATE_TRACES"):
        _keep(key, found)
    return found


@cache
def _versions() -> dict[str, str]:
    return {name: version(name).partition("+")[0] for name in _LIBRARIES}


@cache
def _sources() -> str:
    worker = Path(str(finetune_core.__file__)).parent / "worker"
    return hashlib.sha256(b"".join((worker / name).read_bytes() for name in _SOURCES)).hexdigest()


@cache
def _kept() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    return found


def _keep(key: str, value: Any) -> None:
    found = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    KEPT.write_text(json.dumps({**found, key: value}, indent=0, sort_keys=True) + "\n")
