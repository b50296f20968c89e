"""What the hub said of a model when it was asked for what describes it, kept until it is asked again."""

from __future__ import annotations

import hashlib
import json
import re
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from finetune_core.errors import FtError, Problem
from finetune_core.files import OddFile, read_capped, write_atomic
from finetune_core.paths import cache_root, private_folder

# The kind of a problem that the hub's answer leaves no doubt about: no such model, not allowed, not to be tuned.
REFUSED: Final = "refused"
_LIMIT: Final = 64 * 1024
_LARGEST: Final = 2**48
_COMMIT: Final = re.compile(r"[0-9a-f]{40,64}")


@dataclass(frozen=True)
class Description:
    """The commit whose files came, whole; bytes of its weights, None where unknown; or why there is no model to tune.

    `asked` is when that was, in seconds since the epoch.
    """

    commit: str | None
    weights: int | None
    problem: Problem | None
    asked: float


def read_description(source: str, revision: str | None) -> Description | None:
    """What is kept of this model at this revision; None where it was never asked for, or the file is damaged."""
    with suppress(OSError, OddFile, ValueError, RecursionError, TypeError, KeyError):
        found = json.loads(read_capped(_file(source, revision), _LIMIT))
        commit, weights, problem, asked = (found[name] for name in ("commit", "weights", "problem", "asked"))
        if not isinstance(asked, int | float) or not (commit is None or _COMMIT.fullmatch(commit)):
            return None
        size = weights if isinstance(weights, int) and 0 < weights < _LARGEST else None
        refused = None if problem is None else Problem(**{name: str(words) for name, words in problem.items()})
        return Description(commit, size, refused, float(asked))
    return None


def keep_description(
    source: str, revision: str | None, *, commit: str | None, weights: int | None = None, problem: Problem | None = None
) -> None:
    """Keep what the hub said, now. Where the disk refuses it will be asked again."""
    said = {"commit": commit, "weights": weights, "problem": problem and asdict(problem), "asked": time.time()}
    with suppress(OSError, FtError):
        private_folder(_file(source, revision).parent)
        write_atomic(_file(source, revision), json.dumps(said))


def _file(source: str, revision: str | None) -> Path:
    key = hashlib.sha256(json.dumps([source, revision]).encode()).hexdigest()[:32]
    return cache_root() / "descriptions" / f"{key}.json"
