from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from finetune_core.errors import FtError
from finetune_core.models.downloaded import downloaded, find_downloaded, remove
from finetune_core.models.find import hub_cache
from finetune_tui.cli import cli


def cached(name: str, size: int, *, whole: bool = True) -> Path:
    """A model as the hub's library keeps it: blobs, and snapshots of links to them."""
    folder = hub_cache() / f"models--{name.replace('/', '--')}"
    blob = folder / "blobs" / ("a" * 64 + ("" if whole else ".incomplete"))
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"x" * size)
    snapshot = folder / "snapshots" / "commit"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(Path("../../blobs") / blob.name)
    (hub_cache() / ".locks" / folder.name).mkdir(parents=True)
    return folder


def test_each_file_counts_once_and_the_largest_model_comes_first() -> None:
    cached("some/small", 10)
    cached("some/large-one", 1000, whole=False)
    assert [(one.name, one.size, one.whole) for one in downloaded()] == [
        ("some/large-one", 1000, False),
        ("some/small", 10, True),
    ]


def test_no_cache_holds_no_models() -> None:
    assert downloaded() == ()


def test_a_model_is_removed_whole_and_the_others_stay() -> None:
    folder, other = cached("some/small", 10), cached("some/other", 20)
    remove(find_downloaded("some/small"))
    assert not folder.exists()
    assert sorted(path.name for path in hub_cache().iterdir()) == [".locks", other.name]
    assert [path.name for path in (hub_cache() / ".locks").iterdir()] == [other.name]


@pytest.mark.parametrize("name", ["some/unknown", "../some", "models--some--small", "", "some"])
def test_a_name_the_cache_does_not_hold_is_refused_with_what_it_holds(name: str) -> None:
    folder = cached("some/small", 10)
    with pytest.raises(FtError, match="some/small"):
        find_downloaded(name)
    assert folder.exists()


def test_a_folder_that_is_a_link_is_left_alone(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    cached("some/small", 10).rename(elsewhere)
    (hub_cache() / "models--some--small").symlink_to(elsewhere)
    with pytest.raises(FtError, match="link"):
        remove(find_downloaded("some/small"))
    assert (elsewhere / "blobs").is_dir()


def test_the_list_says_sizes_the_disk_and_what_moves_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cached("some/small", 12_000_000)
    said = CliRunner().invoke(cli, ["models", "--downloaded"])
    assert said.exit_code == 0
    assert "some/small" in said.stdout
    assert "12 MB" in said.stdout.replace("12.0", "12")
    assert "are free on that disk" in said.stderr
    assert "set by HF_HOME" in said.stderr
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "moved"))
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    moved = CliRunner().invoke(cli, ["models", "--downloaded"])
    assert f"{tmp_path / 'moved'} (set by HF_HUB_CACHE)" in moved.stderr
    assert "https://mirror.example" in moved.stderr


def test_removing_asks_and_without_a_terminal_wants_a_yes() -> None:
    folder = cached("some/small", 10)
    kept = CliRunner().invoke(cli, ["models", "remove", "some/small"])
    assert kept.exit_code == 2
    assert "--yes" in kept.stderr
    assert folder.exists()
    done = CliRunner().invoke(cli, ["models", "remove", "some/small", "--yes"])
    assert done.exit_code == 0
    assert not folder.exists()


def test_what_cannot_be_removed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    cached("some/small", 10)

    def refused(*_: object) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(FtError, match="Permission denied"):
        remove(find_downloaded("some/small"))
