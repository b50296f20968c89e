"""Where models are on this machine: the one that ships, the Hugging Face cache, folders."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from finetune_core.errors import FtError, Problem, problem
from finetune_core.models.catalogue import from_catalogue
from finetune_core.models.config import ADAPTER
from finetune_core.models.facts import ModelFacts
from finetune_core.models.hub_card import Description, read_description
from finetune_core.models.inspect import inspect_folder
from finetune_core.models.json_file import MISSING
from finetune_core.models.weights import holds_weights
from finetune_core.paths import expanded
from finetune_core.recipe.schema import DEMO
from finetune_core.text import one_line

# As huggingface_hub's validator, with the owner required: a bare word is more often a mistyped path.
_HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"[\w][\w./-]{0,199}", re.ASCII)
_CACHE_PREFIX = "models--"


def list_models(extra_folders: Sequence[Path] = ()) -> tuple[ModelFacts, ...]:
    """Every model on this machine: the demo, then cache and folders with the newest first.

    An extra folder is a model itself, or holds models one level below. Never raises: a model that cannot be
    used is listed with its problem.
    """
    found = [*_cached_models(), *_folder_models(extra_folders)]
    newest = sorted(found, key=lambda facts: _changed(facts.path), reverse=True)
    return (_demo(), *newest)


def find(source: str, revision: str | None = None) -> ModelFacts:
    """The model a recipe names: `demo`, a folder, or a hub id, from the cache.

    One whose weights are not there is of kind `hub`: what is known of it is what the catalogue knows, and what its
    description says once it was fetched (`finetune_core.plan.describe`).
    Raises FtError for a folder that is not there or holds no model, and for text that is neither path nor id.
    """
    if source == DEMO:
        return _demo()
    path = expanded(source)
    if _is_path(source) or path.is_dir():
        return _folder(path.absolute(), source)
    _check_id(source, revision)
    repository = hub_cache() / _repository(source)
    snapshot = _snapshot(repository, revision)
    if snapshot is None or not holds_weights(snapshot):
        return _on_hub(source, revision)
    facts = inspect_folder(snapshot, source=source, kind="cache", revision=snapshot.name)
    return _on_hub(source, revision) if _broke_off(facts, repository) else facts


def _repository(source: str) -> str:
    return _CACHE_PREFIX + source.replace("/", "--")


def _broke_off(facts: ModelFacts, repository: Path) -> bool:
    """Whether a download of this model broke off, so that the next one goes on where it stopped."""
    if facts.problem is None:
        return False
    missing = facts.problem.kind == MISSING and hub_forbidden_by() is None
    return missing or any((repository / "blobs").glob("*.incomplete"))


def _on_hub(source: str, revision: str | None) -> ModelFacts:
    """A model that is to be downloaded: by what the hub said of it, else what the catalogue knows, else all unknown."""
    known = from_catalogue(source) if revision is None else None
    known = ModelFacts(source=source, kind="hub", revision=revision) if known is None else known
    said = read_description(source, revision)
    if said is None or said.problem is not None or said.commit is None:
        return known if said is None else replace(known, problem=said.problem)
    folder = hub_cache() / _repository(source) / "snapshots" / said.commit
    # The cache may have been cleared since.
    here = any((folder / name).is_file() for name in ("config.json", ADAPTER))
    return _described(known, folder, said) if here else known


def _described(known: ModelFacts, folder: Path, said: Description) -> ModelFacts:
    facts = inspect_folder(folder, source=known.source, kind="hub", revision=known.revision)
    return replace(
        facts,
        parameters=known.parameters or facts.parameters,
        size_bytes=said.weights or facts.size_bytes,
        gated=known.gated,
        dtype=facts.dtype or known.dtype,
        licence=facts.licence or known.licence,
        figures=facts.figures or known.figures,
    )


def hub_forbidden_by() -> str | None:
    """The variable that forbids asking the hub, as huggingface_hub reads it; None when it may be asked."""
    set_words = {"1", "ON", "YES", "TRUE"}
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return next((name for name in names if os.environ.get(name, "").upper() in set_words), None)


def hub_cache() -> Path:
    """The folder of downloaded models, by the variables huggingface_hub obeys, in its order."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if chosen := os.environ.get(name):
            return _expanded(chosen)
    return hub_home() / "hub"


