from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ft_core import paths
from ft_core.errors import FtError
from ft_core.recipe.schema import Recipe
from ft_core.runs.lifecycle import create


def test_the_folders_are_made_private(home: Path) -> None:
    assert paths.runs_root() == home / "runs"
    assert {folder.stat().st_mode & 0o777 for folder in (home, home / "runs")} == {0o700}


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
