"""What a diagnosis of the run looks at beside its verdict: its curves, and its rows in numbers."""

from __future__ import annotations

from finetune_core.evaluation.next_change import RunFacts
from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import number
from finetune_core.runs.metrics import EVAL_LOSS, metrics_of
from finetune_core.runs.view.run_view import RunView
from finetune_core.worker.rows.dataset import Tokens
from finetune_core.worker.rows.inputs import Data


def run_facts(run: RunDir, data: Data, unfitting: int, *, droppable: bool = True) -> RunFacts:
    """The run's curves as its journal has them, and its rows; `unfitting` answers were too long for the limit.

    `droppable`: whether the adapter can have dropout.
    """
    view = RunView(run)
    view.poll()
    losses = view.series["loss"].values if "loss" in view.series else []
    measured = ((event.get("step"), number(metrics_of(event).get(EVAL_LOSS))) for event in view.evals)
    return RunFacts(
        step=view.step,
        losses=tuple(losses),
        held_out=tuple((int(step), loss) for step, loss in measured if isinstance(step, int) and loss is not None),
        rows=len(data.train),
        cut=data.train.cut,
        duplicates=_again(data.train),
        held_out_rows=len(data.held_out_rows),
        unfitting=unfitting,
        ends_trained=bool(data.train.stops),
        droppable=droppable,
    )


def _again(tokens: Tokens) -> int:
    """How many rows are, token for token, a row before them."""
    return len(tokens) - len({bytes(ids) for ids in tokens.input_ids})
