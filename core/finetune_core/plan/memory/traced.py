"""The traced estimate, from the side that asks: a worker process, and what it found the last time."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from finetune_core.child_process import Helper
from finetune_core.environment import TRACE
from finetune_core.errors import FtError, Problem, problem
from finetune_core.files import read_sealed, write_sealed
from finetune_core.models.facts import ModelFacts
from finetune_core.models.layer_costs import Figures, figures_from, keep_figures
from finetune_core.paths import cache_root
from finetune_core.plan.memory.estimate import MemoryEstimate, exact, with_reserve
from finetune_core.recipe.schema import GUIDES, Recipe
from finetune_core.text import one_line

_SECONDS: Final = 180.0
_LARGEST: Final = 16 * 1024 * 1024
_LIBRARIES: Final = ("torch", "transformers", "peft", "trl", "bitsandbytes")


def traced(model: ModelFacts, recipe: Recipe, device: str) -> MemoryEstimate:
    """Need of a training step on `device` (cuda or cpu), traced with fake tensors in a worker process.

    It takes a few seconds, the first time. Raises FtError when the model is not on this machine, or its step cannot be
    traced.
    """
    if model.path is None:
        raise problem(
            "the model is not on this machine",
            where="model.source",
            why="a step is traced from its config.json",
            remedy="the estimate stands until it has been downloaded",
        )
    request = {"folder": str(model.path), "recipe": recipe.model_dump(mode="json"), "device": device}
    kept = cache_root() / "traces" / f"{_key(model.path, recipe, device)}.json"
    found = _remembered(kept) or _ask("finetune_core.worker.memory.trace", request)
    if "problem" in found:
        raise FtError(Problem(**found["problem"]))
    with suppress(OSError):
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        write_sealed(kept, found)
    return with_reserve(found["parts"], device, "trace")


def _key(folder: Path, recipe: Recipe, device: str) -> str:
    versions = [importlib.metadata.version(name) for name in _LIBRARIES]
    values = [recipe.get(path) for path, guide in GUIDES.items() if guide.shapes_step]
    config = (folder / "config.json").read_text(encoding="utf-8", errors="replace")
    return hashlib.sha256(json.dumps([config, values, device, versions]).encode()).hexdigest()[:32]


def _remembered(path: Path) -> dict[str, Any] | None:
    found = read_sealed(path, _LARGEST)
    return found if found is not None and isinstance(found.get("parts"), dict) else None


def untraced(model: ModelFacts) -> bool:
    """Whether the formula does not hold for this model, and its layers can be traced: it is on this machine."""
    return model.path is not None and model.problem is None and not exact(model)


def figures_of(model: ModelFacts) -> Figures | None:
    """Figures of an architecture that the formula does not know, traced in a worker process and kept.

    It takes half a minute or less, the first time. None where none are needed or the model is not on this machine.
    Raises FtError when its step cannot be traced.
    """
    if model.path is None or not untraced(model):
        return None
    answer = _ask("finetune_core.worker.memory.layer_costs", {"folder": str(model.path)})
    if "problem" in answer:
        raise FtError(Problem(**answer["problem"]))
    found = figures_from(answer)
    if found is None:
        raise _failed("the answer was not whole")
    keep_figures(model.path, found)
    return found


def _ask(module: str, request: dict[str, Any]) -> dict[str, Any]:
    pipe = subprocess.PIPE
    helper = Helper(module, stdin=pipe, stderr=pipe, env={**os.environ, **TRACE})
    try:
        answer, errors = helper.communicate(json.dumps(request).encode(), _SECONDS)
    except subprocess.TimeoutExpired as error:
        raise _failed(f"it took more than {_SECONDS:.0f} s") from error
    finally:
        helper.end(0)
    with suppress(ValueError):
        found = json.loads(answer)
        if isinstance(found, dict):
            return found
    lines = errors.decode(errors="replace").strip().splitlines()
    raise _failed(one_line(lines[-1], 200) if lines else f"its process ended with code {helper.returncode}")


def _failed(why: str) -> FtError:
    return problem(
        "the step could not be traced",
        where="model.source",
        why=why,
        remedy="the estimate stands; the run measures the memory when it starts",
    )
