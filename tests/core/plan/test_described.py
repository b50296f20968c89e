"""What describes a model of the hub comes before its weights, and says what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ft_core import demo
from ft_core.errors import FtError
from ft_core.models.facts import ModelFacts
from ft_core.models.find import find
from ft_core.plan.described import describe, undescribed
from tests.core.worker.model_hub import COMMIT, Hub, serving, variables


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that has the demo's model as some/tiny."""
    with serving({path.name: path.read_bytes() for path in demo.model_dir().iterdir() if path.is_file()}) as server:
        for name, value in variables(server).items():
            monkeypatch.setenv(name, value)
        yield server


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
def test_a_repository_without_a_usable_model_is_refused(hub: Hub, gone: str, said: str) -> None:
    del hub.files[gone]
    if gone == "config.json":
        hub.files = {name: text for name, text in hub.files.items() if not name.endswith((".bin", ".py"))}
    with pytest.raises(FtError, match=said):
        described()


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
