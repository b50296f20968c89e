from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from finetune_core import demo
from finetune_core.errors import FtError, Problem
from finetune_core.models.catalogue import from_catalogue
from finetune_core.models.find import find, hub_cache, list_models
from finetune_core.models.hub_card import REFUSED, keep_description, read_description
from tests.core.models.folders import cached_model, model_folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hf" / "hub"


@pytest.fixture(autouse=True)
def demo_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = model_folder(tmp_path / "demo-model")
    monkeypatch.setattr(demo, "model_dir", lambda: folder)
    return folder


def test_the_demo_is_found_by_its_word(demo_model: Path) -> None:
    facts = find("demo")
    assert (facts.kind, facts.path, facts.problem) == ("demo", demo_model, None)


def test_a_cached_model_is_found_by_its_id_at_the_main_branch(cache: Path) -> None:
    cached_model(cache, "org/small", commit="old", branch=None)
    snapshot = cached_model(cache, "org/small", commit="new")
    facts = find("org/small")
    assert (facts.kind, facts.source, facts.path, facts.revision) == ("cache", "org/small", snapshot, "new")


def test_a_revision_is_found_by_branch_or_whole_commit(cache: Path) -> None:
    cached_model(cache, "org/small", commit="main-commit")
    dev = cached_model(cache, "org/small", commit="dev-commit", branch="dev")
    assert find("org/small", "dev").path == dev
    assert find("org/small", "dev-commit").path == dev
    assert find("org/small", "dev-com").kind == "hub"


def test_an_id_that_is_not_on_this_machine_is_on_the_hub_with_all_unknown() -> None:
    facts = find("Qwen/Qwen3-0.6B", "v1")
    assert (facts.kind, facts.path, facts.revision, facts.parameters) == ("hub", None, "v1", None)


def test_a_folder_is_found_by_path_and_by_a_name_that_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model_folder(tmp_path / "org" / "mine")
    monkeypatch.chdir(tmp_path)
    assert find(str(folder)).kind == "folder"
    assert find("org/mine").path == folder
    assert find("./org/mine").path == folder


@pytest.mark.parametrize("source", ["./nothing", "/nothing/here", "~/no-such-folder-at-all"])
def test_a_folder_that_is_not_there_is_an_error(source: str) -> None:
    with pytest.raises(FtError, match="no such folder"):
        find(source)


