"""Early stopping: which measurement of the held-out loss was the best, and for how many since then none was better."""

from __future__ import annotations

import math
from typing import Any


class Best:
    """Keeps count when the recipe has a `patience` (measurements without a better one); without, it keeps quiet."""

    def __init__(self, patience: int | None) -> None:
        self._patience = patience
        self.step = 0
        self.loss = math.inf
        self.since = 0

    @property
    def wanted(self) -> bool:
        """Whether the best weights are to be kept."""
        return self._patience is not None

    @property
    def used_up(self) -> bool:
        """Whether patience is at its end."""
        return self._patience is not None and self.since >= self._patience

    def measured(self, step: int, loss: float) -> bool:
        """Take in a measurement; True when it is the best so far. One of the same step again is passed over."""
        if not self.wanted or step == self.step:
            return False
        if loss < self.loss:
            self.step, self.loss, self.since = step, loss, 0
            return True
        self.since += 1
        return False

    def notes(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"step": self.step, "loss": self.loss, "since": self.since} if self.wanted and self.step else {}

    def restore(self, notes: object) -> None:
        """Go on from what a checkpoint kept."""
        if self.wanted and isinstance(notes, dict) and notes:
            self.step, self.loss, self.since = int(notes["step"]), float(notes["loss"]), int(notes["since"])
