"""Runs to test with."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep

import pytest

from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.runs.upkeep.lifecycle import create


@pytest.fixture
def run() -> RunDir:
    """A run that was made and not started."""
    return create(Recipe(), {"total_steps": 3})


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object], float], None]:
    """Wait for a condition, with a deadline in seconds."""

    def wait(condition: Callable[[], object], seconds: float = 20) -> None:
        deadline = monotonic() + seconds
        while not condition():
            assert monotonic() < deadline, "the condition did not come true in time"
            sleep(0.02)

    return wait
