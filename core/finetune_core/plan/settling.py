"""What a new run takes along, so that its worker settles what follows from the rows once it has counted them.

A run's plan.json holds under `settle` the fields that were on auto and the machine as it was when the run was made.
The worker resolves them from these, from the base and from the very rows it trains on, whether or not they had been
counted before: how early somebody launches changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from finetune_core.hardware.look import Gpu, GpuProcess, Hardware, Host
from finetune_core.models.facts import ModelFacts
from finetune_core.plan.report import plan_data
from finetune_core.plan.resolve import SETTLED_AT_ONCE, Resolved, completed, resolve
from finetune_core.plan.situation import DataFacts
from finetune_core.recipe.check import reopened
from finetune_core.recipe.schema import GUIDES, Recipe

SETTLE: Final = "settle"


def plan_to_launch(found: Resolved) -> dict[str, Any]:
    """plan.json of a new run; without the numbers that would become others when the rows are counted."""
    plan = plan_data(found)
    if not found.counted:
        for name in ("steps", "memory", "speed", "duration_s", "energy_kwh", "cost", "packing_gain"):
            plan[name] = None
        plan["choices"] = [choice for choice in plan["choices"] if choice["field"] in SETTLED_AT_ONCE]
    return {**plan, SETTLE: {"fields": list(found.open), "hardware": asdict(found.hardware)}}


def to_settle(plan: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The fields a run's worker has still to settle; None where that is done, or never was to do."""
    noted = plan.get(SETTLE)
    fields = noted.get("fields") if isinstance(noted, dict) else None
    return tuple(field for field in fields if field in GUIDES) if isinstance(fields, list) else None


def settle(recipe: Recipe, plan: Mapping[str, Any], model: ModelFacts, data: DataFacts, here: Hardware) -> Resolved:
    """The run's recipe with its open fields filled from the counted rows.

    `here` stands in for the machine the plan was made with, where that is not noted. FtError as `resolve` raises it.
    """
    again = reopened(recipe, to_settle(plan) or ())
    return completed(resolve(again, _hardware(plan) or here, model, data))


def _hardware(plan: Mapping[str, Any]) -> Hardware | None:
    """The machine as it was when the run was made; None where that cannot be read."""
    with suppress(KeyError, TypeError, ValueError, AttributeError):
        met = plan[SETTLE]["hardware"]
        host = {**met["host"], "disk_path": Path(met["host"]["disk_path"])}
        return Hardware(tuple(map(_gpu, met["gpus"])), met["driver"], met["cuda"], met["problem"], Host(**host))
    return None


def _gpu(met: dict[str, Any]) -> Gpu:
    capability = met["compute_capability"]
    more = {
        "processes": tuple(GpuProcess(**process) for process in met["processes"]),
        "compute_capability": None if capability is None else (int(capability[0]), int(capability[1])),
    }
    return Gpu(**{**met, **more})
