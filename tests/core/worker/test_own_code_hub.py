"""Code of a model on the hub: fetched to be looked at without weights, then with them, and pinned to what was seen."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from finetune_core.errors import FtError
from finetune_core.models import trust
from finetune_core.models.find import find
from finetune_core.plan.foreign_code import ForeignCode, look_at_code
from tests.core.worker import tiny
from tests.core.worker.model_hub import COMMIT, Hub
from tests.core.worker.own_code import make_own_code
from tests.core.worker.test_download import environment, train

OTHER = "f" * 40


@pytest.fixture
def own_hub(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub whose some/tiny runs only with its own code, and that this process may ask."""
    folder = make_own_code(tmp_path / "mine", tmp_path / "mark")
    hub.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name, value in environment(hub).items():
        monkeypatch.setenv(name, value)
    return hub


def looked() -> ForeignCode:
    found = look_at_code("some/tiny")
    assert found is not None
    return found


def test_its_code_comes_without_weights_and_with_its_commit(own_hub: Hub, tmp_path: Path) -> None:
    found = looked()
    assert (found.name, found.commit, found.consent) == ("some/tiny", COMMIT, None)
    assert [file.name for file in found.files] == ["configuration_mine.py", "modeling_mine.py"]
    assert found.files[0].content == own_hub.files["configuration_mine.py"]
    assert not any(path.endswith(".safetensors") for path in own_hub.got)
    assert not (tmp_path / "mark").exists()


def test_with_consent_a_run_downloads_it_and_trains(own_hub: Hub, tmp_path: Path, data: Path) -> None:
    # Where transformers would import the code from by default lies what others may have put there.
    planted = Path(os.environ["HF_HOME"]) / "modules" / "transformers_modules" / "__init__.py"
    planted.parent.mkdir(parents=True)
    planted.write_text(f"open({str(tmp_path / 'planted')!r}, 'w')")
    looked().trust()
    assert find("some/tiny").kind == "hub", "its weights are to be downloaded"
    run = train(own_hub, tmp_path / "home", data)
    assert tiny.ended(run)["state"] == "done", run.log_file.read_text()
    assert json.loads((run.result / "adapter_config.json").read_text())["base_model_name_or_path"] == "some/tiny"
    assert (tmp_path / "mark").exists()
    assert not (tmp_path / "planted").exists()


def test_a_fresh_cache_gets_the_code_with_the_weights(own_hub: Hub, tmp_path: Path, data: Path) -> None:
    looked().trust()
    shutil.rmtree(os.environ["HF_HOME"])
    run = train(own_hub, tmp_path / "home", data)
    assert tiny.ended(run)["state"] == "done", run.log_file.read_text()


def test_a_branch_that_moves_to_other_code_is_refused(own_hub: Hub, tmp_path: Path, data: Path) -> None:
    looked().trust()
    shutil.rmtree(os.environ["HF_HOME"])
    own_hub.commit = OTHER
    own_hub.files["modeling_mine.py"] += b"\n"
    run = train(own_hub, tmp_path / "home", data)
    ended = tiny.ended(run)
    assert ended["state"] == "failed"
    assert "another than the one you looked at" in ended["cause"] + run.log_file.read_text()
    assert COMMIT in ended["remedy"]
    assert not (tmp_path / "mark").exists()


def test_without_consent_no_code_comes_and_it_can_be_looked_at_later(own_hub: Hub, tmp_path: Path, data: Path) -> None:
    run = train(own_hub, tmp_path / "home", data)
    assert "ft-tui trust some/tiny" in tiny.ended(run)["remedy"]
    assert not any(path.endswith((".py", ".safetensors")) for path in own_hub.got), "refused before its weights come"
    found = looked()
    assert (found.commit, len(found.files)) == (COMMIT, 2)
    found.trust()
    assert find("some/tiny").problem is None
    assert trust.wants_code("some/tiny")


def test_a_hub_that_refuses_is_told_in_words(own_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    own_hub.gated = True
    with pytest.raises(FtError, match="gated"):
        looked()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FtError, match="may not be asked"):
        looked()
