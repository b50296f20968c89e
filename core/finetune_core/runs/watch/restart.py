"""Whether a trainer that failed is started again, and how: where that helps, and never for ever."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from finetune_core.runs.watch.batch_override import Batch
from finetune_core.runs.watch.end_causes import CRASHED, MEMORY, Ending

MOST_RESTARTS: Final = 3


@dataclass(frozen=True)
class Again:
    """One more try: why, in words, and with which batch where that is another one now."""

    words: str
    batch: Batch | None = None


class Restarts:
    """The tries of one supervised run. `batch` is how it begins; None when its recipe cannot be read."""

    def __init__(self, batch: Batch | None) -> None:
        self._batch = batch
        self._left = MOST_RESTARTS
        self._crashed_at: int | None = None

    def after(self, ending: Ending, *, sealed: int | None, trained: bool) -> Again | None:
        """What to do after a failure; None when starting again does not help.

        `sealed` is the step of the newest checkpoint, `trained` says whether the failed try had begun its steps: an
        error before that comes again in the same place.
        """
        if ending.state != "failed" or self._left == 0:
            return None
        again = self._for_memory() if ending.reason == MEMORY else self._for_crash(ending, sealed, trained=trained)
        if again is not None:
            self._left -= 1
        return again

    def _for_memory(self) -> Again | None:
        smaller = self._batch.smaller() if self._batch is not None else None
        if smaller is None:
            return None
        self._batch = smaller
        return Again(f"memory ran out: going on with {smaller.words()}; the effective batch stays the same", smaller)

    def _for_crash(self, ending: Ending, sealed: int | None, *, trained: bool) -> Again | None:
        """Once more; and again only after a checkpoint that the crash before had not reached."""
        if ending.reason != CRASHED or not trained:
            return None
        reached = sealed or 0
        if self._crashed_at is not None and reached <= self._crashed_at:
            return None
        self._crashed_at = reached
        return Again("the trainer is started once more")
