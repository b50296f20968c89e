"""A run directory under everything that may happen to it, in any order: what was acknowledged stays, and acts once."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ft_core.files import write_atomic
from ft_core.runs import control, journal
from ft_core.runs.directory import RunDir
from ft_core.runs.journal import Journal, Tail
from ft_core.runs.status import Status, read_status, write_status
from ft_core.runs.view import RunView
from ft_core.worker import checkpoints

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
        checkpoints.seal(self.run.checkpoints, self.step, fill, {})
        checkpoints.prune(self.run.checkpoints, KEEP)
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
        found, damaged = checkpoints.newest(self.run.checkpoints)
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


RunDirectory.TestCase.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
TestRunDirectory = RunDirectory.TestCase
