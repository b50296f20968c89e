"""What share of its arithmetic a device has reached in earlier runs here: the next plan is drawn with it."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from ft_core.errors import FtError
from ft_core.files import write_atomic
from ft_core.hardware.look import Hardware
from ft_core.paths import cache_root
from ft_core.plan.facts import Situation
from ft_core.plan.speed import used_share

_MOST_DEVICES: Final = 64


def device_name(device: str, hardware: Hardware, uuids: tuple[str, ...]) -> str:
    """The kind of device a speed is remembered by: the GPU's name, or the CPU's with its number of cores."""
    if device == "cpu":
        return f"{hardware.host.cpu} x {hardware.host.cores}"
    return next((gpu.name for gpu in hardware.gpus if gpu.uuid in uuids), "GPU")


def remembered(now: Situation) -> float | None:
    """The share that was reached on a device like this one, None before the first run."""
    share = _all().get(_name(now), {}).get("share")
    return float(share) if isinstance(share, int | float) and 0 < share < 2 else None


def remember(now: Situation, tokens_per_s: float) -> None:
    """Keep the share that a measured speed makes; without a place to write, nothing is kept."""
    share = used_share(now, tokens_per_s)
    if share is None:
        return
    known = _all()
    known.pop(_name(now), None)
    newest = dict([*known.items()][-_MOST_DEVICES + 1 :])
    with suppress(OSError, FtError):
        write_atomic(_file(), json.dumps({**newest, _name(now): {"share": share, "t": time.time()}}, indent=1))


def _name(now: Situation) -> str:
    return device_name(now.device, now.hardware, tuple(gpu.uuid for gpu in now.gpus))


def _file() -> Path:
    return cache_root() / "speed.json"


def _all() -> dict[str, dict[str, object]]:
    with suppress(OSError, ValueError, FtError):
        found = json.loads(_file().read_bytes())
        if isinstance(found, dict):
            return {name: value for name, value in found.items() if isinstance(value, dict)}
    return {}
