"""The supervisor's work on one run: it starts trainers, watches them, and reports the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from finetune_core.errors import FtError
from finetune_core.runs import control
from finetune_core.runs.directory import RunDir
from finetune_core.runs.events import AlarmEvent, ControlEvent, EndEvent, StateEvent
from finetune_core.runs.gpu_locks import GpuLocks
from finetune_core.runs.identity import Identity, has_members
from finetune_core.runs.journal import Event, Journal
from finetune_core.runs.log import last_lines, open_log
from finetune_core.runs.recorded import sealed_steps
from finetune_core.runs.start.warm import WarmTrainer
from finetune_core.runs.status import Status, known, known_events, write_status
from finetune_core.runs.view import history
from finetune_core.runs.view.damage import read_damage
from finetune_core.runs.view.run_view import RunView
from finetune_core.runs.watch.batch_override import Batch, adapted, write_adapted
from finetune_core.runs.watch.end_causes import (
    ENDED_BY_SIGNAL,
    ON_REQUEST,
    PREEMPTED,
    RESUME,
    Ending,
    OomWatch,
    explain,
    hung,
)
from finetune_core.runs.watch.journal_follower import Follower
from finetune_core.runs.watch.notify import Notifier
from finetune_core.runs.watch.restart import Again, Restarts
from finetune_core.runs.watch.signals import Signals
from finetune_core.runs.watch.watchdog import Limits, Watchdog

GRACE_SECONDS = 10.0
_LOOK_SECONDS = 0.3
_QUEUE_LOOK_SECONDS = 0.5
_ABORT_SECONDS = 5.0
_FULL_DISK_SECONDS = 600.0
_ORPHAN_LOOK_SECONDS = 0.05
_LOG_LINES = 20
_HISTORY_SECONDS = 30.0
# A tenth of a second of reading; a backlog is worked off over some minutes.
_HISTORY_BYTES = 4 * 1024 * 1024
_HUNG_LINES = 60


@dataclass(frozen=True)
class Ways:
    """How a run is supervised.

    `grace` is the time in seconds between SIGTERM and SIGKILL when the run is to stop at once, `limits` say when a
    trainer counts as hung. A `warm` trainer is used where it is still there.
    """

    grace: float = GRACE_SECONDS
    limits: Limits | None = None
    warm: WarmTrainer | None = None


class Supervisor:
    """One start of a run, with as many trainers as it takes. `begin` makes the run ours, `work` stays to its end."""

    def __init__(self, run: RunDir, command: Sequence[str], ways: Ways | None = None) -> None:
        self._run = run
        self._command = list(command)
        self._ways = ways or Ways()
        self._warm = self._ways.warm
        self._oom = OomWatch()
        self._follower = Follower(run)
        self._notifier = Notifier(run)
        self._stop_ids: list[str] = []
        self._kill_at: float | None = None
        self._terms = 0
        self._ended_by = ""
        self._hung: str | None = None
        self._log_start = 0
        self._view = RunView(run)
        self._kept_at = time.monotonic()

    def begin(self, *, resume: bool, state: str = "preparing", phase: str = "starting") -> None:
        """Write that the run is being prepared (or is `queued`), by this process."""
        before, after = known(self._run), known_events(self._run)
        harm = read_damage(self._run) if resume else []
        with Journal(self._run.events_file, after=after) as journal:
            if harm:
                # First of all: from here on the journal is not shorter than it is known to have been.
                journal.record(AlarmEvent(name="run_damaged", text="; ".join(harm)))
        write_status(
            self._run,
            before.changed(
                state=state,
                phase=phase,
                started=before.started if resume and before.started else time.time(),
                supervisor=Identity.current(),
                trainer=None,
                **dict.fromkeys(("ended", "cause", "remedy")),
            ),
        )
        with Journal(self._run.events_file, after=after) as journal:
            if resume:
                self._answer_rest(journal, "asked before the run was resumed", ended=False)
            self._begun(journal, state, phase)

    def _begun(self, journal: Journal, state: str, phase: str) -> None:
        seq = journal.record(StateEvent(state=state, phase=phase))
        self._follower.begin(seq)

    def work(self, locks: GpuLocks | None = None) -> Ending:
        """Train to the end, with another trainer where that helps, and write down how it ended.

        With `locks` that others hold, first wait until the GPUs are free.
        """
        with Signals() as signals:
            if locks is not None and not self._wait_for(locks, signals):
                return self._finish(self._called_off())
            restarts = Restarts(self._batch())
            while True:
                ending = self._train(signals)
                again = self._another_try(restarts, ending)
                if again is None:
                    return self._finish(ending)
                self._start_again(again, ending)

    def end_foreign(self, trainer: Identity) -> None:
        """End a trainer that is not our child: SIGTERM, after the grace SIGKILL; then write down how it ended."""
        self._follower.begin(self._follower.last_sign_of_work())
        self._stop_ids = [request.id for request in control.take(self._run, {"stop_now"})]
        signal_exactly(trainer, signal.SIGTERM)
        deadline = time.monotonic() + self._ways.grace
        while trainer.alive():
            if time.monotonic() >= deadline:
                signal_exactly(trainer, signal.SIGKILL)
            time.sleep(_ORPHAN_LOOK_SECONDS)
        self._finish(_stopped_at_once())

    # ---- waiting for a GPU ----

    def _wait_for(self, locks: GpuLocks, signals: Signals) -> bool:
        """Wait until every GPU is ours; False when the run is to end before."""
        shown = ""
        while (holder := locks.acquire()) is not None:
            words = f"waiting for {holder}"
            if words != shown:
                shown = words
                self._report_state("queued", words)
            signals.wait(_QUEUE_LOOK_SECONDS)
            self._terms, self._ended_by = signals.terms, signals.last
            self._stop_ids += [request.id for request in control.take(self._run, {"stop", "stop_now"})]
            if self._terms or self._stop_ids:
                return False
        if shown:
            self._report_state("preparing", "starting")
        return True

    def _called_off(self) -> Ending:
        return _stopped_at_once("it was waiting for a GPU") if self._stop_ids else self._preempted([])

    def _report_state(self, state: str, phase: str) -> None:
        with Journal(self._run.events_file) as journal:
            self._begun(journal, state, phase)
        status = known(self._run)
        self._write(status.changed(state=state, phase=phase, supervisor=Identity.current(), trainer=None))

    # ---- one trainer ----

    def _train(self, signals: Signals) -> Ending:
        log = open_log(self._run.log_file)
        try:
            self._log_start = os.fstat(log).st_size
            trainer = self._trainer(log, signals)
        except OSError as error:
            return Ending("failed", f"the trainer could not be started: {error}", "install ft-tui again")
        finally:
            os.close(log)
        code = self._watch(trainer, signals)
        # What it had started, such as loaders of data, may hold the GPU.
        if has_members(trainer.pid):
            _kill_group(trainer.pid)
        return self._explain(code)

    def _trainer(self, log: int, signals: Signals) -> subprocess.Popen[bytes]:
        warm, self._warm = self._warm, None
        if warm is not None and warm.give([str(self._run.path)]):
            return warm.process
        return subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
            preexec_fn=signals.give_back,  # noqa: PLW1509 - one system call, and no thread has been started here
        )

    def _watch(self, trainer: subprocess.Popen[bytes], signals: Signals) -> int:
        watchdog = Watchdog(trainer.pid, self._ways.limits)
        while (code := trainer.poll()) is None:
            signals.wait(_LOOK_SECONDS)
            if signals.terms > self._terms:
                self._terms, self._ended_by = signals.terms, signals.last
                trainer.terminate()
            self._obey(trainer)
            self._follow()
            if self._hung is None and self._kill_at is None:
                self._hung = watchdog.look(time.monotonic(), self._follower.size, self._follower.state)
                if self._hung is not None:
                    _end_hung(trainer)
        self._follow()
        return code

    def _follow(self) -> None:
        """Pass on what is new; now and then keep its history, so that whoever looks later need not read it all."""
        now = time.monotonic()
        if now - self._kept_at > _HISTORY_SECONDS:
            self._kept_at = now
            self._view.poll(_HISTORY_BYTES)
            history.keep(self._view)
        for alarm in self._follower.news():
            self._notifier.send("alarm", str(alarm.get("text") or alarm.get("name")))

    def _obey(self, trainer: subprocess.Popen[bytes]) -> None:
        asked = [request.id for request in control.take(self._run, {"stop_now"})]
        if asked and self._kill_at is None:
            trainer.terminate()
            self._kill_at = time.monotonic() + self._ways.grace
        self._stop_ids += asked
        if self._kill_at is not None and time.monotonic() >= self._kill_at and trainer.poll() is None:
            _kill_group(trainer.pid)

    # ---- how it ended ----

    def _explain(self, code: int) -> Ending:
        lines = last_lines(self._run.log_file, _LOG_LINES, start=self._log_start)
        if self._stop_ids:
            return _stopped_at_once()
        if self._terms:
            return self._preempted(lines)
        if self._hung is not None:
            return hung(self._hung, last_lines(self._run.log_file, _HUNG_LINES, start=self._log_start))
        said = self._follower.failure()
        if said is not None:
            return Ending("failed", said.get("cause"), said.get("remedy"), lines, str(said.get("reason") or ""))
        return explain(code, lines, killed_for_memory=code == -signal.SIGKILL and self._oom.killed())

    def _preempted(self, lines: list[str]) -> Ending:
        cause = f"preempted: ended by {self._ended_by}" if self._ended_by else ENDED_BY_SIGNAL
        return Ending("preempted", cause, RESUME, lines, PREEMPTED)

    def _another_try(self, restarts: Restarts, ending: Ending) -> Again | None:
        if self._follower.end() is not None or self._stop_ids or self._terms:
            return None
        return restarts.after(ending, sealed=self._sealed(), trained=self._follower.trained)

    def _batch(self) -> Batch | None:
        from finetune_core.recipe.yaml_io import load

        try:
            return Batch.of(adapted(load(self._run.recipe_file), self._run))
        except FtError:
            return None

    def _sealed(self) -> int | None:
        """The step of the newest checkpoint; whether it is whole, the next trainer finds out."""
        return max(sealed_steps(self._run), default=None)

    def _start_again(self, again: Again, ending: Ending) -> None:
        """Write down why and how, and let the next trainer go on from the newest checkpoint."""
        if again.batch is not None:
            try:
                write_adapted(self._run, again.batch)
            except OSError as error:
                say(f"adapted.json cannot be written: {error}")
        changed = again.batch.model_dump() if again.batch is not None else {}
        text = f"{ending.cause}; {again.words}"
        with Journal(self._run.events_file) as journal:
            journal.record(AlarmEvent(name="restarted", text=text, reason=ending.reason, **changed))
        say(text)
        self._notifier.send("alarm", text)
        if "--resume" not in self._command:
            self._command.append("--resume")
        self._oom = OomWatch()
        self._hung = None
        self._report_state("preparing", "starting again")

    def _finish(self, ending: Ending) -> Ending:
        said = self._follower.end()
        if said is not None:
            ending = _as_told(said)
        with Journal(self._run.events_file) as journal:
            self._answer(journal, self._stop_ids, ok=True, text="stopped at once")
            self._answer_rest(journal, "the run has ended", ended=True)
            if said is None:
                journal.record(EndEvent(**asdict(ending)))
            self._persist(journal, ending)
        self._notifier.send("end", ending.cause or "finished", state=ending.state)
        self._notifier.close()
        return ending

    def _answer_rest(self, journal: Journal, text: str, *, ended: bool) -> None:
        for request in control.take(self._run):
            fulfilled = ended and request.request in {"stop", "stop_now"}
            self._answer(journal, [request.id], request=request.request, ok=fulfilled, text=text)
        for request in control.take_faulty(self._run):
            self._answer(journal, [request.id], request=request.request, ok=False, text=request.fault)

    def _answer(self, journal: Journal, ids: list[str], *, ok: bool, text: str, request: str = "stop_now") -> None:
        for name in ids:
            journal.record(ControlEvent(id=name, request=request, ok=ok, text=text))

    def _persist(self, journal: Journal, ending: Ending) -> None:
        """Write the end down; on a full disk try again for ten minutes, since nobody comes after us."""
        deadline = time.monotonic() + _FULL_DISK_SECONDS
        while not (self._write_end(ending) and journal.flush()) and time.monotonic() < deadline:
            time.sleep(1)

    def _write_end(self, ending: Ending) -> bool:
        last = known(self._run)
        return self._write(
            last.changed(state=ending.state, phase="", ended=time.time(), cause=ending.cause, remedy=ending.remedy)
        )

    def _write(self, status: Status) -> bool:
        try:
            write_status(self._run, status)
        except OSError as error:
            say(f"status.json cannot be written: {error}")
            return False
        return True


def _as_told(event: Event) -> Ending:
    known: dict[str, Any] = {name: event.get(name) for name in ("cause", "remedy", "last_lines")}
    return Ending(state=str(event["state"]), reason=str(event.get("reason") or ""), **known)


def _stopped_at_once(why: str = "") -> Ending:
    more = f": {why}" if why else ""
    return Ending("stopped", f"stopped at once on request{more}", RESUME, None, ON_REQUEST)


def _end_hung(trainer: subprocess.Popen[bytes]) -> None:
    """SIGABRT first: faulthandler then writes into the log where each thread stood."""
    trainer.send_signal(signal.SIGABRT)
    try:
        trainer.wait(_ABORT_SECONDS)
    except subprocess.TimeoutExpired:
        _kill_group(trainer.pid)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def say(text: str) -> None:
    """A line in the run's worker.log, which is where the supervisor's standard error goes."""
    # A full disk takes no log, and that is no reason to leave a run alone.
    with suppress(OSError):
        sys.stderr.write(f"supervisor: {text}\n")
        sys.stderr.flush()


def signal_exactly(process: Identity, number: int) -> None:
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
