"""The present of a run whose journal is too long to be read in a moment."""

from __future__ import annotations

from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Tail
from finetune_core.runs.view import history
from finetune_core.runs.view.run_view import RunView

SHORT = 2 * history.WORTH
_HEAD = 128 * 1024
_END = 512 * 1024


def is_long(view: RunView) -> bool:
    """Whether so much of the journal is still to be read that a person would wait for it."""
    view.recall()
    return view.unread > SHORT


class Glance(RunView):
    """What a run does now, at once: its plan or its kept history, then the end of its journal, and nothing between.

    State, step, figures and the newest points of the curves are those of a RunView; curves, lists and the time worked
    lack what lies between.
    """

    def __init__(self, run: RunDir) -> None:
        super().__init__(run)
        self._leapt = False

    def _poll_journal(self, limit_bytes: int | None) -> bool:
        if not self._leapt:
            self._leapt = True
            if not self.kept:
                super()._poll_journal(_HEAD)
            self._leap()
        changed = super()._poll_journal(limit_bytes)
        self.total = self.total if self.total is not None else self.status.total
        return changed

    def _leap(self) -> None:
        size = self.covered + self.unread
        if self.unread <= _END:
            return
        self._tail = Tail(self.run.events_file, start=size - _END)
        # A later attempt may have begun in between: what the status says of the state holds.
        self.end = None
        self.states.clear()
        self._pace.clear()
        if not self.kept:
            # The first points alone would pass for the last, and be joined to those of the end.
            self.series.clear()
            for events in (self.samples, self.checkpoints, self.evals):
                events.clear()
