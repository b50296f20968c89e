"""The supervisor's process: small, without torch; it starts the trainer, watches it, and reports how it ended.

Started as `python -P -m finetune_core.runs.watch.supervise DIR [--resume] [--queue]` by `launch`; survives the
terminal. One that waits for its run begins in `finetune_core.runs.watch.supervise_waiting`.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from finetune_core.child_process import python_command
from finetune_core.errors import FtError, problem
from finetune_core.paths import refused
from finetune_core.runs.directory import RunDir
from finetune_core.runs.gpu_locks import busy, locks_of
from finetune_core.runs.lock import RunLock
from finetune_core.runs.oddities import refuse_oddities
from finetune_core.runs.start import answer
from finetune_core.runs.start.startable import refuse_used
from finetune_core.runs.status import known
from finetune_core.runs.watch.end_causes import Ending
from finetune_core.runs.watch.supervisor import GRACE_SECONDS, Supervisor, Ways, say
from finetune_core.text import one_line


def trainer_command(run: RunDir, *, resume: bool) -> list[str]:
    """How the trainer is started: isolated from the folder the user stands in, with this very Python."""
    command = python_command("finetune_core.worker.train", str(run.path))
    return [*command, "--resume"] if resume else command


def run(
    run: RunDir,
    *,
    resume: bool = False,
    command: Sequence[str] | None = None,
    ready: Callable[[], None] = lambda: None,
    ways: Ways | None = None,
    queue: bool = False,
) -> Ending:
    """Supervise a run, from start to end, in this process.

    `ready` is called once the run is ours. Raises FtError when another process is at work on the run, or another run
    on its GPU, with `queue` it waits there until the GPU is free; and where the run directory is damaged, or was
    started before and is not to be resumed.
    """
    refuse_oddities(run)
    lock, locks = RunLock(run), locks_of(run)
    _refuse_second(run, lock)
    try:
        refuse_used(run, resume=resume)
        holder = locks.acquire()
        if holder is not None and not queue:
            raise busy(holder)
        supervisor = Supervisor(run, command or trainer_command(run, resume=resume), ways)
        if holder is None:
            supervisor.begin(resume=resume)
        else:
            supervisor.begin(resume=resume, state="queued", phase=f"waiting for {holder}")
        ready()
        return supervisor.work(locks)
    finally:
        locks.release()
        lock.release()


def _refuse_second(run: RunDir, lock: RunLock) -> None:
    if not _acquired(run, lock):
        why = "its supervisor holds the run's lock"
    else:
        # A trainer that has outlived its supervisor still writes; the run's lock alone does not show it.
        why = _outlived_by(run)
        if not why:
            return
        lock.release()
    raise problem(
        "this run is already at work", where=run.name, why=why, remedy="attach to it, or stop it before resuming"
    )


def _acquired(run: RunDir, lock: RunLock) -> bool:
    try:
        return lock.acquire()
    except OSError as error:
        raise problem(
            "the run's lock cannot be taken",
            where=one_line(str(run.lock_file), 200),
            why=error.strerror or str(error),
            remedy="move what stands there out of the run directory; the lock is made anew",
        ) from error


def _outlived_by(run: RunDir) -> str:
    """In words that a trainer of this run is at work without its supervisor; empty where there is none."""
    trainer = known(run).trainer
    if trainer is not None and trainer.alive():
        return f"its trainer (pid {trainer.pid}) is alive although its supervisor is not"
    if RunLock(run, trainer=True).held():
        return "its trainer is alive although its supervisor is not, in another PID namespace (container)"
    return ""


def end_orphan(run: RunDir, *, grace: float = GRACE_SECONDS) -> bool:
    """End a trainer whose supervisor is gone, in the supervisor's place; waits until it has ended.

    False when there is no such trainer on this machine: nothing is done then. `grace` is the time in seconds between
    SIGTERM and SIGKILL. Raises FtError when the trainer belongs to another user.
    """
    lock = RunLock(run)
    # Whoever holds the lock is the supervisor, and ends the trainer itself.
    if not _acquired(run, lock):
        return False
    trainer = known(run).trainer
    try:
        if trainer is None or not trainer.alive():
            return False
        Supervisor(run, (), Ways(grace=grace)).end_foreign(trainer)
    except PermissionError as error:
        raise problem(
            "the run cannot be ended",
            where=run.name,
            why="its trainer belongs to another user",
            remedy="ask that user, or an administrator, to stop it",
        ) from error
    finally:
        lock.release()
    return True


def _detach() -> int:
    """Go on in a child that no terminal can reach; the parent ends when the child is ready, or has failed.

    Gives the descriptor on which one byte says "ready".
    """
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        os._exit(0 if os.read(reader, 1) else 1)
    os.close(reader)
    return writer


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: a run directory, `--resume`, and `--foreground` to stay with the caller."""
    parser = argparse.ArgumentParser(prog="finetune_core.runs.watch.supervise", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--queue", action="store_true")
    parser.add_argument("--foreground", action="store_true")
    chosen = parser.parse_args(arguments)
    os.umask(0o077)
    pipe = answer.descriptor()
    writer = None if chosen.foreground else _detach()

    def ready() -> None:
        if pipe is not None:
            os.close(pipe)
        if writer is not None:
            os.write(writer, b"1")
            os.close(writer)

    try:
        run(RunDir(chosen.directory.absolute()), resume=chosen.resume, ready=ready, queue=chosen.queue)
    except FtError as error:
        say(str(error))
        answer.write(pipe, error.problems)
        return 1
    except OSError as error:
        traceback.print_exc()
        answer.write(pipe, refused(error, chosen.directory, "the run cannot be started").problems)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
