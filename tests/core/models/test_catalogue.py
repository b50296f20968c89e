from __future__ import annotations

import pytest

from finetune_core.models.catalogue import catalogue, family, from_catalogue, provenance
from finetune_core.models.facts import ModelFacts
from finetune_core.models.find import find
from finetune_core.plan.memory.estimate import estimate, exact
from finetune_core.plan.memory.layer_activations import known
from finetune_core.plan.memory.sizes import sizes
from finetune_core.recipe.schema import Recipe


@pytest.mark.parametrize("model", catalogue(), ids=lambda model: model.source)
def test_the_shapes_make_the_published_number_of_parameters(model: ModelFacts) -> None:
    shape = sizes(model, Recipe(), "cuda")
    assert shape is not None
    if model.figures is not None:
        assert model.parameters == model.figures.parameters > shape.linear + shape.head
        return
    counted = shape.linear + shape.experts + shape.head * (1 if model.tied else 2)
    assert counted == pytest.approx(model.parameters, rel=0.01)


@pytest.mark.parametrize("model", catalogue(), ids=lambda model: model.source)
def test_every_architecture_offered_is_known_to_the_closed_form(model: ModelFacts) -> None:
    assert known(model.model_type) == (model.figures is None)
    assert exact(model)
    assert model.licence
    assert model.context
    assert model.gated is not None


def test_no_model_stands_in_it_twice_and_it_says_where_it_comes_from() -> None:
    names = [model.source for model in catalogue()]
    assert len(set(names)) == len(names) > 40
    source, date = provenance()
    assert "config.json" in source
    assert date.startswith("20")


def test_a_model_that_is_not_here_can_be_planned_for_by_its_shapes() -> None:
    found = find("Qwen/Qwen3-8B")
    assert (found.kind, found.path, found.layers) == ("hub", None, 36)
    assert estimate(found, Recipe(), "cuda") is not None
    assert family("Qwen/Qwen3-8B") == "Qwen 3"
    assert find("Qwen/Qwen3-8B", "some-branch").layers is None, "another revision may be another model"
    assert from_catalogue("org/unseen") is None
    assert find("org/unseen").layers is None
