"""A token that is typed is kept by the hub's own library alone, and opens a gated model."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from finetune_core.errors import FtError
from finetune_core.models.find import find
from finetune_core.plan.describe import describe
from finetune_core.plan.hub_login import log_in, token_file, token_found_in
from finetune_tui.cli import cli
from tests.core.worker.model_hub import Hub, serving_the_demo

TOKEN = "hf_CANARYcanaryCANARYcanary0123456789"
OTHER = "hf_OTHERotherOTHERotherOTHERother0123"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving_the_demo(monkeypatch) as hub:
        hub.gated = True
        hub.users, hub.accepted = {TOKEN: "ada", OTHER: "bob"}, {"ada"}
        yield hub


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Sequence[str], dict[str, str]]]:
    """Every command with its environment that this process starts."""
    seen: list[tuple[Sequence[str], dict[str, str]]] = []
    start = subprocess.Popen.__init__

    def noted(process: Any, command: Sequence[str], **named: Any) -> None:
        seen.append((command, dict(named["env"])))
        start(process, command, **named)

    monkeypatch.setattr(subprocess.Popen, "__init__", noted)
    return seen


def files_with(text: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_a_typed_token_is_kept_by_the_library_and_in_no_other_file_argument_or_variable(
    hub: Hub, home: Path, commands: list[tuple[Sequence[str], dict[str, str]]]
) -> None:
    assert token_found_in() is None
    assert log_in(f"  {TOKEN}\n") == "ada"
    assert token_file().read_text() == TOKEN
    assert token_file().stat().st_mode & 0o077 == 0
    assert token_found_in() == str(token_file())
    assert files_with(TOKEN, home) == []
    assert len(commands) == 1
    assert not any(TOKEN in word for word in (*commands[0][0], *commands[0][1].values()))


def test_a_gated_model_names_its_page_and_opens_with_a_token_of_one_who_accepted(hub: Hub) -> None:
    page = f"open {hub.address}/some/tiny, and accept its licence there"
    model = find("some/tiny")
    without = describe(model)
    assert without is not None
    assert without.problem is not None
    assert "gated, and no valid token was given (401)" in without.problem.what
    assert page in without.problem.remedy
    assert "ft-tui models login" in without.problem.remedy
    log_in(OTHER)
    other = describe(model)
    assert other is not None
    assert other.problem is not None
    assert "gated (403)" in other.problem.what
    assert page in other.problem.remedy
    log_in(TOKEN)
    opened = describe(model)
    assert opened is not None
    assert opened.problem is None
    assert opened.path is not None


def test_a_token_the_hub_does_not_know_is_refused_and_not_kept(hub: Hub) -> None:
    with pytest.raises(FtError) as refused:
        log_in("hf_unknownunknownunknown")
    assert "does not accept this token" in str(refused.value)
    assert f"{hub.address}/settings/tokens" in str(refused.value)
    assert "hf_unknown" not in str(refused.value)
    assert not token_file().exists()


@pytest.mark.parametrize("text", ["", "  ", "two words", "hf_\x1b[2J", "é" * 20, "x" * 5000])
def test_what_is_no_token_is_refused_without_asking(hub: Hub, text: str) -> None:
    with pytest.raises(FtError, match="no token"):
        log_in(text)
    assert hub.asked == []


def test_a_hub_that_may_not_be_asked_is_not(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FtError, match="HF_HUB_OFFLINE"):
        log_in(TOKEN)
    assert hub.asked == []


def test_a_token_in_the_environment_is_named_and_said_to_go_before_the_typed_one(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", OTHER)
    assert token_found_in() == "HF_TOKEN"
    done = CliRunner().invoke(cli, ["models", "login"], input=f"{TOKEN}\n")
    assert done.exit_code == 0
    assert "The token of ada is kept" in done.stderr
    assert "unset HF_TOKEN" in done.stderr
    assert TOKEN not in done.output
