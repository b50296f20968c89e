"""`ft-tui trust`: what it shows, what it takes as consent, and that nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from finetune_core.models import trust
from finetune_tui.cli import cli
from tests.core.models.folders import model_folder
from tests.tui.pseudo_terminal import Terminal

MAPS = {"AutoConfig": "configuration_mine.MineConfig", "AutoModelForCausalLM": "modeling_mine.MineForCausalLM"}
HOSTILE = "\x1b]0;owned\x07"


def own_code(folder: Path) -> Path:
    """A model that runs only with its own code; its weights are zeros."""
    config = {"model_type": "mine", "architectures": ["MineForCausalLM"], "auto_map": MAPS}
    model_folder(folder, config=config)
    (folder / "configuration_mine.py").write_text("class MineConfig:\n    pass\n")
    (folder / "modeling_mine.py").write_text(f"# {HOSTILE} [red]\n" + "x = 1\n" * 60)
    return folder


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return own_code(tmp_path / "mine")


def ft(*words: str) -> Result:
    return CliRunner().invoke(cli, ["trust", *words])


def answered(mine: Path, typed: str) -> tuple[int, str]:
    """Exit code and all that was shown, with this typed at a real terminal."""
    with Terminal(["trust", str(mine)], columns=200) as terminal:
        terminal.until("name: ")
        terminal.send(f"{typed}\r")
        terminal.until("rusted")
        terminal.read(0.5)
        return terminal.process.wait(10), terminal.output.decode(errors="replace")


def test_it_shows_every_file_with_its_path_and_what_code_can_do(mine: Path) -> None:
    shown = ft(str(mine))
    assert str(mine / "modeling_mine.py") in shown.stdout
    assert "61" in shown.stdout
    assert "a folder" in shown.stdout
    assert "SSH agent" in shown.stderr


def test_a_hostile_file_name_cannot_act_on_the_terminal(mine: Path) -> None:
    (mine / f"evil{HOSTILE}\n.py").write_text("")
    shown = ft(str(mine))
    assert "evil" in shown.stdout
    assert "\x1b" not in shown.output
    assert len(shown.stdout.splitlines()) == 6


def test_without_a_terminal_nothing_is_trusted(mine: Path) -> None:
    shown = CliRunner().invoke(cli, ["trust", str(mine)], input=f"{mine}\n")
    assert shown.exit_code == 2
    assert "nothing was trusted" in shown.stderr
    assert not trust.is_trusted(mine)


def test_there_is_no_way_to_say_yes_beforehand(mine: Path) -> None:
    for option in ("--yes", "-y", "--force"):
        assert ft(str(mine), option).exit_code == 2
    assert not trust.is_trusted(mine)


def test_another_name_trusts_nothing(mine: Path) -> None:
    for typed in ("", "yes", "y", mine.name, f"{mine} "):
        code, shown = answered(mine, typed)
        assert code == 2, shown
        assert "nothing was trusted" in shown
    assert trust.trusted() == ()


def test_the_exact_name_trusts_these_files(mine: Path) -> None:
    code, shown = answered(mine, str(mine))
    assert code == 0, shown
    assert trust.is_trusted(mine)
    again = ft(str(mine))
    assert (again.exit_code, "Trusted since" in again.stderr) == (0, True)


def test_data_as_json_asks_nothing_and_trusts_nothing(mine: Path) -> None:
    found = json.loads(ft(str(mine), "--json").stdout)
    assert (found["model"], found["commit"], found["trusted"]) == (str(mine), None, False)
    assert [Path(file["path"]).name for file in found["files"]] == ["configuration_mine.py", "modeling_mine.py"]
    assert trust.trusted() == ()


def test_what_is_trusted_is_listed_and_taken_back(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No code of any model" in ft().stderr
    given = trust.trust(str(mine), None, trust.code_in(mine))
    trust.trust("owner/name", "0123456789abcdef", trust.code_in(mine))
    assert "owner/name" in ft().stdout
    assert "0123456789ab" in ft().stdout
    listed = json.loads(ft("--json").stdout)["trusted"]
    assert [one["fingerprint"] for one in listed] == [given.fingerprint] * 2
    assert ft("owner/name", "--withdraw").exit_code == 0
    monkeypatch.chdir(mine.parent)
    assert ft("./mine", "--withdraw").exit_code == 0
    assert trust.trusted() == ()
    assert ft("owner/name", "--withdraw").exit_code == 2


def test_a_damaged_store_is_told_where_one_asks_for_it(mine: Path) -> None:
    trust.trust(str(mine), None, trust.code_in(mine))
    trust.store().write_text("{")
    for words in ([], [str(mine), "--withdraw"]):
        shown = ft(*words)
        assert shown.exit_code == 2
        assert "none is trusted" in shown.stderr


def test_wrong_use_and_a_model_that_needs_none_are_told(tmp_path: Path) -> None:
    assert ft("--withdraw").exit_code == 2
    assert ft("--revision", "x").exit_code == 2
    shown = ft("demo")
    assert (shown.exit_code, "needs no code" in shown.stderr) == (2, True)
    assert ft(str(tmp_path / "nowhere")).exit_code == 2


def test_names_of_models_that_are_trusted_are_completed(mine: Path) -> None:
    trust.trust("owner/name", None, trust.code_in(mine))
    variables = {"_FT_TUI_COMPLETE": "bash_complete", "COMP_WORDS": "ft-tui trust o", "COMP_CWORD": "2"}
    done = CliRunner().invoke(cli, [], prog_name="ft-tui", env=variables)
    assert "owner/name" in done.output
