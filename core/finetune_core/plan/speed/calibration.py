"""How a device compared to the formula of speed in earlier runs here: the next plan is drawn with it.

It is called measured for the model that ran, with settings like those it ran with. Of anything else it is an estimate.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from finetune_core.errors import FtError
from finetune_core.files import OddFile, read_capped, read_sealed, write_sealed
from finetune_core.hardware.look import Hardware
from finetune_core.models.facts import ModelFacts
from finetune_core.paths import cache_root
from finetune_core.plan.memory.estimate import length_of
from finetune_core.plan.situation import Situation
from finetune_core.plan.speed.estimate import Measured, measured_pace
from finetune_core.text import one_line

_MOST_DEVICES: Final = 64
_MOST_EACH: Final = 32
# Further off the formula nothing is: what says so is a mistake.
_MOST_PACE: Final = 100
_LARGEST: Final = 16 * 1024 * 1024
# Tokens of a micro-batch within this factor fill a device alike.
_ALIKE: Final = 2.0
# How far the same pace may be off, as a factor: in a run like it, in one with other settings, for another model
# (whose matrices may be a hundred times as large, and fill the device as much better).
_SAME, _OTHER_SETTINGS, _OTHER_MODEL = 1.15, 1.6, 4.0

Record = dict[str, Any]


def device_name(device: str, hardware: Hardware, uuids: tuple[str, ...]) -> str:
    """The kind of device a speed is remembered by: the GPU's name, or the CPU's with its number of cores."""
    if device == "cpu":
        return f"{hardware.host.cpu} x {hardware.host.cores}"
    return next((gpu.name for gpu in hardware.gpus if gpu.uuid in uuids), "GPU")


def remembered(now: Situation) -> Measured | None:
    """The newest pace of a device like this one, that of the likest run first; None before the first run."""
    records = _all().get(_name(now), [])
    model, settings = model_name(now.model), _settings(now)
    shape = _shape(now.model)
    same = [one for one in records if one.get("model") == model and one.get("shape", shape) == shape]
    for record in reversed(same):
        if _alike(record.get("settings"), settings):
            return Measured(record["pace"], spread=_SAME)
    if same:
        return Measured(same[-1]["pace"], "this model with other settings on this machine", _OTHER_SETTINGS)
    if not records:
        return None
    name = records[-1].get("model")
    shown = one_line(name.rstrip("/").rpartition("/")[2], 60) if isinstance(name, str) else "another model"
    return Measured(records[-1]["pace"], f"{shown} on this machine", _OTHER_MODEL)


def remember(now: Situation, tokens_per_s: float, tokens: float | None = None) -> None:
    """Keep how a measured speed compares to the formula; without a place to write, nothing is kept.

    `tokens` are those of the one micro-step that was measured, without the optimiser; None: whole steps were.
    """
    pace = measured_pace(now, tokens_per_s, tokens)
    if not _is_pace(pace):
        return
    known = _all()
    record = {
        "model": model_name(now.model),
        "shape": _shape(now.model),
        "settings": _settings(now),
        "pace": pace,
        "t": time.time(),
    }
    records = [one for one in known.pop(_name(now), []) if not _replaces(record, one)]
    newest = dict([*known.items()][-_MOST_DEVICES + 1 :])
    kept = {**newest, _name(now): [*records[-_MOST_EACH + 1 :], record]}
    with suppress(OSError, FtError):
        write_sealed(_file(), kept)


def model_name(model: ModelFacts) -> str:
    """What a model is remembered by: its folder, or its name on the hub."""
    return str(model.path.absolute()) if model.kind == "folder" and model.path is not None else model.source


def _shape(model: ModelFacts) -> str:
    """SHA-256 of the model's config, on which its speed depends: another model may lie in the same folder by now."""
    if model.path is None:
        return ""
    with suppress(OSError, OddFile):
        return hashlib.sha256(read_capped(model.path / "config.json", _LARGEST)).hexdigest()
    return ""


def _settings(now: Situation) -> Record:
    """What decides how well a step fills the device, beside the model."""
    recipe = now.recipe
    return {
        "adapter": recipe.adapter.kind,
        "quantization": recipe.quantization.method,
        "dtype": recipe.model.dtype,
        "packing": recipe.data.packing != "none",
        "checkpointing": recipe.training.activation_checkpointing is not False,
        "attention": recipe.training.attention,
        "compile": bool(recipe.training.compile),
        "tokens": (recipe.training.micro_batch or 1) * length_of(now.model, recipe),
    }


def _alike(before: object, now: Record) -> bool:
    if not isinstance(before, dict):
        return False
    tokens = before.get("tokens")
    if not isinstance(tokens, int | float) or not 1 / _ALIKE <= tokens / now["tokens"] <= _ALIKE:
        return False
    return all(before.get(name) == value for name, value in now.items() if name != "tokens")


def _replaces(newer: Record, older: Record) -> bool:
    return bool(older.get("model") == newer["model"] and older.get("settings") == newer["settings"])


def _name(now: Situation) -> str:
    return device_name(now.device, now.hardware, tuple(gpu.uuid for gpu in now.gpus))


def _file() -> Path:
    return cache_root() / "speed.json"


def _all() -> dict[str, list[Record]]:
    """Records by device, the newest last; what cannot be read is left out.

    So is what earlier versions kept, a share of the arithmetic: without tokens and settings it is no pace.
    """
    with suppress(FtError):
        found = read_sealed(_file(), _LARGEST, bare=True) or {}
        return {name: _records(value) for name, value in found.items() if _records(value)}
    return {}


def _records(value: object) -> list[Record]:
    every = value if isinstance(value, list) else []
    return [one for one in every if isinstance(one, dict) and _is_pace(one.get("pace"))]


def _is_pace(value: object) -> bool:
    return isinstance(value, int | float) and 1 / _MOST_PACE < value < _MOST_PACE
