"""Models worth offering: families people fine-tune, with their shapes, as data with its source and date."""

from __future__ import annotations

import json
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from finetune_core.models.facts import ModelFacts
from finetune_core.models.layer_costs import Figures, figures_from

_FILE = Path(__file__).with_name("catalogue.json")
_NAMES = frozenset(field.name for field in fields(ModelFacts))


def catalogue() -> tuple[ModelFacts, ...]:
    """Every model of the catalogue, none of which need be on this machine: kind `hub`, without a path."""
    return tuple(map(_facts, _entries()))


def from_catalogue(source: str) -> ModelFacts | None:
    """The facts of a hub id that the catalogue knows; None of another."""
    return next((_facts(entry) for entry in _entries() if entry["id"] == source), None)


def figures_like(model: ModelFacts) -> Figures | None:
    """Traced figures of a model of the catalogue with these shapes, such as one that was tuned from it."""
    alike = (_facts(entry) for entry in _entries() if "figures" in entry)
    return next((one.figures for one in alike if _shape(one) == _shape(model)), None)


def _shape(model: ModelFacts) -> tuple[object, ...]:
    kind = (model.model_type or "").removesuffix("_text")
    return kind, model.hidden, model.layers, model.heads, model.kv_heads, model.vocabulary, model.experts


def family(source: str) -> str | None:
    """The family a model of the catalogue belongs to, such as `Qwen 3`."""
    return next((str(entry["family"]) for entry in _entries() if entry["id"] == source), None)


def provenance() -> tuple[str, str]:
    """Where the figures come from, and of when they are."""
    found = _read()
    return str(found["source"]), str(found["as_of"])


def _facts(entry: dict[str, Any]) -> ModelFacts:
    known = {name: value for name, value in entry.items() if name in _NAMES}
    if entry.get("experts"):
        # What one token meets, as of a model that was read from its folder.
        known["intermediate"] = entry["experts_per_token"] * entry["expert_width"]
    known["figures"] = figures_from(entry.get("figures", {}))
    return ModelFacts(source=entry["id"], kind="hub", dtype="bfloat16", has_chat_template=True, **known)


def _entries() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _read()["models"]
    return found


@cache
def _read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_FILE.read_bytes())
    return found