def test_a_folder_that_holds_no_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FtError, match=r"config\.json"):
        find(str(tmp_path))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(FtError, match="this is a file"):
        find(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize(
    "source", ["", "gpt2", "a/b/c", "a b/c", "../up/x/y/z", "org/..", "org/na--me", "org/x.git", "\x1b/x"]
)
def test_text_that_is_neither_path_nor_id_is_refused(source: str) -> None:
    with pytest.raises(FtError) as caught:
        find(source)
    assert "\x1b" not in str(caught.value)


def test_a_bad_revision_is_refused_with_the_bad_id() -> None:
    with pytest.raises(FtError) as caught:
        find("nonsense", "../../etc")
    assert [found.where for found in caught.value.problems] == ["model.source", "model.revision"]


def test_a_model_whose_download_broke_off_is_on_the_hub_still(cache: Path) -> None:
    snapshot = cached_model(cache, "org/small")
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir()
    (blobs / "0123.incomplete").write_bytes(b"the first half")
    assert find("org/small").kind == "cache", "a later version may be on its way"
    (snapshot / "model.safetensors").unlink()
    facts = find("org/small")
    assert (facts.kind, facts.path, facts.problem) == ("hub", None, None)


def test_a_model_of_which_only_the_description_is_here_is_what_that_says(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, commit = "Qwen/Qwen3-0.6B", "c" * 40
    snapshot = cached_model(cache, name, commit=commit)
    (snapshot / "model.safetensors").unlink()
    assert find(name).path is None, "nobody said that it is whole"
    keep_description(name, None, commit=commit, weights=1234)
    facts, known = find(name), from_catalogue(name)
    assert known is not None
    assert (facts.kind, facts.path, facts.problem) == ("hub", snapshot, None)
    assert (facts.hidden, facts.parameters, facts.size_bytes) == (64, known.parameters, 1234)
    assert find(name, "other").path is None, "that of another revision"
    assert [model.kind for model in list_models()] == ["demo"], "it is not on this machine"
    config = json.loads((snapshot / "config.json").read_text())
    (snapshot / "config.json").write_text(json.dumps(config | {"model_type": "never-heard-of"}))
    refused = find(name)
    assert refused.kind == "hub", "the hub is asked again"
    assert refused.problem is not None
    assert "never-heard-of" in refused.problem.what
    (snapshot / "config.json").unlink()
    assert (find(name).path, find(name).problem) == (None, None), "the cache was cleared"


def test_another_revision_s_description_is_not_taken_for_the_main_branch(cache: Path) -> None:
    snapshot = cached_model(cache, "org/small", commit="a" * 40, branch="4bit")
    (snapshot / "model.safetensors").unlink()
    keep_description("org/small", "4bit", commit="a" * 40)
    assert find("org/small", "4bit").path == snapshot
    assert find("org/small").path is None


def test_what_the_hub_refused_stays_known(cache: Path) -> None:
    wrong = Problem("the hub knows no such model", "org/small", "404", "check the spelling", kind=REFUSED)
    keep_description("org/small", None, commit=None, problem=wrong)
    assert find("org/small").problem == wrong


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"commit": 7}', '{"commit": "../..", "asked": 1}', "\0" * 99])
def test_a_damaged_note_of_a_description_is_no_note(cache: Path, home: Path, text: str) -> None:
    keep_description("org/small", None, commit="a" * 40)
    assert read_description("org/small", None) is not None
    (kept,) = (home / "cache" / "descriptions").iterdir()
    kept.write_text(text)
    assert read_description("org/small", None) is None
    assert find("org/small").problem is None


def test_a_ref_cannot_lead_out_of_the_cache(cache: Path, tmp_path: Path) -> None:
    model_folder(tmp_path / "secret")
    refs = cache / "models--org--small" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(str(tmp_path / "secret"))
    assert find("org/small").kind == "hub"


def test_models_are_listed_demo_first_then_newest_first(cache: Path, tmp_path: Path) -> None:
    older = cached_model(cache, "org/older")
    newer = cached_model(cache, "org/newer-with-a-dash")
    folder = model_folder(tmp_path / "models" / "mine")
    for age, path in ((300, older), (200, folder), (100, newer)):
        os.utime(path, (1e9 - age, 1e9 - age))
    listed = list_models([tmp_path / "models"])
    assert [facts.source for facts in listed] == ["demo", "org/newer-with-a-dash", str(folder), "org/older"]


def test_a_model_that_cannot_be_used_is_listed_with_its_problem(cache: Path) -> None:
    snapshot = cached_model(cache, "org/half")
    (snapshot / "model.safetensors").unlink()
    _, half = list_models()
    assert half.problem is not None


def test_a_tokenizer_alone_in_the_cache_is_no_model(cache: Path) -> None:
    snapshot = cached_model(cache, "org/tokenizer-only")
    (snapshot / "config.json").unlink()
    assert [facts.kind for facts in list_models()] == ["demo"]


def test_a_folder_that_is_a_model_itself_is_listed(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "mine")
    assert [facts.path for facts in list_models([folder, folder])][1:] == [folder]


def test_the_cache_is_where_the_hub_library_puts_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert hub_cache() == tmp_path / ".cache" / "huggingface" / "hub"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert hub_cache() == Path("/xdg/huggingface/hub")
    monkeypatch.setenv("HF_HOME", "~/hf")
    assert hub_cache() == tmp_path / "hf" / "hub"
    monkeypatch.setenv("HUGGINGFACE_HUB_CACHE", "/old")
    assert hub_cache() == Path("/old")
    monkeypatch.setenv("HF_HUB_CACHE", "$HOME/hub")
    assert hub_cache() == tmp_path / "hub"
