"""The supervisor: a small process without torch that starts the trainer, watches it, and tells how it ended.

Started as `python -P -m ft_core.runs.supervise DIR [--resume]` by `launch`; survives the terminal. With `--warm`
instead of a directory it waits for one on standard input, with a trainer that is ready by then (`ft_core.runs.warm`).
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Self

from ft_core.errors import FtError, problem
from ft_core.runs import control
from ft_core.runs.directory import RunDir
from ft_core.runs.ending import ENDED_BY_SIGNAL, RESUME, Ending, OomWatch, explain
from ft_core.runs.identity import Identity
from ft_core.runs.journal import Event, Journal, Tail
from ft_core.runs.lock import RunLock
from ft_core.runs.log import last_lines, open_log, write_to_log
from ft_core.runs.status import Status, read_status, write_status
from ft_core.runs.warm import WarmTrainer, wait_for_run

_LOOK_SECONDS = 0.3
_GRACE_SECONDS = 10.0
_FULL_DISK_SECONDS = 60.0
_ORPHAN_LOOK_SECONDS = 0.05
_LOG_LINES = 20
_END_BYTES = 1024 * 1024


def trainer_command(run: RunDir, *, resume: bool) -> list[str]:
    """How the trainer is started: isolated from the folder the user stands in, with this very Python."""
    command = [sys.executable, "-P", "-m", "ft_core.worker.train", str(run.path)]
    return [*command, "--resume"] if resume else command


def run(
    run: RunDir,
    *,
    resume: bool = False,
    command: Sequence[str] | None = None,
    ready: Callable[[], None] = lambda: None,
    grace: float = _GRACE_SECONDS,
    warm: WarmTrainer | None = None,
) -> Ending:
    """Supervise one attempt at a run, from start to end, in this process.

    `ready` is called once the run is ours. `grace` is the time in seconds between SIGTERM and SIGKILL when the run
    is to stop at once. A `warm` trainer is used where it is still there. Raises FtError when another process is at
    work on the run.
    """
    lock = RunLock(run)
    _refuse_second(run, lock)
    try:
        supervisor = Supervisor(run, command or trainer_command(run, resume=resume), grace, warm)
        supervisor.begin(resume=resume)
        ready()
        return supervisor.work()
    finally:
        lock.release()


def _refuse_second(run: RunDir, lock: RunLock) -> None:
    if not lock.acquire():
        why = "its supervisor holds the run's lock"
    else:
        status = read_status(run)
        # A trainer that has outlived its supervisor still writes; the lock alone does not show it.
        if status is None or status.trainer is None or not status.trainer.alive():
            return
        lock.release()
        why = f"its trainer (pid {status.trainer.pid}) is alive although its supervisor is not"
    raise problem(
        "this run is already at work", where=run.name, why=why, remedy="attach to it, or stop it before resuming"
    )


def end_orphan(run: RunDir, *, grace: float = _GRACE_SECONDS) -> bool:
    """End a trainer whose supervisor is gone, in the supervisor's place; waits until it has ended.

    False when there is no such trainer on this machine: nothing is done then. `grace` is the time in seconds between
    SIGTERM and SIGKILL. Raises FtError when the trainer belongs to another user.
    """
    lock = RunLock(run)
    # Whoever holds the lock is the supervisor, and ends the trainer itself.
    if not lock.acquire():
        return False
    trainer = (read_status(run) or Status()).trainer
    try:
        if trainer is None or not trainer.alive():
            return False
        Supervisor(run, (), grace).end_foreign(trainer)
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


class _Signals:
    """SIGTERM noted, SIGHUP ignored, and waiting that ends early when a signal (or a child's end) arrives."""

    def __init__(self) -> None:
        self.terms = 0

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        os.set_blocking(self._reader, False)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._before = {
            signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_IGN),
            signal.SIGTERM: signal.signal(signal.SIGTERM, self._on_term),
            signal.SIGCHLD: signal.signal(signal.SIGCHLD, lambda *_: None),
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._reader)
        os.close(self._writer)

    def _on_term(self, _number: int, _frame: FrameType | None) -> None:
        self.terms += 1

    def wait(self, seconds: float) -> None:
        if select.select([self._reader], [], [], seconds)[0]:
            os.read(self._reader, 512)


