"""Chaos on the real worker: signals at random and at chosen moments, resumed each time, compared with an unbroken run.

`python -m tests.faults.chaos FOLDER --kills 25 --seed 1` prints one JSON object. The training stack is imported once
and each trainer forked from there: what a trainer does is all its own, only the seconds of imports are spared. The
process that forks them holds no thread and no lock that they share: one killed with it would leave it taken for ever.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Event, Tail
from finetune_core.runs.log import open_log
from finetune_core.runs.upkeep.lifecycle import run_id
from finetune_core.worker.checkpoints import sealed
from tests.core.worker import tiny
from tests.faults.forked import apart, fork

KILLS_A_RUN = 8
_HUNG_SECONDS = 120.0
# Each with its share; after SIGSTOP comes SIGKILL or SIGCONT.
_SIGNALS = (*[signal.SIGKILL] * 6, *[signal.SIGTERM] * 2, signal.SIGINT, signal.SIGSTOP)
_WHOLE_RUN_SECONDS = 3.0


@dataclass
class Outcome:
    """What the kills came to."""

    kills: int = 0
    runs: int = 0
    by_signal: Counter[str] = field(default_factory=Counter)
    by_moment: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """For the one line that is printed."""
        return {
            "kills": self.kills,
            "runs": self.runs,
            "signals": dict(self.by_signal),
            "moments": dict(self.by_moment),
            "lost": self.lost,
        }


class Trainer:
    """One trainer in a forked process."""

    def __init__(self, run: RunDir, *, resume: bool) -> None:
        self.pid = fork()
        if self.pid == 0:
            self._become(run, resume=resume)
        self.code: int | None = None

    def _become(self, run: RunDir, *, resume: bool) -> None:
        from finetune_core.worker import train

        log = open_log(run.log_file)
        for number in (1, 2):
            os.dup2(log, number)
        code = 70
        try:
            code = train.main([str(run.path), *(["--resume"] if resume else [])])
        finally:
            os._exit(code)

    def ended(self) -> bool:
        """Whether it has; its exit code, or minus the signal, is then in `code`."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still lives."""
        if not self.ended():
            os.kill(self.pid, number)


class Watch:
    """Waits for a moment of a run, by what its trainer writes."""

    def __init__(self, run: RunDir, trainer: Trainer) -> None:
        self._run = run
        self._trainer = trainer
        self._tail = Tail(run.events_file, start=run.events_file.stat().st_size)
        self._tail.read()

    def wait(self, reached: Callable[[Event | None], bool]) -> bool:
        """True when the moment has come; False when the trainer ended before."""
        deadline = time.monotonic() + _HUNG_SECONDS
        while not self._trainer.ended():
            if any(reached(event) for event in [*self._tail.read(), None]):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return False


def moments(run: RunDir, chance: random.Random) -> tuple[str, Callable[[Event | None], bool]]:
    """A kind of moment, and how it is recognised."""
    at = time.monotonic() + chance.uniform(0, _WHOLE_RUN_SECONDS)
    step = chance.randrange(1, 16)
    stage = run.checkpoints

    def phase(word: str) -> Callable[[Event | None], bool]:
        return lambda event: (
            event is not None and event["kind"] == "state" and word in f"{event['state']} {event['phase']}"
        )

    kinds: list[tuple[str, Callable[[Event | None], bool]]] = [
        ("any", lambda _: time.monotonic() >= at),
        ("load", phase("loading model")),
        ("base", phase("held-out loss of the base")),
        ("step", lambda event: event is not None and event["kind"] == "step" and event["step"] >= step),
        ("save", lambda _: any(stage.glob(".stage-*"))),
        ("evaluate", lambda event: event is not None and event["kind"] == "eval" and event["step"] > 0),
        ("sample", lambda event: event is not None and event["kind"] == "sample" and event["step"] > 0),
        ("judge", phase("evaluating")),
        ("export", phase("saving")),
    ]
    return chance.choice(kinds)


def _state_words(event: Event) -> str:
    return f"{event['state']} {event['phase']}"


