"""A tokenizer that the trainer would refuse after the launch is refused before it, in the same words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from finetune_core import demo
from finetune_core.data.tokens.client import TokenWorker
from finetune_core.errors import FtError
from finetune_core.models.inspect import inspect_folder
from finetune_core.plan.prepare import prepare
from finetune_core.plan.tokenizer import tokenizer_problems
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """The demo's model, whose tokenizer names no end token."""
    folder = tmp_path / "endless"
    shutil.copytree(demo.model_dir(), folder)
    file = folder / "tokenizer_config.json"
    found = json.loads(file.read_text())
    del found["eos_token"]
    file.write_text(json.dumps(found))
    return folder


def words(error: pytest.ExceptionInfo[FtError]) -> list[str]:
    return [found.what for found in error.value.problems]


def test_a_tokenizer_without_an_end_token_is_refused_by_plan_preview_and_trainer_alike(endless: Path) -> None:
    from finetune_core.worker.rows.tokenizer import load_tokenizer

    recipe = with_values(Recipe(), {"model.source": str(endless), "data.source": "demo"})
    with pytest.raises(FtError) as planned:
        prepare(recipe)
    with pytest.raises(FtError) as previewed, TokenWorker(endless) as worker:
        worker.start()
    with pytest.raises(FtError) as trained:
        load_tokenizer(endless)
    assert words(planned) == words(previewed) == words(trained) == ["the tokenizer names no end token"]


def test_a_tokenizer_is_asked_only_where_its_files_name_no_end_token(
    endless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_folder: Path) -> None:
        pytest.fail("a process was started")

    assert tokenizer_problems(inspect_folder(endless, source="endless", kind="folder"))
    monkeypatch.setattr("finetune_core.plan.tokenizer.TokenWorker", refuse)
    assert tokenizer_problems(inspect_folder(demo.model_dir(), source="demo", kind="demo")) == ()


def test_a_tokenizer_that_was_mended_is_asked_again(endless: Path) -> None:
    facts = inspect_folder(endless, source="endless", kind="folder")
    assert tokenizer_problems(facts)
    shutil.copy(demo.model_dir() / "tokenizer_config.json", endless)
    assert tokenizer_problems(facts) == ()
