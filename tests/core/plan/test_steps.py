from __future__ import annotations

from dataclasses import replace

import pytest

from finetune_core.plan.situation import DataFacts, RowTokens, TokenCount
from finetune_core.plan.steps import Steps, count_steps
from finetune_core.recipe.check import with_values
from tests.core.plan.cases import data, recipe

UNPACKED: dict[str, object] = {"data.packing": "none", "training.micro_batch": 4, "training.accumulation": 4}


def test_steps_are_counted_as_the_trainer_counts_them() -> None:
    values = recipe({**UNPACKED, "training.epochs": 3.0})
    assert count_steps(values, data(400)) == Steps(
        rows=400, sequences=400, effective_batch=16, per_epoch=25, total=75, epochs=3.0
    )


def test_a_last_batch_that_is_not_full_is_a_step() -> None:
    values = recipe({**UNPACKED, "training.epochs": 1.5})
    steps = count_steps(values, data(401))
    assert (steps.per_epoch, steps.total) == (26, 39)


def test_steps_that_are_given_set_the_epochs() -> None:
    steps = count_steps(recipe({**UNPACKED, "training.max_steps": 50}), data(400))
    assert (steps.total, steps.epochs) == (50, 2.0)


def test_gpus_multiply_the_effective_batch() -> None:
    steps = count_steps(recipe(UNPACKED), data(640), gpus=2)
    assert (steps.effective_batch, steps.per_epoch) == (32, 20)


def test_packed_rows_are_counted_by_the_sequences_they_fill() -> None:
    packed = recipe({"data.max_length": 2048, "training.micro_batch": 2, "training.accumulation": 1})
    assert count_steps(packed, data(1000)).per_epoch == 49
    assert count_steps(packed, replace(data(1000), estimated_tokens=None)).per_epoch == 500


def test_packing_never_makes_more_sequences_than_rows() -> None:
    packed = recipe({"data.max_length": 16, "training.micro_batch": 1, "training.accumulation": 1})
    assert count_steps(packed, data(10, mean=100_000)).per_epoch == 10


@pytest.mark.parametrize("rows", [0, 1])
def test_there_is_always_a_step(rows: int) -> None:
    assert count_steps(recipe(UNPACKED), data(rows)).total == 1


def test_rows_counted_in_tokens_are_packed_as_the_trainer_packs_them() -> None:
    """Six rows of 60 fill six sequences of 100, however few tokens they are in all."""
    packed = recipe({"data.max_length": 100, "training.micro_batch": 1, "training.accumulation": 1})
    assert count_steps(packed, data(6, lengths=(60,) * 6)).per_epoch == 6
    assert count_steps(packed, data(6, mean=60)).per_epoch == 4
    assert count_steps(packed, data(6, lengths=(60, 40) * 3)).per_epoch == 3


def test_rows_with_nothing_to_train_on_are_in_no_step() -> None:
    """The second row's first token with a loss lies behind the cut, the third has none, the fourth is one token."""
    rows = RowTokens((50, 90, 20, 1), (10, 70, 20, 1), (False,) * 4)
    facts = DataFacts(4, 0).with_count(TokenCount(rows, TokenCount.of(()).train))
    one = recipe({**UNPACKED, "training.micro_batch": 1, "training.accumulation": 1, "data.max_length": 64})
    assert count_steps(one, facts) == Steps(1, 1, 1, 1, 1, 1.0)
    longer = with_values(one, {"data.max_length": 96})
    assert count_steps(longer, facts).per_epoch == 2
    assert facts.cut(64).rows == 1


def test_raw_text_goes_on_in_rows_of_its_own_and_a_token_that_is_left_over_is_none() -> None:
    rows = RowTokens((10, 64, 129), (1, 1, 1), (True,) * 3)
    assert rows.kept(64) == (10, 64, 64, 64)
    assert rows.kept(None) == (10, 64, 129)
    assert rows.kept(32) == (10, 32, 32, 32, 32, 32, 32)
