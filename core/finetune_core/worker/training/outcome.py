"""The outcome of a training: the result on the disk, then base and tuned model compared."""

from __future__ import annotations

import traceback
from functools import partial

from finetune_core.runs.events import ResultEvent
from finetune_core.runs.watch.end_causes import GPU_LOST
from finetune_core.worker.answers.base_and_tuned import Jury
from finetune_core.worker.controls import Controls, Stopped
from finetune_core.worker.disk_space import when_there_is_room
from finetune_core.worker.failures import explain, reason_of
from finetune_core.worker.model.save import save_result
from finetune_core.worker.report import Reporter
from finetune_core.worker.training.base import Base
from finetune_core.worker.training.between_steps import BetweenSteps
from finetune_core.worker.training.setup import Setup


def save(ready: Setup, step: int, report: Reporter, controls: Controls) -> None:
    """Write the result; where the disk is full, wait for room: an evening's work hangs on it."""
    report.state("saving", "writing the result")
    base, revision = ready.base.name, ready.base.revision

    def write() -> tuple[str, int]:
        return save_result(
            report.run,
            ready.model,
            ready.tokenizer,
            base=base,
            revision=revision,
            config=ready.trainer.own_config,
            stops=ready.stops,
        )

    kind, size = when_there_is_room(write, report, controls)
    path = report.run.result.name
    report.event(ResultEvent(step=step, path=path, bytes=size, kind=kind, base=base, revision=revision))


def judge(base: Base, between: BetweenSteps, jury: Jury, report: Reporter, controls: Controls) -> str | None:
    """Last samples and loss, and the verdict; gives why that was broken off, None when it was not.

    The result is saved already: what fails here is reported, and costs nothing else.
    """
    report.state("evaluating", "held-out loss and samples of the tuned model")
    compare = partial(_compare, base, between, jury, report, controls)
    for name, action in (("samples", between.last_look), ("verdict", compare)):
        try:
            action()
        except Stopped as stop:
            return str(stop)
        except Exception as error:
            if reason_of(error) == GPU_LOST:
                raise
            traceback.print_exception(error)
            cause, remedy = explain(error)
            report.alarm(f"{name}_failed", f"{name} failed, the result is saved: {cause}; {remedy}")
    return None


def _compare(base: Base, between: BetweenSteps, jury: Jury, report: Reporter, controls: Controls) -> None:
    """Compare base and tuned model on the held-out rows, and report the verdict."""
    measured = between.measured
    if not jury.questions and measured is None:
        report.state("evaluating", "nothing is held out: base and tuned model cannot be compared")
        return
    answers = base.answers()
    if answers is None:
        report.alarm("verdict_failed", "the base did not answer before the training: there is no verdict")
        return
    tuned = jury.ask_tuned()
    now = measured[1] if measured and measured[0] == between.step else None

    def write() -> None:
        jury.judge(report, answers, tuned, base.loss, now, between.weights_of, between.losses_of)

    when_there_is_room(write, report, controls)
