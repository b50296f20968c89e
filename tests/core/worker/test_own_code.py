"""Code that comes with a model runs with the user's consent to exactly these bytes, and never without."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import dynamic_module_utils

from finetune_core.errors import FtError
from finetune_core.models import trust
from finetune_core.models.config import check_folder
from finetune_core.models.find import find
from finetune_core.models.json_file import CODE
from finetune_core.plan.foreign_code import code_warning, look_at_code
from finetune_core.recipe.read import read
from finetune_core.runs.directory import RunDir
from finetune_core.worker.foreign_code import use_private_modules
from finetune_core.worker.memory.layer_costs import figures
from finetune_core.worker.memory.trace import answer
from finetune_core.worker.rows.tokenizer import load_tokenizer
from tests.core.worker import tiny
from tests.core.worker.own_code import changed, make_own_code


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """There once the model's code was imported."""
    return tmp_path / "mark"


@pytest.fixture
def mine(tmp_path: Path, mark: Path) -> Path:
    return make_own_code(tmp_path / "mine", mark)


@pytest.fixture(autouse=True)
def own_modules(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code of models is imported from this test's home, whichever one the process asked for first.

    Packages imported before keep the folder they were found in, so a model of the same name would be sought there.
    """
    use_private_modules.cache_clear()
    monkeypatch.setattr(sys, "path", [place for place in sys.path if Path(place).parts[-2:] != ("cache", "modules")])
    for name in [name for name in sys.modules if name.split(".")[0] == "transformers_modules"]:
        del sys.modules[name]


def consent(folder: Path) -> trust.Consent:
    found = look_at_code(str(folder))
    assert found is not None
    return found.trust()


def refusal(folder: Path) -> str:
    with pytest.raises(FtError) as caught:
        check_folder(folder)
    return str(caught.value)


def run_of(folder: Path, data: Path, home: Path, **changes: object) -> RunDir:
    quick = {"training__epochs": 1.0, "samples__count": 0, "evaluation__questions": 0}
    recipe = tiny.make_recipe(folder, data, **quick, **changes)
    run = tiny.make_run(home, recipe)
    tiny.train(run)
    return run


def test_without_consent_it_is_refused_and_never_imported(mine: Path, mark: Path, data: Path, home: Path) -> None:
    said = refusal(mine)
    assert "configuration_mine.py" in said
    assert f"ft-tui trust {mine}" in said
    found = find(str(mine)).problem
    assert found is not None
    assert found.kind == CODE
    look_at_code(str(mine))
    ended = tiny.ended(run_of(mine, data, home))
    assert (ended["state"], "code that comes with it" in ended["cause"]) == ("failed", True)
    with pytest.raises(FtError):
        load_tokenizer(mine)
    assert "problem" in answer({"folder": str(mine)}, lambda *_: pytest.fail("it was traced"))
    assert not mark.exists()


def test_with_consent_it_trains_and_the_run_tells_what_it_ran(
    mine: Path, mark: Path, data: Path, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = consent(mine)
    assert not mark.exists()
    run = run_of(mine, data, home)
    assert tiny.ended(run)["state"] == "done", run.log_file.read_text()
    assert mark.exists()
    assert (run.result / "adapter_model.safetensors").exists()
    assert tiny.events(run, "plan")[0]["model_code"] == given.fingerprint
    assert f"consented to on {given.day}" in capfd.readouterr().err
    modules = Path(dynamic_module_utils.HF_MODULES_CACHE)
    assert modules.parts[-3:] == ("home", "cache", "modules")
    assert stat.S_IMODE(modules.stat().st_mode) == 0o700
    warning = code_warning(find(str(mine)))
    assert warning is not None
    assert given.day in warning.what


def test_with_consent_it_can_be_traced_and_its_rows_be_counted(mine: Path) -> None:
    consent(mine)
    load_tokenizer(mine)
    found = answer({"folder": str(mine)}, lambda config, _: {"parameters": figures(config).parameters})
    assert found["parameters"] > 1000


def test_a_model_tuned_whole_keeps_its_code_and_the_consent_to_it(mine: Path, data: Path, home: Path) -> None:
    consent(mine)
    run = run_of(mine, data, home, adapter__kind="none")
    assert tiny.ended(run)["state"] == "done", run.log_file.read_text()
    check_folder(run.result)
    assert trust.is_trusted(run.result)


def _other_byte(folder: Path) -> None:
    path = folder / "modeling_mine.py"
    path.write_text(path.read_text() + "\n")


def _one_more(folder: Path) -> None:
    (folder / "more.py").write_text("")


def _renamed(folder: Path) -> None:
    (folder / "modeling_mine.py").rename(folder / "modeling_other.py")


@pytest.mark.parametrize("change", [_other_byte, _one_more, _renamed])
def test_other_code_is_refused_again(mine: Path, mark: Path, change: Callable[[Path], None]) -> None:
    consent(mine)
    check_folder(mine)
    change(mine)
    assert not trust.is_trusted(mine)
    assert "another than the one you looked at" in refusal(mine)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"auto_map": {"AutoConfig": "configuration_mine.MineConfig",
                       "AutoModelForCausalLM": "some/other--modeling_mine.MineForCausalLM"}}, "another repository"),
        ({"auto_map": {"AutoConfig": "configuration_mine.MineConfig",
                       "AutoModelForCausalLM": "/tmp/evil.MineForCausalLM"}}, "names no file of this folder"),
        ({"auto_map": {"AutoConfig": "configuration_mine.MineConfig",
                       "AutoModelForCausalLM": "inner/evil.MineForCausalLM"}}, "names no file of this folder"),
        ({"nested": {"trust_remote_code": True}}, "sets trust_remote_code"),
        ({"attn_implementation": "evil/kernel"}, "compiled code on the hub"),
        ({"text_config": {"model_type": "../x"}}, "no name of a model type"),
    ],
)  # fmt: skip
def test_what_consent_cannot_cover_stays_refused(mine: Path, change: dict[str, object], words: str) -> None:
    consent(mine)
    changed(mine, **change)
    assert words in refusal(mine)
    with pytest.raises(FtError, match=r"code that comes with it|cannot be used"):
        look_at_code(str(mine))


def test_a_tokenizer_of_another_repository_is_not_let_in_by_the_models_code(mine: Path) -> None:
    consent(mine)
    changed(mine, "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "some/other--tok.T"]})
    assert not trust.is_trusted(mine)
    assert "another repository" in refusal(mine)


def test_a_generate_function_in_a_folder_beside_it_is_refused(mine: Path) -> None:
    consent(mine)
    (mine / "custom_generate").mkdir()
    (mine / "custom_generate" / "generate.py").write_text("def generate(model): ...")
    assert not trust.is_trusted(mine)
    assert "custom_generate" in refusal(mine)


def test_code_that_has_no_model_to_tune_is_refused_before_anybody_is_asked(mine: Path) -> None:
    changed(mine, auto_map={"AutoConfig": "configuration_mine.MineConfig"})
    with pytest.raises(FtError, match="no model that writes on"):
        look_at_code(str(mine))


def test_a_model_that_needs_no_code_is_not_asked_for(model: Path) -> None:
    with pytest.raises(FtError, match="needs no code"):
        look_at_code(str(model))


def test_named_code_that_is_not_there_is_told(mine: Path) -> None:
    (mine / "modeling_mine.py").unlink()
    with pytest.raises(FtError, match=r"modeling_mine\.py"):
        look_at_code(str(mine))


def test_code_beyond_reading_and_pipes_are_refused(mine: Path) -> None:
    os.truncate(mine / "modeling_mine.py", trust.FILE_LIMIT + 1)
    with pytest.raises(FtError, match="larger than 2 MiB"):
        look_at_code(str(mine))
    (mine / "modeling_mine.py").unlink()
    os.mkfifo(mine / "modeling_mine.py")
    with pytest.raises(FtError, match="no regular file"):
        look_at_code(str(mine))
    (mine / "modeling_mine.py").unlink()
    for number in range(trust.FILES_LIMIT):
        (mine / f"m{number}.py").touch()
    with pytest.raises(FtError, match="at most 100"):
        look_at_code(str(mine))


def test_a_recipe_cannot_carry_consent(mine: Path, tmp_path: Path) -> None:
    for line in ("trust_remote_code: true", "model_code: x", "trusted_code: true"):
        path = tmp_path / "recipe.yaml"
        path.write_text(f"model:\n  source: {mine}\n  {line}\n")
        chosen = read(path)
        problems = chosen.problems if hasattr(chosen, "problems") else ()
        assert any(line.partition(":")[0] in found.where + found.what for found in problems)
    assert not trust.is_trusted(mine)


def test_consent_can_be_taken_back(mine: Path) -> None:
    consent(mine)
    consent(mine)
    assert [one.name for one in trust.trusted()] == [str(mine)]
    assert trust.withdraw(str(mine)) == 1
    assert trust.withdraw(str(mine)) == 0
    assert not trust.is_trusted(mine)


def test_the_store_is_private_and_holds_no_more_than_it_says(mine: Path) -> None:
    consent(mine)
    assert stat.S_IMODE(trust.store().stat().st_mode) == 0o600
    (kept,) = json.loads(trust.store().read_text())["consents"]
    assert set(kept) == {"fingerprint", "name", "commit", "files", "date"}


def test_a_store_that_is_cut_off_anywhere_trusts_nothing_and_is_never_overwritten(mine: Path) -> None:
    given = consent(mine)
    whole = trust.store().read_bytes()
    for length in range(len(whole) - 1):
        trust.store().write_bytes(whole[:length])
        assert not trust.is_trusted(mine)
    with pytest.raises(FtError, match="none is trusted"):
        trust.trust("x", None, trust.code_in(mine))
    trust.store().write_bytes(whole)
    assert trust.consent_to(mine) == given


@pytest.mark.parametrize(
    "text",
    ["[]", "null", '{"v": 2, "consents": []}', '{"v": 1, "consents": [{}]}', '{"v": 1, "consents": {"a": 1}}',
     '{"v": 1, "consents": [{"fingerprint": 1, "name": "a", "commit": null, "files": [], "date": "d"}]}', "[" * 100_000,
     '{"v": 1, "consents": [{"fingerprint": "f", "name": "a", "commit": null, "files": "ab", "date": "d"}]}'],
)  # fmt: skip
def test_a_store_of_another_form_trusts_nothing(mine: Path, text: str) -> None:
    consent(mine)
    trust.store().write_text(text)
    assert not trust.is_trusted(mine)
    assert not trust.wants_code(str(mine))
    with pytest.raises(FtError, match="none is trusted"):
        trust.trusted()


def test_a_store_that_is_a_link_or_open_to_others_or_a_pipe_trusts_nothing(mine: Path, tmp_path: Path) -> None:
    consent(mine)
    path, elsewhere = trust.store(), tmp_path / "elsewhere.json"
    path.chmod(0o620)
    assert not trust.is_trusted(mine)
    path.chmod(0o600)
    assert trust.is_trusted(mine)
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert not trust.is_trusted(mine)
    with pytest.raises(FtError, match="it is a link"):
        trust.trusted()
    path.unlink()
    os.mkfifo(path)
    assert not trust.is_trusted(mine)


def test_a_store_of_another_user_trusts_nothing(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    consent(mine)
    real = os.fstat

    def foreign(handle: int) -> os.stat_result:
        values = list(real(handle))
        values[stat.ST_UID] += 1
        return os.stat_result(values)

    monkeypatch.setattr("finetune_core.files.os.fstat", foreign)
    assert not trust.is_trusted(mine)