def hub_home() -> Path:
    """The folder of everything that the hub's library keeps: the cache, and its login file."""
    if chosen := os.environ.get("HF_HOME"):
        return _expanded(chosen)
    return _expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"


def hub_endpoint() -> str:
    """The address of the hub, or of the mirror that HF_ENDPOINT names."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _expanded(text: str) -> Path:
    return expanded(os.path.expandvars(text))


def _demo() -> ModelFacts:
    from finetune_core.demo import model_dir

    return inspect_folder(model_dir(), source=DEMO, kind="demo")


def _is_path(source: str) -> bool:
    return source.startswith(("/", "./", "../", "~")) or source in {".", ".."}


def _folder(path: Path, source: str) -> ModelFacts:
    shown = one_line(str(path), 300)
    if not path.is_dir():
        raise problem(
            "there is no such folder" if not path.exists() else "this is a file, not a model folder",
            where=shown,
            why="a model is a folder with config.json, weights and tokenizer",
            remedy="check the spelling, or give a model id such as Qwen/Qwen3-0.6B",
        )
    facts = inspect_folder(path, source=source, kind="folder")
    if facts.problem is not None and not (path / "config.json").is_file():
        raise FtError(facts.problem)
    return facts


def _check_id(source: str, revision: str | None) -> None:
    problems = []
    if not _HUB_ID.fullmatch(source) or "--" in source or ".." in source or source.endswith((".git", "-", ".")):
        problems.append(
            Problem(
                f"`{one_line(source, 80)}` is neither a folder nor a model id",
                where="model.source",
                why="a folder starts with / or ./ or exists here; a model id has the form owner/name",
                remedy="give a path such as ./my-model, an id such as Qwen/Qwen3-0.6B, or demo",
            )
        )
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        problems.append(
            Problem(
                f"`{one_line(revision, 80)}` is no revision",
                where="model.revision",
                why="a revision is a branch, a tag or a commit of the model's repository",
                remedy="leave it empty for the newest, or take one from the model's page",
            )
        )
    if problems:
        raise FtError(problems)


def _cached_models() -> Iterator[ModelFacts]:
    for repository in _folders_in(hub_cache()):
        name = repository.name
        snapshot = _snapshot(repository, None) if name.startswith(_CACHE_PREFIX) else None
        source = name.removeprefix(_CACHE_PREFIX).replace("--", "/", 1)
        # A tokenizer alone, as other programs fetch it, is no model; one that was merely described is not here.
        if snapshot is None or not (snapshot / "config.json").is_file():
            continue
        if holds_weights(snapshot) or read_description(source, None) is None:
            yield inspect_folder(snapshot, source=source, kind="cache", revision=snapshot.name)


def _snapshot(repository: Path, revision: str | None) -> Path | None:
    """The folder of a revision in the cache: by branch or tag (refs/), by commit, or the newest there is."""
    snapshots = repository / "snapshots"
    with contextlib.suppress(OSError):
        commit = (repository / "refs" / (revision or "main")).read_text(errors="replace").strip()
        if commit and "/" not in commit and commit != ".." and (snapshots / commit).is_dir():
            return snapshots / commit
    if revision is not None:
        # Found only by its whole name: a shortened commit could be another one's.
        return snapshots / revision if "/" not in revision and (snapshots / revision).is_dir() else None
    return max(_folders_in(snapshots), key=_changed, default=None)


def _folder_models(folders: Sequence[Path]) -> Iterator[ModelFacts]:
    seen: set[Path] = set()
    for folder in folders:
        top = expanded(folder).absolute()
        for path in (top, *_folders_in(top)):
            if path not in seen and (path / "config.json").is_file():
                seen.add(path)
                yield inspect_folder(path, source=str(path), kind="folder")


def _folders_in(path: Path) -> list[Path]:
    try:
        return sorted(entry for entry in path.iterdir() if entry.is_dir())
    except OSError:
        return []


def _changed(path: Path | None) -> float:
    try:
        return path.stat().st_mtime if path else 0.0
    except OSError:
        return 0.0
