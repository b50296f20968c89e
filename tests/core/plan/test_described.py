"""What describes a model of the hub comes before its weights, and says what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from finetune_core.errors import FtError
from finetune_core.models.facts import ModelFacts
from finetune_core.models.find import find
from finetune_core.plan.describe import describe, undescribed
from tests.core.worker.faults import answering
from tests.core.worker.model_hub import COMMIT, Hub, serving_the_demo


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving_the_demo(monkeypatch) as hub:
        yield hub


def described() -> ModelFacts:
    found = find("some/tiny")
    assert undescribed(found)
    facts = describe(found)
    assert facts is not None
    return facts


def test_shapes_and_template_are_known_without_weights(hub: Hub) -> None:
    facts, here = described(), find("demo")
    assert (facts.kind, facts.problem) == ("hub", None)
    assert facts.path is not None
    assert facts.path.name == COMMIT
    assert (facts.hidden, facts.layers, facts.vocabulary) == (here.hidden, here.layers, here.vocabulary)
    assert facts.has_chat_template
    assert facts.size_bytes == here.size_bytes
    assert not undescribed(facts)
    assert not any(path.endswith((".safetensors", ".py", ".bin")) for path in hub.got)


def test_one_can_leave_it(hub: Hub) -> None:
    assert describe(find("some/tiny"), lambda: True) is None
    assert not any("/resolve/" in path for path in hub.got)


def test_the_hub_is_not_asked_where_that_is_forbidden(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not undescribed(find("some/tiny"))
    with pytest.raises(FtError, match="may not be asked"):
        describe(find("some/tiny"))
    assert hub.asked == []


@pytest.mark.parametrize(
    ("gone", "said"),
    [("config.json", "no model in the form of transformers"), ("model.safetensors", "pickles only")],
)
def test_a_repository_without_a_usable_model_is_refused_until_it_has_one(hub: Hub, gone: str, said: str) -> None:
    whole = dict(hub.files)
    del hub.files[gone]
    hub.files = {name: text for name, text in hub.files.items() if "/" not in name}
    problem = described().problem
    assert problem is not None
    assert said in problem.what
    assert find("some/tiny").problem == problem, "a plan made later says so too"
    hub.files = whole
    assert described().problem is None


def test_a_name_the_hub_does_not_know_is_refused(hub: Hub) -> None:
    facts = describe(find("some/other"))
    assert facts is not None
    assert facts.problem is not None
    assert "knows no such model" in facts.problem.what


def test_a_hub_that_fails_is_no_problem_of_the_model(hub: Hub) -> None:
    hub.fault = answering(500, at="/api/")
    with pytest.raises(FtError, match="fails at present"):
        described()
    assert find("some/tiny").problem is None


def test_a_file_that_came_damaged_is_fetched_again(hub: Hub) -> None:
    hub.spoilt = {"chat_template.jinja": bytes(len(hub.files["chat_template.jinja"]))}
    with pytest.raises(FtError, match="not the one the hub has"):
        described()
    hub.spoilt = {}
    assert described().has_chat_template


def test_what_is_missing_of_a_description_is_fetched_again(hub: Hub) -> None:
    facts = described()
    assert facts.path is not None
    (facts.path / "tokenizer.json").unlink()
    assert described().problem is None


def test_a_tokenizer_that_the_hub_does_not_have_is_told(hub: Hub) -> None:
    hub.files = {name: text for name, text in hub.files.items() if name not in {"tokenizer.json", "tokenizer.model"}}
    problem = described().problem
    assert problem is not None
    assert "no tokenizer" in problem.what


def test_an_adapter_is_refused_by_name(hub: Hub) -> None:
    del hub.files["config.json"], hub.files["model.safetensors"]
    hub.files["adapter_config.json"] = b'{"base_model_name_or_path": "some/base"}'
    problem = described().problem
    assert problem is not None
    assert "some/base" in problem.why


def test_files_too_large_to_be_fetched_unasked_are_left_on_the_hub(hub: Hub) -> None:
    hub.sizes["vocab.json"] = 10**9
    hub.files["vocab.json"] = b"{}"
    with pytest.raises(FtError, match="too large to be fetched unasked"):
        described()
    assert not any("/resolve/" in path for path in hub.got)
