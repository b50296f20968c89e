"""Checkpoints are complete or invisible, and checked before they are trusted."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from finetune_core.worker.checkpoints import sealed

_FILES = {"weights.safetensors": b"w" * 1000, "optimizer.pt": b"o" * 500, "deep/rng.pth": b"r" * 10}


def fill(stage: Path) -> None:
    for name, content in _FILES.items():
        (stage / name).parent.mkdir(exist_ok=True)
        (stage / name).write_bytes(content)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def seal(folder: Path, step: int) -> sealed.Checkpoint:
    return sealed.seal(folder, step, fill, {"tokens": step * 10})


def test_a_sealed_checkpoint_is_found_with_its_notes(tmp_path: Path) -> None:
    made = seal(tmp_path / "checkpoints", 200)
    assert made.path.name == "step-000200"
    assert made.bytes == 1510
    assert sealed.newest(tmp_path / "checkpoints") == (made, [])
    assert made.notes == {"tokens": 2000}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in made.path.iterdir() if path.is_file())


def test_a_failure_while_writing_leaves_the_older_checkpoint_and_no_stage(tmp_path: Path) -> None:
    older = seal(tmp_path, 1)

    def full(stage: Path) -> None:
        fill(stage)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        sealed.seal(tmp_path, 2, full, {})
    assert names(tmp_path) == ["step-000001"]
    assert sealed.newest(tmp_path)[0] == older


@pytest.mark.parametrize("name", [*_FILES, "manifest.json"])
@pytest.mark.parametrize("damage", ["missing", "shorter", "changed", "empty"])
def test_every_damage_to_a_checkpoint_is_noticed_and_the_one_before_is_taken(
    name: str, damage: str, tmp_path: Path
) -> None:
    older, newer = seal(tmp_path, 9), seal(tmp_path, 10)
    file = newer.path / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        middle = len(content) // 2
        changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        file.write_bytes({"shorter": content[:-1], "changed": changed, "empty": b""}[damage])
    found, words = sealed.newest(tmp_path)
    assert found == older
    assert len(words) == 1
    assert words[0].startswith("step-000010: ")


def test_a_manifest_that_is_not_the_form_expected_is_damage_not_a_crash(tmp_path: Path) -> None:
    for step, text in enumerate(["[]", "{}", '{"v": 1, "step": 3, "files": {"a": 1}, "notes": {}}', "\xff", "null"]):
        folder = tmp_path / f"step-{step + 1:06d}"
        folder.mkdir()
        (folder / "manifest.json").write_text(text, encoding="latin-1")
    found, words = sealed.newest(tmp_path)
    assert found is None
    assert len(words) == 5


def without_seal(folder: Path, **changes: object) -> None:
    path = folder / sealed.MANIFEST
    found = json.loads(path.read_text())
    del found["seal"]
    path.write_text(json.dumps(found | changes))


@pytest.mark.parametrize("changes", [{}, {"v": 1}, {"v": 1, "notes": {"tokens": 1}}, {"v": 1, "notes": {}}])
def test_a_manifest_that_lost_its_seal_is_refused_and_the_checkpoint_before_is_taken(
    changes: dict[str, object], tmp_path: Path
) -> None:
    notes = {"tokens": 10, "run": "this run"}
    older = sealed.seal(tmp_path, 3, fill, notes)
    without_seal(sealed.seal(tmp_path, 4, fill, notes).path, **changes)
    found, words = sealed.newest(tmp_path, run_id="this run")
    assert found == older
    assert words == ["step-000004: its manifest has lost its seal"]


def test_an_unsealed_manifest_with_what_only_sealed_ones_note_is_refused(tmp_path: Path) -> None:
    without_seal(sealed.seal(tmp_path, 4, fill, {"tokens": 10, "run": "any"}).path, v=1)
    assert sealed.newest(tmp_path) == (None, ["step-000004: its manifest has lost its seal"])


def test_a_checkpoint_of_the_first_version_which_had_no_seal_is_taken_in_a_run_without_a_name(tmp_path: Path) -> None:
    made = seal(tmp_path, 4)
    without_seal(made.path, v=1)
    assert sealed.newest(tmp_path)[0] == made


def test_a_checkpoint_that_is_a_link_is_none_and_what_it_leads_to_is_not_removed(tmp_path: Path) -> None:
    elsewhere = seal(tmp_path / "elsewhere", 9)
    folder = tmp_path / "checkpoints"
    whole = seal(folder, 3)
    (folder / "step-000009").symlink_to(elsewhere.path)
    (folder / "step-000001").symlink_to(elsewhere.path)
    assert sealed.newest(folder)[0] == whole
    sealed.prune(folder, 1)
    assert sealed.newest(tmp_path / "elsewhere")[0] == elsewhere


@pytest.mark.parametrize("name", ["weights.safetensors", "manifest.json"])
def test_a_checkpoint_with_a_pipe_or_a_link_out_of_it_in_place_of_a_file_is_damaged(name: str, tmp_path: Path) -> None:
    other = seal(tmp_path / "other", 4)
    for make in (os.mkfifo, lambda path: path.symlink_to(path.name), lambda path: path.symlink_to(other.path / name)):
        file = seal(tmp_path / "mine", 4).path / name
        file.unlink()
        make(file)
        found, words = sealed.newest(tmp_path / "mine")
        if name == "manifest.json" and file.exists() and not file.is_fifo():
            continue  # The same manifest, wherever it lies, says the same of the same files.
        assert found is None
        assert len(words) == 1


def test_a_manifest_of_another_step_is_not_believed(tmp_path: Path) -> None:
    made = seal(tmp_path, 3)
    made.path.rename(tmp_path / "step-000004")
    assert sealed.newest(tmp_path)[0] is None


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 100, 20):
        seal(tmp_path, step)
    sealed.prune(tmp_path, 2)
    assert sorted(names(tmp_path)) == ["step-000020", "step-000100"]


def test_what_a_killed_process_left_is_invisible_and_cleared(tmp_path: Path) -> None:
    stage = tmp_path / ".stage-step-000007"
    stage.mkdir()
    fill(stage)
    (stage / "manifest.json").write_text(json.dumps({"v": 1, "step": 7}))
    assert sealed.newest(tmp_path) == (None, [])
    sealed.clear_stages(tmp_path)
    assert names(tmp_path) == []


def test_a_step_sealed_again_replaces_the_first(tmp_path: Path) -> None:
    seal(tmp_path, 4)
    (tmp_path / "step-000004" / "optimizer.pt").write_bytes(b"damaged")
    again = seal(tmp_path, 4)
    assert sealed.newest(tmp_path) == (again, [])


def test_a_folder_that_is_not_there_holds_no_checkpoint(tmp_path: Path) -> None:
    assert sealed.newest(tmp_path / "nothing") == (None, [])


def test_what_is_damaged_does_not_count_and_drives_out_no_good_one(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        seal(tmp_path, step)
    (tmp_path / "step-000003" / "optimizer.pt").write_bytes(b"short")
    (tmp_path / "step-000004" / "manifest.json").unlink()
    sealed.prune(tmp_path, 2)
    assert sorted(names(tmp_path)) == ["step-000001", "step-000002", "step-000003", "step-000004"]
    seal(tmp_path, 5)
    sealed.prune(tmp_path, 2)
    assert sorted(names(tmp_path)) == ["step-000002", "step-000003", "step-000004", "step-000005"]
    seal(tmp_path, 6)
    sealed.prune(tmp_path, 2, spare={2})
    assert sorted(names(tmp_path)) == ["step-000002", "step-000005", "step-000006"]


def test_a_kill_while_a_step_is_sealed_again_leaves_the_first_to_be_brought_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = seal(tmp_path, 4)
    real, calls = Path.rename, []

    def killed(path: Path, target: Path) -> Path:
        if calls:
            raise KeyboardInterrupt
        calls.append(target)
        return real(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        seal(tmp_path, 4)
    monkeypatch.undo()
    assert sealed.newest(tmp_path) == (None, [])
    sealed.clear_stages(tmp_path)
    assert sealed.newest(tmp_path) == (made, [])
    assert names(tmp_path) == ["step-000004"]


def test_a_checkpoint_of_the_first_version_without_a_seal_is_still_read(tmp_path: Path) -> None:
    made = seal(tmp_path, 4)
    manifest = json.loads((made.path / "manifest.json").read_text())
    del manifest["seal"]
    manifest["v"] = 1
    (made.path / "manifest.json").write_text(json.dumps(manifest))
    assert sealed.newest(tmp_path) == (made, [])


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"v":1,"step":4,"files":{"a\\u0000b":{}},"notes":{}}', "", "[]", "\x00"]
)
def test_a_manifest_that_cannot_be_read_is_damage_and_no_crash(tmp_path: Path, text: str) -> None:
    older = seal(tmp_path, 2)
    (seal(tmp_path, 4).path / sealed.MANIFEST).write_text(text)
    found, damaged = sealed.newest(tmp_path)
    assert found == older
    assert damaged[0].startswith("step-000004: ")
