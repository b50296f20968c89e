"""What describes a model of the hub, fetched before its weights: shapes, tokenizer and chat template."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ft_core.data.child import run_child
from ft_core.models.facts import ModelFacts
from ft_core.models.find import find, hub_forbidden_by
from ft_core.models.inspect import inspect_folder


def undescribed(model: ModelFacts) -> bool:
    """Whether the hub can be asked for files that describe this model and are not here."""
    return model.kind == "hub" and model.path is None and model.problem is None and hub_forbidden_by() is None


def describe(model: ModelFacts, cancel: Callable[[], bool] = lambda: False) -> ModelFacts | None:
    """The model by the files that describe it, a few megabytes from the hub; None once `cancel` said so.

    What is wrong with it is its `problem`. Raises FtError when the hub cannot be reached or refuses, or has no model
    under that name, with what to do.
    """
    fetched = fetch_description(model.source, model.revision, cancel)
    if fetched is None:
        return None
    found = find(model.source, model.revision)
    # All has come now: what is missing still will not come with the weights either.
    return found if found.path is not None else inspect_folder(fetched[0], source=model.source, kind="hub")


def fetch_description(
    source: str, revision: str | None, cancel: Callable[[], bool] = lambda: False, *, code: bool = False
) -> tuple[Path, str] | None:
    """Folder and commit of what describes a model of the hub, with `code` its Python files too, which are not run.

    None once `cancel` said so. Raises FtError as `describe`.
    """
    arguments = [source, *filter(None, [revision]), *(["--code"] if code else [])]
    done = run_child("ft_core.worker.describe", arguments, lambda _: None, cancel)
    return None if done is None else (Path(done["folder"]), str(done["commit"]))
