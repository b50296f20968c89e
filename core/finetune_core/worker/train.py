"""The trainer's process: `python -P -m finetune_core.worker.train RUN_DIR [--resume | --probe]`.

With `--probe` it prepares everything and measures the longest batch, and trains nothing.

Everything it does is reported through the run directory. Exit codes: 0 done or stopped, 2 wrong use, 3 failed; 143
ended by a signal, which the supervisor reports once the process is gone.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, cast

from finetune_core.environment import TRAINER
from finetune_core.errors import FtError
from finetune_core.recipe import yaml_io
from finetune_core.redaction import Redacting
from finetune_core.runs.directory import RunDir
from finetune_core.runs.lock import RunLock
from finetune_core.runs.oddities import refuse_oddities
from finetune_core.runs.watch.batch_override import adapted
from finetune_core.runs.watch.end_causes import (
    DISK_FULL,
    DONE,
    ENDED_BY_SIGNAL,
    ON_REQUEST,
    PREEMPTED,
    RESUME,
    TERMINATED_CODE,
)
from finetune_core.worker.controls import TERMINATED, Controls, Signals, Stopped
from finetune_core.worker.failures import explain, reason_of
from finetune_core.worker.report import Reporter
from finetune_core.worker.stack import import_stack

FINE, WRONG_USE, FAILED = 0, 2, 3


def main(arguments: list[str] | None = None) -> int:
    """Train the run named on the command line; gives the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    folders = [word for word in words if word not in {"--resume", "--probe"}]
    if len(folders) != 1 or not Path(folders[0]).is_dir():
        sys.stderr.write("use: python -P -m finetune_core.worker.train RUN_DIR [--resume | --probe]\n")
        return WRONG_USE
    os.umask(0o077)
    be_quiet()
    with without_secrets():
        return _work(folders[0], words)


@contextmanager
def without_secrets() -> Iterator[None]:
    """Whatever Python code writes meanwhile to output or errors, which are a run's log, comes there without secrets."""
    with redirect_stdout(cast("Any", Redacting(sys.stdout))), redirect_stderr(cast("Any", Redacting(sys.stderr))):
        yield


def _work(folder: str, words: list[str]) -> int:
    signals = Signals()
    signals.install()
    run = RunDir(Path(folder).absolute())
    lock = RunLock(run, trainer=True)
    # Nothing is written into a run that another trainer writes into; the log is the supervisor's.
    if why := _not_ours(run, lock):
        sys.stderr.write(f"RuntimeError: {why}\n")
        return FAILED
    reporter = Reporter(run)
    try:
        return _train(reporter, Controls(reporter, signals), signals, words)
    finally:
        reporter.close()
        lock.release()


def _not_ours(run: RunDir, lock: RunLock) -> str:
    """Why this process must not write into a run; empty where it may, and then holds the trainer's lock."""
    try:
        refuse_oddities(run)
        return "" if lock.acquire() else f"another trainer is at work on {run.name}"
    except (FtError, OSError) as error:
        return "; ".join(str(error).splitlines())


def be_quiet() -> None:
    """Set what the libraries read when they are imported: no reports to anyone, no bars in the log."""
    for name, value in TRAINER.items():
        os.environ.setdefault(name, value)


def _train(reporter: Reporter, controls: Controls, signals: Signals, words: list[str]) -> int:
    try:
        reporter.state("preparing", "importing")
        recipe = adapted(yaml_io.load(reporter.run.recipe_file), reporter.run)
        _hush()
        # Seconds of imports: the run is already visible while they last.
        import_stack()
        from finetune_core.worker.training.job import prepare

        job = prepare(recipe, reporter, controls, signals, resume="--resume" in words)
        cause = None
        if "--probe" in words:
            job.only_probe()
        else:
            cause = job.work()
    except Stopped as stop:
        cause = str(stop)
    except BaseException as error:  # noqa: BLE001 - whatever ends the run is reported, then the process ends
        return _fail(reporter, controls, error)
    controls.refuse_rest()
    if cause == TERMINATED:
        return _terminated(reporter)
    reporter.end("done" if cause is None else "stopped", cause, None, DONE if cause is None else ON_REQUEST)
    return FINE


def _terminated(reporter: Reporter) -> int:
    """Leave it to the supervisor to report on whose word and when this process is gone; without one, report it here."""
    if RunLock(reporter.run).held_elsewhere():
        reporter.log("ending: a signal asked for it")
        return TERMINATED_CODE
    reporter.end("preempted", ENDED_BY_SIGNAL, RESUME, PREEMPTED)
    return FINE


def _hush() -> None:
    """Keep out of the log what no one can act on: int8 on a CPU alone says a line for every matrix product."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl|peft)\.")


def _fail(reporter: Reporter, controls: Controls, error: BaseException) -> int:
    traceback.print_exception(error)
    cause, remedy = explain(error)
    reason = reason_of(error)
    if reason == DISK_FULL:
        remedy += ", then resume the run"
    if RunLock(reporter.run).held_elsewhere():
        reporter.failure(reason, cause, remedy)
        return FAILED
    controls.refuse_rest()
    reporter.end("failed", cause, remedy, reason)
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
