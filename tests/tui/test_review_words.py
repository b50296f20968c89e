"""The sentences of the review promise only what is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from finetune_core.plan.prepare import prepare
from finetune_core.plan.situation import TokenCount
from finetune_core.recipe.check import reopened, with_values
from finetune_tui.wizard.steps.review import what_will_happen
from tests.fakes import machine
from tests.tui.wizard_driver import demo_recipe

COUNTED = TokenCount.of((40,) * 380, (40,) * 20)


@pytest.mark.parametrize(
    ("values", "counted", "about"),
    [
        ({"data.packing": "bfd"}, None, True),
        ({"data.packing": "bfd"}, COUNTED, False),
        ({"data.packing": "bfd"}, replace(COUNTED, exact=False), True),
        ({"data.packing": "none"}, None, True),
        ({"data.packing": "none"}, COUNTED, False),
        ({"data.packing": "bfd", "training.max_steps": 7, "training.epochs": None}, None, False),
    ],
)
def test_the_number_of_steps_is_called_a_guess_where_it_is_one(
    values: dict[str, object], counted: TokenCount | None, about: bool
) -> None:
    prepared = prepare(with_values(demo_recipe(), values), counted=counted)
    assert prepared.steps is not None
    words = what_will_happen(prepared).plain
    assert f"{prepared.steps.total} steps of" in words
    assert (f"about {prepared.steps.total} steps" in words) == about
    assert ("The run counts them all before it trains" in words) == (not prepared.counted)


def test_while_tokens_are_counted_no_number_is_shown_that_follows_from_them() -> None:
    prepared = prepare(demo_recipe(), hardware=machine())
    assert prepared.steps is not None
    words = what_will_happen(prepared, "Counting tokens … 20 of 400 rows").plain
    assert "Counting tokens … 20 of 400 rows" in words
    for number in ("steps of", "tokens/s", "rows of", "rank", "learning rate", " kWh"):
        assert number not in words


def test_a_recipe_launched_before_the_count_holds_no_value_that_the_count_would_change() -> None:
    open_fields: dict[str, Any] = {"training.accumulation": None, "data.max_length": None, "data.packing": "auto"}
    recipe = reopened(demo_recipe(), open_fields)
    at_once = prepare(recipe, hardware=machine())
    assert {field: at_once.to_launch.get(field) for field in open_fields} == open_fields
    assert at_once.to_launch.hardware.device == "cpu"
    counted = prepare(recipe, counted=COUNTED, hardware=machine())
    assert counted.to_launch == counted.recipe
