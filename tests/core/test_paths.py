from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetune_core import paths
from finetune_core.errors import FtError
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.upkeep.lifecycle import create


def test_the_folders_are_made_private(home: Path) -> None:
    assert paths.runs_root() == home / "runs"
    assert {folder.stat().st_mode & 0o777 for folder in (home, home / "runs")} == {0o700}


def test_what_a_command_makes_is_private_whatever_the_shell_allows(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b"
    command = [sys.executable, "-m", "finetune_tui.cli", "runs"]
    subprocess.run(command, env=os.environ | {"FT_TUI_HOME": str(place)}, umask=0, check=True, capture_output=True)
    assert {folder.stat().st_mode & 0o777 for folder in (tmp_path / "a", place, place / "runs")} == {0o700}


@pytest.mark.parametrize("chosen", ["{file}", "{file}/below", "/proc/nope", "~nobody-has-this-name/x"])
def test_a_home_that_cannot_be_made_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chosen: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FT_TUI_HOME", chosen.format(file=tmp_path / "file"))
    with pytest.raises(FtError) as caught:
        create(Recipe(), {})
    (found,) = caught.value.problems
    assert chosen.format(file=tmp_path / "file") in found.where
    assert "space" not in found.remedy
    assert found.why


def test_only_a_full_disk_is_told_to_be_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(FtError, match="free some disk space"):
        paths.home()


def test_a_folder_that_cannot_be_written_is_told_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    paths.require_writable(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(FtError, match="Permission denied"):
        paths.require_writable(tmp_path)


def said_of(path: Path) -> str:
    with pytest.raises(FtError) as caught:
        paths.private_folder(path)
    (found,) = caught.value.problems
    assert str(path) in found.where
    return f"{found.why} {found.remedy}"


@pytest.mark.parametrize(("mode", "who"), [(0o770, "its group"), (0o702, "every user"), (0o777, "group and every")])
def test_a_folder_others_can_write_to_is_refused_with_the_command_that_closes_it(
    tmp_path: Path, mode: int, who: str
) -> None:
    folder = tmp_path / "o p"
    folder.mkdir()
    folder.chmod(mode)
    said = said_of(folder)
    assert who in said
    assert f"chmod go-w '{folder}'" in said
    folder.chmod(mode & ~0o022)
    assert paths.private_folder(folder) == folder


@pytest.mark.parametrize("name", ["", "runs", "cache", "drafts"])
def test_every_folder_of_the_program_is_looked_at(home: Path, name: str) -> None:
    for ask in (paths.runs_root, paths.cache_root, paths.drafts_root):
        ask()
    (home / name).chmod(0o777)
    asked = {"runs": paths.runs_root, "cache": paths.cache_root, "drafts": paths.drafts_root}
    with pytest.raises(FtError, match="chmod go-w"):
        asked.get(name, paths.home)()


def test_a_folder_of_another_user_is_refused_with_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert "who could change what is trained" in said_of(tmp_path)


def test_a_link_of_ones_own_to_a_folder_of_ones_own_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "big")
    monkeypatch.setenv("FT_TUI_HOME", str(tmp_path / "link"))
    assert (paths.runs_root() / ".").resolve() == tmp_path / "big" / "runs"
    (tmp_path / "big").chmod(0o777)
    assert "chmod" in said_of(tmp_path / "link")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_link_that_another_user_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "mine")
    os.lchown(link, 4711, 4711)
    assert "the link belongs to the user number 4711" in said_of(link)