class Supervisor:
    """One attempt at a run. `begin` makes the run ours, `work` starts the trainer and stays until it has ended."""

    def __init__(self, run: RunDir, command: Sequence[str], grace: float, warm: WarmTrainer | None = None) -> None:
        self._warm = warm
        self._run = run
        self._command = list(command)
        self._grace = grace
        self._oom = OomWatch()
        self._stop_ids: list[str] = []
        self._kill_at: float | None = None
        self._terms = 0
        self._log_start = 0
        self._begun_seq = 0

    def begin(self, *, resume: bool) -> None:
        """Write that the run is being prepared, by this process."""
        before = read_status(self._run) or Status(run=self._run.name)
        write_status(
            self._run,
            before.changed(
                state="preparing",
                phase="starting",
                started=before.started if resume and before.started else time.time(),
                supervisor=Identity.current(),
                trainer=None,
                **dict.fromkeys(("ended", "cause", "remedy")),
            ),
        )
        with Journal(self._run.events_file) as journal:
            if resume:
                self._answer_rest(journal, "asked before the run was resumed", ended=False)
            self._begun_seq = journal.write(
                "state", state="preparing", phase="starting", done=None, total=None, unit=None
            )

    def work(self) -> Ending:
        """Start the trainer, watch it to its end, and write down how it ended."""
        with _Signals() as signals:
            ending = self._train(signals)
            return self._finish(ending)

    def end_foreign(self, trainer: Identity) -> None:
        """End a trainer that is not our child: SIGTERM, after the grace SIGKILL; then write down how it ended."""
        self._begun_seq = self._last_sign_of_work()
        self._stop_ids = [request.id for request in control.take(self._run, {"stop_now"})]
        _signal(trainer, signal.SIGTERM)
        deadline = time.monotonic() + self._grace
        while trainer.alive():
            if time.monotonic() >= deadline:
                _signal(trainer, signal.SIGKILL)
            time.sleep(_ORPHAN_LOOK_SECONDS)
        self._finish(Ending("stopped", "stopped at once on request", RESUME))

    def _last_sign_of_work(self) -> int:
        """Seq of the last state or step: an end after it is the end of the present attempt."""
        signs = (event["seq"] for event in self._recent_events() if event["kind"] in {"state", "step"})
        return max(signs, default=0)

    def _train(self, signals: _Signals) -> Ending:
        log = open_log(self._run.log_file)
        try:
            self._log_start = os.fstat(log).st_size
            trainer = self._trainer(log)
        except OSError as error:
            return Ending("failed", f"the trainer could not be started: {error}", "install ft-tui again")
        finally:
            os.close(log)
        code = self._watch(trainer, signals)
        return self._explain(code)

    def _trainer(self, log: int) -> subprocess.Popen[bytes]:
        if self._warm is not None and self._warm.give([str(self._run.path)]):
            return self._warm.process
        return subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0)

    def _watch(self, trainer: subprocess.Popen[bytes], signals: _Signals) -> int:
        while (code := trainer.poll()) is None:
            signals.wait(_LOOK_SECONDS)
            if signals.terms > self._terms:
                self._terms = signals.terms
                trainer.terminate()
            self._obey(trainer)
        return code

    def _obey(self, trainer: subprocess.Popen[bytes]) -> None:
        asked = [request.id for request in control.take(self._run, {"stop_now"})]
        if asked and self._kill_at is None:
            trainer.terminate()
            self._kill_at = time.monotonic() + self._grace
        self._stop_ids += asked
        if self._kill_at is not None and time.monotonic() >= self._kill_at and trainer.poll() is None:
            # The whole group: helpers of the trainer may hold the GPU.
            os.killpg(trainer.pid, signal.SIGKILL)

    def _explain(self, code: int) -> Ending:
        lines = last_lines(self._run.log_file, _LOG_LINES, start=self._log_start)
        if self._stop_ids:
            return Ending("stopped", "stopped at once on request", RESUME, None)
        if self._terms:
            return Ending("stopped", ENDED_BY_SIGNAL, RESUME, lines)
        return explain(code, lines, killed_for_memory=code == -signal.SIGKILL and self._oom.killed())

    def _finish(self, ending: Ending) -> Ending:
        said = self._trainers_own_end()
        if said is not None:
            ending = Ending(said["state"], said.get("cause"), said.get("remedy"), said.get("last_lines"))
        with Journal(self._run.events_file) as journal:
            self._answer(journal, self._stop_ids, ok=True, text="stopped at once")
            self._answer_rest(journal, "the run has ended", ended=True)
            if said is None:
                journal.write("end", **vars(ending))
            self._persist(journal, ending)
        return ending

    def _trainers_own_end(self) -> Event | None:
        events = self._recent_events()
        ends = [event for event in events if event["kind"] == "end" and event["seq"] > self._begun_seq]
        return ends[-1] if ends and isinstance(ends[-1].get("state"), str) else None

    def _recent_events(self) -> list[Event]:
        try:
            start = max(0, self._run.events_file.stat().st_size - _END_BYTES)
        except OSError:
            return []
        return Tail(self._run.events_file, start=start).read()

    def _answer_rest(self, journal: Journal, text: str, *, ended: bool) -> None:
        for request in control.take(self._run):
            fulfilled = ended and request.request in {"stop", "stop_now"}
            self._answer(journal, [request.id], request=request.request, ok=fulfilled, text=text)
        for request in control.take_faulty(self._run):
            self._answer(journal, [request.id], request=request.request, ok=False, text=request.fault)

    def _answer(self, journal: Journal, ids: list[str], *, ok: bool, text: str, request: str = "stop_now") -> None:
        for name in ids:
            journal.write("control", id=name, request=request, ok=ok, text=text)

    def _persist(self, journal: Journal, ending: Ending) -> None:
        """Write the end down; on a full disk try again for a minute, since nobody comes after us."""
        deadline = time.monotonic() + _FULL_DISK_SECONDS
        while not (self._write_status(ending) and journal.flush()) and time.monotonic() < deadline:
            time.sleep(1)

    def _write_status(self, ending: Ending) -> bool:
        last = read_status(self._run) or Status(run=self._run.name)
        final = last.changed(state=ending.state, phase="", ended=time.time(), cause=ending.cause, remedy=ending.remedy)
        try:
            write_status(self._run, final, durable=True)
        except OSError as error:
            _say(f"status.json cannot be written: {error}")
            return False
        return True


