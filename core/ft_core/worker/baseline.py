"""What the untouched base does on the held-out rows, kept in the run so that a resumed run need not ask again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from ft_core.files import write_atomic
from ft_core.worker.generate import Reply


def _noted(found: object) -> object:
    """An answer as versions before kept it, its words alone, as a reply."""
    return Reply(found, None) if isinstance(found, str) else found


class Baseline(BaseModel):
    """The base's held-out loss, its answers to the samples, and to the verdict's questions where already asked."""

    model_config = ConfigDict(ser_json_inf_nan="strings")

    loss: float | None = None
    samples: list[str] | None = None
    answers: list[Annotated[Reply, BeforeValidator(_noted)]] | None = None

    def save(self, path: Path) -> None:
        """Write it in one step."""
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomic(path, self.model_dump_json(indent=1))


def load(path: Path) -> Baseline:
    """The baseline of an earlier start; empty when there is none or it is damaged."""
    try:
        return Baseline.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, ValidationError):
        return Baseline()
