"""What describes a model of the hub, fetched before its weights: shapes, tokenizer and chat template."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from finetune_core.child_messages import run_child
from finetune_core.errors import FtError
from finetune_core.models.facts import ModelFacts
from finetune_core.models.find import find, hub_forbidden_by
from finetune_core.models.hub_card import REFUSED, read_description

# A branch may move, and a refusal be lifted.
_FRESH_SECONDS: Final = 3600.0


def undescribed(model: ModelFacts) -> bool:
    """Whether the hub is to be asked what this model is: it never was, or long ago, or something was wrong with it."""
    if model.kind != "hub" or hub_forbidden_by() is not None:
        return False
    said = read_description(model.source, model.revision)
    fresh = said is not None and abs(time.time() - said.asked) < _FRESH_SECONDS
    return not fresh or model.path is None or model.problem is not None


def describe(model: ModelFacts, cancel: Callable[[], bool] = lambda: False) -> ModelFacts | None:
    """The model by the files that describe it, a few megabytes from the hub; None once `cancel` said so.

    What is wrong with it is its `problem`, also that the hub has no such model or refuses it. Raises FtError when the
    hub cannot be reached or its answer was not whole, with what to do.
    """
    try:
        fetched = fetch_description(model.source, model.revision, cancel)
    except FtError as error:
        if error.problems[0].kind != REFUSED:
            raise
    else:
        if fetched is None:
            return None
    return find(model.source, model.revision)


def fetch_description(
    source: str, revision: str | None, cancel: Callable[[], bool] = lambda: False, *, code: bool = False
) -> tuple[Path, str] | None:
    """Folder and commit of what describes a model of the hub, with `code` its Python files too, which are not run.

    None once `cancel` said so. Raises FtError when the hub cannot be reached, refuses, or has no model of that name.
    """
    arguments = [source, *filter(None, [revision]), *(["--code"] if code else [])]
    done = run_child("finetune_core.worker.hub.describe", arguments, lambda _: None, cancel)
    return None if done is None else (Path(done["folder"]), str(done["commit"]))


def what_is_known(model: ModelFacts) -> str:
    """What a plan for a model goes by while the hub cannot be asked, in words."""
    if model.path is not None:
        return "this model is taken for what the hub said of it earlier"
    if model.hidden is not None:
        return "this model is planned from the shapes that ship with this program"
    return "what this model is stays unknown until the run starts"