def _signal(process: Identity, number: int) -> None:
    """Signal exactly this process: its pid may be given out again, but not while a descriptor holds it.

    SIGKILL goes to its whole group, whose helpers may hold the GPU. Raises PermissionError for another user's.
    """
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if not process.alive():
            return
        if number == signal.SIGKILL and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def _say(text: str) -> None:
    # Standard error is the run's worker.log.
    sys.stderr.write(f"supervisor: {text}\n")
    sys.stderr.flush()


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
    parser = argparse.ArgumentParser(prog="ft_core.runs.supervise", description=__doc__)
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("--warm", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--foreground", action="store_true")
    chosen = parser.parse_args(arguments)
    os.umask(0o077)
    if chosen.warm:
        return _warm()
    if chosen.directory is None:
        parser.error("a run directory is needed")
    writer = None if chosen.foreground else _detach()

    def ready() -> None:
        if writer is not None:
            os.write(writer, b"1")
            os.close(writer)

    try:
        run(RunDir(chosen.directory.absolute()), resume=chosen.resume, ready=ready)
    except FtError as error:
        _say(str(error))
        return 1
    return 0


def _warm() -> int:
    """Wait with a warm trainer for a run; then supervise it as any other."""
    if os.fork():
        os._exit(0)
    trainer = WarmTrainer()
    directory = wait_for_run(trainer)
    if directory is None:
        trainer.end()
        return 0
    answer = os.dup(1)
    run_dir = RunDir(directory)
    write_to_log(run_dir.log_file)

    def ready() -> None:
        os.write(answer, b"1")
        os.close(answer)

    try:
        run(run_dir, ready=ready, warm=trainer)
    except FtError as error:
        _say(str(error))
        trainer.end()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
