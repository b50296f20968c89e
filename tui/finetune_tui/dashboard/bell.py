"""When the terminal's bell is rung: something has happened that a person who looks elsewhere should know of."""

from __future__ import annotations

from finetune_core.runs.status import ACTIVE
from finetune_core.runs.view.run_view import RunView


class Bell:
    """Remembers what was seen of a run; `due` is True once for each end of work and each new alarm."""

    def __init__(self) -> None:
        self._seen: tuple[bool, int] | None = None

    def due(self, view: RunView) -> bool:
        """Whether to ring for what is new. What was there when one came to look is not."""
        if view.behind:
            return False
        before = self._seen
        self._seen = now = (view.state in ACTIVE, max((event["seq"] for event in view.alarms), default=0))
        return before is not None and ((before[0] and not now[0]) or now[1] > before[1])
