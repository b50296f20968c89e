"""A run directory under everything that may happen to it, in any order: what was acknowledged stays, and acts once."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from finetune_core.errors import FtError
from finetune_core.files import write_atomic
from finetune_core.recipe.schema import Recipe
from finetune_core.runs import control, identity, journal, status
from finetune_core.runs.directory import RunDir, list_runs
from finetune_core.runs.identity import Identity
from finetune_core.runs.journal import Journal, Tail
from finetune_core.runs.lock import RunLock
from finetune_core.runs.oddities import refuse_oddities
from finetune_core.runs.recorded import sealed_steps
from finetune_core.runs.start.launch import launch
from finetune_core.runs.status import Status, known, known_events, live, read_status, shown_state, write_status
from finetune_core.runs.upkeep.lifecycle import create, run_id
from finetune_core.runs.view.damage import read_damage
from finetune_core.runs.view.run_view import RunView
from finetune_core.runs.view.summary import summarise
from finetune_core.worker.checkpoints import sealed

KEEP = 2


def fill(stage: Path) -> None:
    (stage / "adapter.safetensors").write_bytes(os.urandom(300))


class RunDirectory(RuleBasedStateMachine):
    """One writer, a viewer that stays, requests, and faults."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="machine"))
        self.run = RunDir(self.folder / "run")
        for path in (self.run.control, self.run.checkpoints):
            path.mkdir(parents=True, mode=0o700)
        self.writer: Journal | None = None
        self.viewer = RunView(self.run)
        self.clock = 1_000_000.0
        self.full = False
        self.acknowledged: list[int] = []
        self.asked: set[str] = set()
        self.acted: list[str] = []
        self.step = 0
        self.sealed: list[int] = []
        self.patches = [
            mock.patch.object(journal, "_write_whole", self._write_whole),
            mock.patch.object(journal.time, "time", side_effect=lambda: self.clock),
            mock.patch.object(control, "shown_state", return_value="training"),
        ]
        self.real_write = journal._write_whole
        for patch in self.patches:
            patch.start()

    def teardown(self) -> None:
        for patch in self.patches:
            patch.stop()
        if self.writer is not None:
            self.writer.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write_whole(self, handle: int, data: bytes) -> None:
        if self.full:
            os.write(handle, data[: len(data) // 3])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.real_write(handle, data)

    @initialize()
    def start(self) -> None:
        self.open_again()
        write_status(self.run, Status(run="run", state="training"))

    @rule()
    def open_again(self) -> None:
        """The trainer ends, or was killed, and another begins."""
        if self.writer is not None:
            self.writer.close()
        self.writer = Journal(self.run.events_file)

    def _write(self, kind: str, **fields: Any) -> None:
        assert self.writer is not None
        seq = self.writer.write(kind, **fields)
        self.clock += 1
        if self.writer.problem is None:
            known = self.acknowledged[-1] if self.acknowledged else 0
            # What had waited for room came with it.
            self.acknowledged += range(known + 1, seq + 1)

    @rule(steps=st.integers(1, 5), full=st.booleans(), room_comes=st.booleans())
    def train(self, *, steps: int, full: bool, room_comes: bool) -> None:
        """Some steps; perhaps the disk is full meanwhile, and perhaps there is room again afterwards."""
        self.full = self.full or full
        for _ in range(steps):
            self.step += 1
            self._write("step", step=self.step, loss=1.0 / self.step)
        self.full = self.full and not room_comes

    @rule()
    def seal(self) -> None:
        sealed.seal(self.run.checkpoints, self.step, fill, {})
        sealed.prune(self.run.checkpoints, KEEP)
        if self.step not in self.sealed:
            self.sealed.append(self.step)
        self._write("checkpoint", step=self.step, path=f"checkpoints/step-{self.step:06d}", bytes=300, seconds=0.1)

    @rule(share=st.floats(0.0, 0.99))
    def crash_in_a_line(self, share: float) -> None:
        """Killed while it wrote: a part of the next line is there."""
        assert self.writer is not None
        lost = self.writer.problem is not None
        if lost:
            self.writer._waiting.clear()
        self.writer.close()
        line = b'{"v":1,"seq":999999,"t":1.0,"mono":1.0,"kind":"step","step":77777}'
        with self.run.events_file.open("ab") as stream:
            stream.write(line[: int(len(line) * share)])
        self.writer = Journal(self.run.events_file)

    @rule(garbage=st.sampled_from([b"\0" * 64, b"\xff\xfe garbage\n", b"[1,2]\n", b"{}\n", b"\n\n"]))
    def power_cut(self, garbage: bytes) -> None:
        with self.run.events_file.open("ab") as stream:
            stream.write(garbage)
        self.open_again()

    @rule(jump=st.sampled_from([-86_400.0, -1.0, 86_400.0, 1e9]))
    def clock_jumps(self, jump: float) -> None:
        self.clock = max(1.0, self.clock + jump)

    @rule()
    def ask(self) -> None:
        self.asked.add(control.ask(self.run, "evaluate"))

    @rule(times=st.integers(1, 3))
    def obey(self, times: int) -> None:
        """Several takers look at once: supervisor, trainer, one that was thought dead."""
        for _ in range(times):
            self.acted += [request.id for request in control.take(self.run)]

    @rule()
    def oddities(self) -> None:
        """A request that is a link, a stage a kill left behind, a torn status, another plan."""
        path = self.run.control / "00000000000000000001-odd.json"
        if not path.is_symlink():
            path.symlink_to("/etc/passwd")
        stage = self.run.checkpoints / f".stage-step-{self.step + 1:06d}"
        stage.mkdir(exist_ok=True)
        (stage / "adapter.safetensors").write_bytes(b"half")
        self.run.status_file.write_bytes(b'{"v": 1, "run"')
        assert read_status(self.run) is None
        write_status(self.run, Status(run="run", state="training"))
        write_atomic(self.run.plan_file, '{"total_steps": 100}')

    @invariant()
    def acknowledged_events_are_there_once_and_in_order(self) -> None:
        seqs = [event["seq"] for event in Tail(self.run.events_file).read()]
        assert seqs == sorted(set(seqs))
        if self.writer is None or self.writer.problem is None:
            assert set(self.acknowledged) <= set(seqs)

    @invariant()
    def the_newest_checkpoint_is_whole(self) -> None:
        found, damaged = sealed.newest(self.run.checkpoints)
        assert damaged == []
        assert (found.step if found else None) == max(self.sealed, default=None)

    @invariant()
    def every_request_acts_at_most_once(self) -> None:
        assert len(self.acted) == len(set(self.acted))
        assert set(self.acted) <= self.asked

    @invariant()
    def who_has_watched_sees_what_a_newcomer_sees(self) -> None:
        self.viewer.poll()
        fresh = RunView(self.run)
        fresh.poll()
        assert self.viewer.to_dict() == fresh.to_dict()
        assert [event["seq"] for event in self.viewer.checkpoints] == [event["seq"] for event in fresh.checkpoints]


def _socket(path: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            # The name of a socket may have 108 bytes, and that of a folder more.
            made.bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)


# What somebody may put where a file was.
INSTEAD: dict[str, Callable[[Path], object]] = {
    "nothing": Path.exists,
    "an empty file": lambda path: path.touch(),
    "garbage": lambda path: path.write_bytes(b"\xff{]"),
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a socket": _socket,
    "a link": lambda path: path.symlink_to("/etc/passwd"),
    "a link to itself": lambda path: path.symlink_to(path.name),
}
ODD = ("a folder", "a pipe", "a socket", "a link", "a link to itself")
FILES = ("status.json", "plan.json", "data.json", "worker.log", "adapted.json", "eval/base.json", "lock")
ENDS = ("done", "failed", "stopped", "preempted")
GONE = Identity(boot_id=identity.boot_id(), pid=1, start_time=1, namespace="pid:[another]")


class Outside(RuleBasedStateMachine):
    """A run that trains, ends and goes on, while somebody changes its files and others look from anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="outside"))
        self.home = mock.patch.dict(os.environ, {"FT_TUI_HOME": str(self.folder / "home")})
        self.home.start()
        self.run = create(Recipe(), {"total_steps": 50})
        self.other = create(Recipe(), {"total_steps": 50})
        self.lock = RunLock(self.run)
        self.state = "created"
        self.step = 0
        self.written = 1
        self.sealed: list[int] = []
        self.touched: set[str] = set()
        self.harm = False

    def teardown(self) -> None:
        self.lock.release()
        self.home.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def at_work(self) -> bool:
        return self.state == "training"

    # ---- the run itself ----

    @rule(full=st.booleans())
    def start_or_go_on(self, *, full: bool) -> None:
        """As the supervisor does: refuse what is odd, take the lock, write on behind what is known."""
        if self.at_work or self.state == "done":
            return
        try:
            refuse_oddities(self.run)
        except FtError:
            assert self.touched & {*ODD}
            return
        if full:
            self._refused_by_a_full_disk()
            return
        assert self.lock.acquire()
        before, after = known(self.run), known_events(self.run)
        assert before.state == self.state
        with Journal(self.run.events_file, after=after) as writer:
            writer.write("state", state="preparing", phase="starting", step=max(self.sealed, default=0))
            writer.write("state", state="training", phase="training")
            self.written = writer.written
        self.state, self.step = "training", max(self.sealed, default=0)
        write_status(self.run, before.changed(state="training", step=self.step, supervisor=Identity.current()))
        self.touched.discard("status.json")

    def _refused_by_a_full_disk(self) -> None:
        full = mock.patch.object(status, "write_atomic", side_effect=OSError(errno.ENOSPC, "full"))
        with full, pytest.raises(OSError, match="full"):
            write_status(self.run, known(self.run).changed(state="training"))

    @rule(steps=st.integers(1, 4))
    def train(self, *, steps: int) -> None:
        if not self.at_work:
            return
        with Journal(self.run.events_file, after=known_events(self.run)) as writer:
            for _ in range(steps):
                self.step += 1
                writer.write("step", step=self.step, loss=1.0 / self.step)
            self.written = writer.written
        self._tell()

    @rule()
    def seal(self) -> None:
        if not self.at_work or not self.step:
            return
        notes = {"run": run_id(self.run), "events": self.written}
        sealed.seal(self.run.checkpoints, self.step, fill, notes)
        sealed.prune(self.run.checkpoints, KEEP, run_id=run_id(self.run))
        self.sealed = sorted({*self.sealed, self.step})[-KEEP:]

    @rule(how=st.sampled_from((*ENDS, "killed")))
    def end(self, how: str) -> None:
        if not self.at_work:
            return
        self.state = "crashed" if how == "killed" else how
        if how != "killed":
            with Journal(self.run.events_file, after=known_events(self.run)) as writer:
                writer.write("end", state=how, cause=None)
                self.written = writer.written
            write_status(self.run, known(self.run).changed(state=how, step=self.step, supervisor=GONE))
            self.touched.discard("status.json")
        else:
            write_status(self.run, known(self.run).changed(step=self.step, supervisor=GONE))
        self.lock.release()

    def _tell(self) -> None:
        changed = known(self.run).changed(state=self.state, step=self.step, supervisor=Identity.current())
        write_status(self.run, changed)
        self.touched.discard("status.json")

    # ---- the outside ----

    @rule(name=st.sampled_from(FILES), kind=st.sampled_from(sorted(INSTEAD)))
    def put_instead(self, name: str, kind: str) -> None:
        """A file emptied, lost, or made a link, a pipe, a folder."""
        if name == "lock" and self.at_work:
            return
        path = self.run.path / name
        _remove(path)
        INSTEAD[kind](path)
        self.touched.add(name)
        if kind in ODD:
            self.touched.add(kind)

    @rule(name=st.sampled_from(FILES))
    def put_back(self, name: str) -> None:
        path = self.run.path / name
        if not (path.is_file() and not path.is_symlink()):
            _remove(path)

    @rule(keep=st.floats(0.0, 1.0))
    def cut_the_journal(self, keep: float) -> None:
        """Its status has to know of it, or nothing does."""
        if self.at_work or "status.json" in self.touched:
            return
        lines = self.run.events_file.read_bytes().splitlines(keepends=True)
        kept = lines[: int(len(lines) * keep)]
        self.run.events_file.write_bytes(b"".join(kept))
        self.harm = self.harm or len(kept) < len(lines)
        if len(kept) < len(lines):
            assert any(words.startswith("events.jsonl: ") for words in read_damage(self.run))
            assert any(words.startswith("events.jsonl: ") for words in summarise(self.run).damage)

    @rule(place=st.floats(0.0, 0.99))
    def flip_a_digit_of_the_journal(self, place: float) -> None:
        text = self.run.events_file.read_bytes()
        digits = [at for at, letter in enumerate(text) if chr(letter).isdigit()]
        if self.at_work or not digits:
            return
        at = digits[int(len(digits) * place)]
        self.run.events_file.write_bytes(text[:at] + b"%d" % ((text[at] - 47) % 10) + text[at + 1 :])
        assert any(words.startswith("events.jsonl: ") for words in read_damage(self.run))
        self.run.events_file.write_bytes(text)

    @rule()
    def swap_the_status_with_that_of_another_run(self) -> None:
        if not self.harm:
            _remove(self.run.status_file)
            shutil.copy(self.other.status_file, self.run.status_file)
            self.touched.add("status.json")

    @rule(kind=st.sampled_from(sorted(INSTEAD)))
    def an_entry_of_the_list_that_cannot_be_read(self, kind: str) -> None:
        path = self.run.path.parent / f"20200101-000000-{kind.replace(' ', '-')}"
        if not os.path.lexists(path):
            INSTEAD[kind](path)

    # ---- what must hold ----

    @invariant()
    def the_state_is_what_the_run_did(self) -> None:
        view = RunView(self.run)
        view.poll()
        assert {shown_state(self.run), view.state, summarise(self.run).state} == {self.state}

    @invariant()
    def every_checkpoint_that_is_to_be_kept_is_there(self) -> None:
        assert sealed_steps(self.run) == self.sealed
        found, damaged = sealed.newest(self.run.checkpoints, run_id=run_id(self.run))
        assert ((found.step if found else None), damaged) == (max(self.sealed, default=None), [])

    @invariant()
    def a_run_that_was_started_is_never_started_anew(self) -> None:
        if self.state != "created":
            try:
                launch(self.run)
            except FtError:
                return
            raise AssertionError("it was started anew")

    @invariant()
    def both_runs_are_listed_whatever_lies_beside_them(self) -> None:
        assert {self.run.name, self.other.name} <= {found.name for found in list_runs()}

    @invariant()
    def another_namespace_sees_by_the_lock_who_works(self) -> None:
        with mock.patch.object(identity, "namespace", return_value="pid:[somewhere else]"):
            assert live(self.run) == self.at_work
            assert shown_state(self.run) == self.state

    @invariant()
    def no_seq_comes_twice(self) -> None:
        tail = Tail(self.run.events_file)
        tail.read()
        assert tail.faults.again == 0


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


RunDirectory.TestCase.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
TestRunDirectory = RunDirectory.TestCase

Outside.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
TestOutside = Outside.TestCase
