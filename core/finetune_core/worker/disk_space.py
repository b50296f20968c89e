"""Waiting for room on the disk, where giving up would cost more than the wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from finetune_core.runs.watch.end_causes import DISK_FULL
from finetune_core.worker.controls import Controls
from finetune_core.worker.failures import reason_of
from finetune_core.worker.report import Reporter

T = TypeVar("T")
_LOOK_SECONDS: Final = 1.0
_TRY_SECONDS: Final = 5.0
_PATIENCE_SECONDS: Final = 3600.0


def when_there_is_room(
    write: Callable[[], T],
    report: Reporter,
    controls: Controls,
    sleep: Callable[[float], None] = time.sleep,
    patience: float = _PATIENCE_SECONDS,
) -> T:
    """What `write` gives, tried again for `patience` seconds while the disk is full.

    Raises Stopped when the run is to end, and whatever `write` raises for another reason, or at last.
    """
    waited = 0.0
    while True:
        try:
            return write()
        except Exception as error:
            if reason_of(error) != DISK_FULL or waited >= patience:
                raise
        if not waited:
            report.alarm("disk_full", "the disk is full: free some space, and the run goes on at once")
            report.state("saving", "waiting for room on the disk")
        for _ in range(round(_TRY_SECONDS / _LOOK_SECONDS)):
            controls.look_for_stop()
            sleep(_LOOK_SECONDS)
        waited += _TRY_SECONDS
