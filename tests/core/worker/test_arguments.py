from __future__ import annotations

import pytest

from finetune_core.errors import FtError
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.worker.failures import explain


def check(*targets: str) -> None:
    import torch

    from finetune_core.worker.model.adapter import check_targets

    layer = torch.nn.ModuleDict({"q_proj": torch.nn.Linear(2, 2), "norm": torch.nn.LayerNorm(2)})
    model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([layer]), "lm_head": torch.nn.Linear(2, 2)})
    check_targets(with_values(Recipe(), {"adapter.target_modules": list(targets)}), model)


@pytest.mark.parametrize("name", ["nosuch", "norm", "roj", "layers.1.q_proj", "layers"])
def test_a_layer_that_cannot_take_an_adapter_fails_the_run_with_the_names_of_those_that_can(name: str) -> None:
    with pytest.raises(FtError) as caught:
        check("q_proj", name)
    cause, remedy = explain(caught.value)
    assert f"the model has no layer `{name}`" in cause
    assert "can take an adapter: q_proj)" in cause
    assert "all-linear" in remedy


def test_layers_are_named_by_the_end_of_their_path() -> None:
    check("q_proj", "layers.0.q_proj", "0.q_proj")
