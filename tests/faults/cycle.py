"""What a run writes between two steps: checkpoint, event, status, an answer; and what must hold after a fault.

A cycle tells what was acknowledged through shared memory, which needs no system call. After it was killed, or its
system calls failed, `broken_promises` looks at what is on the disk as the next start of the run would.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from finetune_core.files import write_atomic
from finetune_core.runs import control
from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Journal, Tail
from finetune_core.runs.status import Status, read_status, write_status
from finetune_core.worker.checkpoints import sealed

STEPS = 4
KEEP = 2
_WORD = 8


class Acknowledged:
    """The last event and the last checkpoint the writer was told are safe; shared with the process that looks."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 2 * _WORD)

    def _get(self, place: int) -> int:
        return int.from_bytes(self._shared[place * _WORD : (place + 1) * _WORD], "little")

    def _set(self, place: int, value: int) -> None:
        self._shared[place * _WORD : (place + 1) * _WORD] = value.to_bytes(_WORD, "little")

    @property
    def seq(self) -> int:
        """Seq of the last event that was written."""
        return self._get(0)

    @seq.setter
    def seq(self, value: int) -> None:
        self._set(0, value)

    @property
    def step(self) -> int:
        """Step of the last checkpoint that was sealed."""
        return self._get(1)

    @step.setter
    def step(self, value: int) -> None:
        self._set(1, value)


def prepare(folder: Path) -> RunDir:
    """A run with one checkpoint, a status, some events and a request that waits."""
    run = RunDir(folder)
    for path in (run.control, run.checkpoints):
        path.mkdir(parents=True, mode=0o700)
    with Journal(run.events_file) as journal:
        for number in range(3):
            journal.write("step", step=number)
    sealed.seal(run.checkpoints, 0, fill, {"run": "one"})
    write_status(run, Status(run=run.name, state="training"))
    write_atomic(run.control / "00000000000000000001-sample.json", '{"request": "evaluate", "args": {}}')
    return run


def fill(stage: Path) -> None:
    """Files as a checkpoint has them, one in a folder, written in pieces."""
    (stage / "deep").mkdir()
    for name, size in (("adapter.safetensors", 30_000), ("optimizer.pt", 9_000), ("deep/rng.pth", 100)):
        with (stage / name).open("wb") as stream:
            for _ in range(0, size, 10_000):
                stream.write(os.urandom(min(size, 10_000)))


def work(run: RunDir, safe: Acknowledged) -> None:
    """Train a few steps; what fails is told as the worker tells it, and the work goes on.

    Where the journal itself cannot be opened nothing is begun: that is an error of the start, told in the log.
    """
    try:
        opened = Journal(run.events_file)
    except OSError:
        return
    with opened as journal:
        for step in range(1, STEPS + 1):
            _event(journal, safe, "step", step=step)
            try:
                sealed.seal(run.checkpoints, step, fill, {"run": "one"})
                safe.step = step
                sealed.prune(run.checkpoints, KEEP)
            except OSError as error:
                _event(journal, safe, "alarm", name="checkpoint_failed", text=str(error))
            _event(journal, safe, "checkpoint", step=step)
            try:
                write_status(run, Status(run=run.name, state="training", step=step))
            except OSError as error:
                _event(journal, safe, "alarm", name="status", text=str(error))
            for request in control.take(run):
                _event(journal, safe, "control", id=request.id, ok=True)


def _event(journal: Journal, safe: Acknowledged, kind: str, **fields: object) -> None:
    seq = journal.write(kind, **fields)
    if journal.problem is None:
        safe.seq = seq


def broken_promises(run: RunDir, safe: Acknowledged) -> list[str]:
    """What a next start does not find as it was promised; it then writes one more event of each kind."""
    broken = []
    before = [event["seq"] for event in Tail(run.events_file).read()]
    if not set(range(1, safe.seq + 1)) <= set(before):
        broken.append(f"events lost: {sorted(set(range(1, safe.seq + 1)) - set(before))} of {safe.seq}")
    with Journal(run.events_file) as journal:
        seq = journal.write("step", step=99)
    after = [event["seq"] for event in Tail(run.events_file).read()]
    if after != [*before, seq] or after != sorted(set(after)):
        broken.append(f"the journal does not go on: {after}")
    status = read_status(run)
    if status is None or status.state != "training":
        broken.append("the status cannot be read")
    sealed.clear_stages(run.checkpoints)
    found, damaged = sealed.newest(run.checkpoints, run_id="one")
    if damaged:
        broken.append(f"a checkpoint is visible and not whole: {damaged}")
    if found is None or found.step < safe.step:
        broken.append(f"the checkpoint of step {safe.step} is lost: {found.step if found else None} is the newest")
    if answers(run) + len(control.pending(run)) > 1:
        broken.append("a request acts twice")
    sealed.seal(run.checkpoints, 100, fill, {"run": "one"})
    if sealed.newest(run.checkpoints, run_id="one")[0] is None:
        broken.append("no checkpoint can be written any more")
    return broken


def answers(run: RunDir) -> int:
    """How often the request was answered."""
    return sum(event["kind"] == "control" for event in Tail(run.events_file).read())
