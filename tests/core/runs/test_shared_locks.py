"""Two homes, or two users, on one card: the second sees whose run has it, and nobody's files are harmed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from finetune_core.recipe.schema import Recipe
from finetune_core.runs import shared_locks
from finetune_core.runs.gpu_locks import GpuLocks, taken
from finetune_core.runs.shared_locks import SharedLock, lock_path, shared_holder, shared_place

GPU = "GPU-11111111-2222-3333-4444-555555555555"
NOBODY = 65534

# As another home: FT_TUI_HOME is another folder; with a number as its last argument also as that user.
HOLDER = """
import os, sys
import psutil
from finetune_core.runs.gpu_locks import GpuLocks
os.umask(0o077)
os.environ["FT_TUI_HOME"] = sys.argv[2]
if len(sys.argv) > 3:
    os.mkdir(sys.argv[2], 0o700)
    os.chown(sys.argv[2], int(sys.argv[3]), int(sys.argv[3]))
    os.setgroups([])
    os.setgid(int(sys.argv[3]))
    os.setuid(int(sys.argv[3]))
locks = GpuLocks([sys.argv[1]], "their-run")
print(locks.acquire() or "ours", flush=True)
sys.stdin.read()
"""


@contextmanager
def elsewhere(home: Path, *user: str) -> Iterator[tuple[str, int]]:
    """What another home is answered when it takes the GPU, and its process."""
    command = [sys.executable, "-c", HOLDER, GPU, str(home), *user]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid
        process.kill()


@pytest.fixture
def place() -> Path:
    found = shared_place()
    assert found is not None
    return found


def recipe() -> Recipe:
    return Recipe.model_validate({"hardware": {"device": "cuda", "gpus": [GPU]}})


def test_another_home_sees_that_the_card_is_taken_and_whose_run_has_it(tmp_path: Path) -> None:
    with elsewhere(tmp_path / "theirs") as (answer, pid):
        assert answer == "ours"
        holder = GpuLocks([GPU], "my-run").acquire() or ""
        assert f"GPU {GPU}: used by run their-run of user " in holder
        assert f"(pid {pid})" in holder
        assert "their-run" in (taken(recipe()) or "")
    mine = GpuLocks([GPU], "my-run")
    assert mine.acquire() is None
    with elsewhere(tmp_path / "theirs") as (answer, _):
        assert "run my-run of user " in answer
        assert f"(pid {os.getpid()})" in answer
    mine.release()
    assert taken(recipe()) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_takes_the_card_and_is_named(tmp_path: Path, place: Path) -> None:
    place.chmod(0o1777)
    for folder in (place, *place.parents):
        if folder.owner() == "root" and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o005)
    theirs = place / "theirs"
    with elsewhere(theirs, str(NOBODY)) as (answer, pid):
        assert answer == "ours"
        holder = GpuLocks([GPU], "my-run").acquire() or ""
        assert "their-run of user nobody" in holder
        assert f"(pid {pid})" in holder
    # The file is theirs; the lock is taken by others all the same.
    file = lock_path(GPU)
    assert file is not None
    assert file.stat().st_uid == NOBODY
    mine = GpuLocks([GPU], "my-run")
    assert mine.acquire() is None
    assert "my-run" in (file.read_text())
    mine.release()


def test_the_file_can_be_locked_by_every_user_whatever_the_umask(place: Path) -> None:
    before = os.umask(0o077)
    try:
        lock = SharedLock(GPU)
        assert lock.acquire("a-run") is None
    finally:
        os.umask(before)
    file = lock_path(GPU)
    assert file is not None
    assert stat.S_IMODE(file.stat().st_mode) == 0o666
    lock.release()


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder", "dangling link"])
def test_a_trap_in_place_of_the_file_is_not_touched_and_holds_nobody_up(tmp_path: Path, kind: str) -> None:
    precious = tmp_path / "precious"
    precious.write_text("do not touch")
    file = lock_path(GPU)
    assert file is not None
    match kind:
        case "link":
            file.symlink_to(precious)
        case "hard link":
            file.hardlink_to(precious)
        case "pipe":
            os.mkfifo(file)
        case "dangling link":
            file.symlink_to(tmp_path / "made")
        case _:
            file.mkdir()
    locks = GpuLocks([GPU], "my-run")
    assert locks.acquire() is None
    locks.release()
    assert shared_holder(GPU) is None
    assert precious.read_text() == "do not touch"
    assert stat.S_IMODE(precious.stat().st_mode) != 0o666
    assert not (tmp_path / "made").exists()


def test_a_name_of_the_file_cannot_lead_out_of_its_folder(place: Path) -> None:
    for uuid in ("../../etc/passwd", "/etc/passwd", "", "GPU-\x1b[2J"):
        found = lock_path(uuid)
        assert found is not None
        assert found.parent == place
        assert found.name.isprintable()


def test_what_somebody_wrote_into_the_file_cannot_reach_the_terminal(tmp_path: Path) -> None:
    with elsewhere(tmp_path / "theirs"):
        file = lock_path(GPU)
        assert file is not None
        file.write_text("evil\x1b[2J" + "x" * 300)
        words = shared_holder(GPU) or ""
        assert "\x1b" not in words
        assert len(words) < 200


def test_without_a_place_that_all_may_write_to_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FT_TUI_SHARED_LOCKS", "")
    assert shared_place() is None
    assert SharedLock(GPU).acquire("a-run") is None
    assert shared_holder(GPU) is None


def test_the_place_is_the_first_that_is_roots_sticky_and_open_to_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("FT_TUI_SHARED_LOCKS")
    places = []
    for number, mode in enumerate((0o755, 0o777, 0o1777, 0o1777)):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number)).chmod(mode)
        places.append(str(tmp_path / str(number)))
    monkeypatch.setattr(shared_locks, "_PLACES", tuple(places))
    assert shared_place() == (tmp_path / "2" if os.geteuid() == 0 else None)
