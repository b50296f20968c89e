"""The sentences of the review promise only what is known."""

from __future__ import annotations

import pytest

from ft_core.plan.prepare import prepare
from ft_core.recipe.check import with_values
from ft_tui.screens.wizard_review import what_will_happen
from tests.tui.wizard_driver import demo_recipe


@pytest.mark.parametrize(
    ("values", "lengths", "about"),
    [
        ({"data.packing": "bfd"}, None, True),
        ({"data.packing": "bfd"}, (40,) * 400, False),
        ({"data.packing": "none"}, None, False),
        ({"data.packing": "bfd", "training.max_steps": 7, "training.epochs": None}, None, False),
    ],
)
def test_the_number_of_steps_is_called_a_guess_where_it_is_one(
    values: dict[str, object], lengths: tuple[int, ...] | None, about: bool
) -> None:
    prepared = prepare(with_values(demo_recipe(), values), lengths=lengths)
    assert prepared.steps is not None
    words = what_will_happen(prepared).plain
    assert f"{prepared.steps.total} steps of" in words
    assert (f"about {prepared.steps.total} steps" in words) == about
