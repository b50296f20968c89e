"""Whether a model's tokenizer can be trained with, asked of its own process where the files leave it open."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from finetune_core.data.tokens.client import TokenWorker
from finetune_core.errors import FtError, Problem
from finetune_core.models.facts import ModelFacts

_FILE = "tokenizer_config.json"


def tokenizer_problems(model: ModelFacts) -> tuple[Problem, ...]:
    """What the trainer would refuse of the tokenizer after the launch; takes seconds, where anything is asked.

    Nearly all models name their end token in a file, and then nothing is asked.
    """
    if model.path is None or model.problem is not None or model.names_end is not False:
        return ()
    file = model.path / _FILE
    return _asked(model.path, file.stat().st_mtime_ns if file.exists() else 0)


@lru_cache(maxsize=16)
def _asked(folder: Path, _changed: int) -> tuple[Problem, ...]:
    try:
        with TokenWorker(folder):
            return ()
    except FtError as error:
        return tuple(error.problems)
