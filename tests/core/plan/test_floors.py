from __future__ import annotations

import pytest

from finetune_core.plan.advice.advice import situation
from finetune_core.plan.advice.old_gpus import floor_warning
from tests.core.plan.cases import LLAMA_8B, recipe
from tests.fakes import gpu, machine

V100, P100, M40, T4 = (7, 0), (6, 0), (5, 2), (7, 5)


@pytest.mark.parametrize(
    ("values", "card", "wanted"),
    [
        ({"quantization.method": "int8"}, V100, "7.5"),
        ({"quantization.method": "int8"}, T4, None),
        ({"quantization.method": "nf4"}, P100, None),
        ({"quantization.method": "nf4"}, M40, "6.0"),
        ({"training.optimizer": "adamw_8bit"}, M40, "6.0"),
        ({"quantization.method": "none"}, M40, None),
        ({"quantization.method": "int8"}, None, None),
    ],
)
def test_what_the_card_is_too_old_for_is_said_with_what_it_takes(
    values: dict[str, object], card: tuple[int, int] | None, wanted: str | None
) -> None:
    found = floor_warning(situation(recipe(values), machine(gpu(0, capability=card)), LLAMA_8B, None))
    assert (found is None) == (wanted is None)
    if found is not None:
        assert f"from compute capability {wanted} on" in found.why