class Chaos:
    """Breaks runs of one recipe, and compares each with the run that nobody broke."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._chance = random.Random(seed)
        self.outcome = Outcome()
        model = folder / "model"
        # Saving a model draws a progress bar, whose lock and thread must not be there when trainers are forked.
        apart(lambda: tiny.make_model(model))
        self._recipe = _recipe(model, tiny.write_rows(folder / "rows.jsonl", tiny.rows()))
        self._unbroken = tiny.make_run(folder / "unbroken", self._recipe)
        whole = Trainer(self._unbroken, resume=False)
        _wait(whole)
        self._expected = fingerprint(self._unbroken)

    def work(self, kills: int) -> Iterator[Outcome]:
        """Break runs until so many kills are done; gives the outcome after each run."""
        while self.outcome.kills < kills:
            self._one_run(min(KILLS_A_RUN, kills - self.outcome.kills))
            self.outcome.runs += 1
            yield self.outcome

    def _one_run(self, kills: int) -> None:
        home = self._folder / f"broken-{self.outcome.runs}"
        run = tiny.make_run(home, self._recipe)
        resume, done, tries = False, 0, 0
        while done < kills and tries < 3 * kills:
            tries += 1
            done += self._killed(run, resume=resume)
            resume = True
            self._check(run)
        last = Trainer(run, resume=resume)
        _wait(last)
        if last.code != 0:
            self._lose(run, f"the last trainer ended with {last.code}")
        self._check(run)
        for name, value in fingerprint(run).items():
            if value != self._expected[name]:
                self._lose(run, f"{name} differ from the unbroken run")
        if not any(found.startswith(run.name) for found in self.outcome.lost):
            shutil.rmtree(home)

    def _killed(self, run: RunDir, *, resume: bool) -> bool:
        """Start a trainer and break it; whether it was still there to be broken."""
        trainer = Trainer(run, resume=resume)
        moment, reached = moments(run, self._chance)
        if not Watch(run, trainer).wait(reached):
            _wait(trainer)
            return False
        time.sleep(self._chance.uniform(0, 0.03))
        number = self._chance.choice(_SIGNALS)
        trainer.send(number)
        if number is signal.SIGSTOP:
            time.sleep(0.02)
            trainer.send(self._chance.choice((signal.SIGKILL, signal.SIGCONT)))
        if not _wait(trainer):
            self._lose(run, f"it hung after {number.name} at {moment}")
        self.outcome.kills += 1
        self.outcome.by_signal[number.name] += 1
        self.outcome.by_moment[moment] += 1
        return True

    def _check(self, run: RunDir) -> None:
        """No event is missing in the sequence, and the newest checkpoint that was told is there and whole."""
        events = Tail(run.events_file).read()
        seqs = [event["seq"] for event in events]
        if seqs != list(range(1, len(seqs) + 1)):
            self._lose(run, "events are missing")
        told = [event["step"] for event in events if event["kind"] == "checkpoint"]
        found, damaged = sealed.newest(run.checkpoints, run_id=run_id(run))
        if damaged:
            self._lose(run, f"a checkpoint is visible and not whole: {damaged}")
        if told and (found is None or found.step < told[-1]):
            self._lose(run, f"the checkpoint of step {told[-1]} is lost")

    def _lose(self, run: RunDir, words: str) -> None:
        self.outcome.lost.append(f"{run.name} after {self.outcome.kills} kills: {words}")
        sys.stderr.write(self.outcome.lost[-1] + "\n")


def _recipe(model: Path, rows: Path) -> Recipe:
    """Packed rows, summed micro-batches, dropout, and something of everything that happens between steps."""
    return tiny.make_recipe(
        model,
        rows,
        adapter__dropout=0.1,
        data__packing="bfd",
        training__micro_batch=1,
        training__accumulation=2,
        saving__every_steps=2,
        saving__keep=2,
        evaluation__every_steps=5,
        samples__every_steps=6,
    )


def fingerprint(run: RunDir) -> dict[str, object]:
    """What must be the same: of each step its figures (of one done twice, the later), and the files of the result."""
    events = Tail(run.events_file).read()
    steps = {event["step"]: (event["loss"], event["learning_rate"], event["grad_norm"], event["tokens"])
             for event in events if event["kind"] == "step"}  # fmt: skip
    losses = {event["step"]: event["loss"] for event in events if event["kind"] == "eval"}
    verdict = next((event["words"] for event in reversed(events) if event["kind"] == "verdict"), None)
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(run.result.glob("*.safetensors"))
    }
    return {"steps": steps, "held-out losses": losses, "verdict": verdict, "weights": files}


def _wait(trainer: Trainer) -> bool:
    """Wait for its end; False, and it is killed, when it does not come."""
    deadline = time.monotonic() + _HUNG_SECONDS
    while not trainer.ended():
        if time.monotonic() > deadline:
            os.kill(trainer.pid, signal.SIGKILL)
            os.waitpid(trainer.pid, 0)
            trainer.code = -signal.SIGKILL
            return False
        time.sleep(0.005)
    return True


def main() -> int:
    """Break runs as the command line says; the exit code tells whether something was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    for module in ("finetune_core.worker.train", "finetune_core.worker.training.job"):
        importlib.import_module(module)
    chaos = Chaos(chosen.folder, chosen.seed)
    for outcome in chaos.work(chosen.kills):
        sys.stderr.write(f"{outcome.kills} kills, {outcome.runs} runs, {len(outcome.lost)} lost\n")
    sys.stdout.write(json.dumps(chaos.outcome.to_json()) + "\n")
    return 1 if chaos.outcome.lost else 0


if __name__ == "__main__":
    sys.exit(main())
