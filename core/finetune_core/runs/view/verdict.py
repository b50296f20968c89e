"""A verdict as a run's journal has it, whichever version wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from finetune_core.evaluation.measure_names import HELD_OUT_LOSS
from finetune_core.evaluation.next_change import NextChange, from_json
from finetune_core.evaluation.verdict import BETTER, OUTCOMES, TOO_FEW, WORSE

_EARLIER: Final = "Judged by an earlier version, by the loss alone: that shows no better answers."


def outcome_of(event: Mapping[str, Any]) -> str:
    """One of OUTCOMES; of an earlier version's verdict better or worse where its answers changed, else nothing."""
    said = event.get("outcome")
    if said is not None:
        return str(said) if said in OUTCOMES else ""
    if not isinstance(event.get("better"), bool) or _by_loss_alone(event):
        return ""
    return BETTER if event["better"] else WORSE


def words_of(event: Mapping[str, Any]) -> str:
    """Its sentence; that an earlier version took a loss for more than it shows is said behind it."""
    words = str(event.get("words") or "")
    doubtful = "outcome" not in event and event.get("better") is True and _by_loss_alone(event)
    return f"{words} {_EARLIER}" if doubtful else words


def meets_better(event: Mapping[str, Any] | None) -> bool | None:
    """Whether the result is better than its base; None where that is not known, or nothing was judged."""
    known = outcome_of(event) if event is not None else ""
    return None if known in {"", TOO_FEW} else known == BETTER


def change_of(event: Mapping[str, Any] | None) -> NextChange | None:
    """What the verdict says to change next; None where it says nothing."""
    return from_json(event.get("next")) if event is not None else None


def _by_loss_alone(event: Mapping[str, Any]) -> bool:
    """Whether only the loss changed. An even earlier version did not say what did; its measures then say it."""
    changes = event.get("changes")
    if isinstance(changes, Mapping):
        return not any(sign for name, sign in changes.items() if name != HELD_OUT_LOSS)
    base, tuned = event.get("base"), event.get("tuned")
    if not isinstance(base, Mapping) or not isinstance(tuned, Mapping):
        return False
    return all(base.get(name) == tuned.get(name) for name in {*base, *tuned} - {HELD_OUT_LOSS})
