"""What end-to-end tests ask of a run, read from its directory."""

from __future__ import annotations

from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Tail
from finetune_core.runs.status import read_status

# On top of the demo's values: long enough to be looked at while it trains, short enough to be waited for.
LONGER: dict[str, object] = {"training.epochs": 5.0, "evaluation.questions": 8, "samples.count": 1}


def steps(run: RunDir) -> list[int]:
    """The steps in the journal, in order."""
    return [event["step"] for event in Tail(run.events_file).read() if event["kind"] == "step"]


def state(run: RunDir) -> str:
    """The state in status.json."""
    status = read_status(run)
    return "" if status is None else status.state
