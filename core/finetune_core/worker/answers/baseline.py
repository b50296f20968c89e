"""What the untouched base does on the held-out rows, kept in the run so that a resumed run need not ask again.

Each part carries a hash of what it was measured on: the very tokens or questions, the settings that decide about it,
the base's weights and the format they are computed in. What no longer fits is measured again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from finetune_core.files import read_sealed, sealed, write_atomic
from finetune_core.worker.answers.generate import Reply

LOSS, SAMPLES, ANSWERS = "loss", "samples", "answers"
# Two sums of the same figures in another order are alike to this share.
SAME_MEAN = 1e-9
_LARGEST = 256 * 1024 * 1024


def _noted(found: object) -> object:
    """An answer as versions before kept it, its words alone, as a reply."""
    return Reply(found, None) if isinstance(found, str) else found


class Baseline(BaseModel):
    """The base's held-out loss, its answers to the samples, and to the verdict's questions where already asked.

    `of` is the hash of what each of them was measured on, by its name.
    """

    model_config = ConfigDict(ser_json_inf_nan="strings")

    loss: float | None = None
    samples: list[str] | None = None
    answers: list[Annotated[Reply, BeforeValidator(_noted)]] | None = None
    of: dict[str, str] = {}

    def save(self, path: Path) -> None:
        """Write it in one step."""
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomic(path, sealed(self.model_dump_json(indent=1)))

    @property
    def empty(self) -> bool:
        """Whether nothing is kept."""
        return self.loss is None and self.samples is None and self.answers is None

    def drop_others(self, of: Mapping[str, str]) -> list[str]:
        """Forget what was measured on something else than `of` says; gives the names of that."""
        other = [name for name in of if getattr(self, name) is not None and self.of.get(name) != of[name]]
        for name in other:
            setattr(self, name, None)
        self.of = dict(of)
        return other


def load(path: Path) -> Baseline:
    """The baseline of an earlier start; empty when there is none, or it was changed.

    One of an earlier version has no seal, and says of nothing what it was measured on.
    """
    found = read_sealed(path, _LARGEST)
    if found is None:
        bare = read_sealed(path, _LARGEST, bare=True)
        found = None if bare is None or "of" in bare else bare
    try:
        return Baseline() if found is None else Baseline.model_validate(found)
    except ValidationError:
        return Baseline()


def digest(*parts: Any) -> str:  # noqa: ANN401 - any JSON values
    """SHA-256 over plain values."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
