from __future__ import annotations

import pytest

from ft_core.plan.steps import Steps, count_steps
from tests.core.plan.cases import recipe

UNPACKED: dict[str, object] = {"data.packing": "none", "training.micro_batch": 4, "training.accumulation": 4}


def test_steps_are_counted_as_the_trainer_counts_them() -> None:
    values = recipe({**UNPACKED, "training.epochs": 3.0})
    assert count_steps(values, 400) == Steps(rows=400, effective_batch=16, per_epoch=25, total=75, epochs=3.0)


def test_a_last_batch_that_is_not_full_is_a_step() -> None:
    values = recipe({**UNPACKED, "training.epochs": 1.5})
    steps = count_steps(values, 401)
    assert (steps.per_epoch, steps.total) == (26, 39)


def test_steps_that_are_given_set_the_epochs() -> None:
    steps = count_steps(recipe({**UNPACKED, "training.max_steps": 50}), 400)
    assert (steps.total, steps.epochs) == (50, 2.0)


def test_gpus_multiply_the_effective_batch() -> None:
    steps = count_steps(recipe(UNPACKED), 640, gpus=2)
    assert (steps.effective_batch, steps.per_epoch) == (32, 20)


def test_packed_rows_are_counted_by_the_sequences_they_fill() -> None:
    packed = recipe({"data.max_length": 2048, "training.micro_batch": 2, "training.accumulation": 1})
    assert count_steps(packed, 1000, total_tokens=200_000).per_epoch == 49
    assert count_steps(packed, 1000).per_epoch == 500


def test_packing_never_makes_more_sequences_than_rows() -> None:
    packed = recipe({"data.max_length": 16, "training.micro_batch": 1, "training.accumulation": 1})
    assert count_steps(packed, 10, total_tokens=1_000_000).per_epoch == 10


@pytest.mark.parametrize("rows", [0, 1])
def test_there_is_always_a_step(rows: int) -> None:
    assert count_steps(recipe(UNPACKED), rows).total == 1
