"""Code that comes with a model, brought here to be looked at before anybody consents to it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from finetune_core.errors import FtError, Problem, problem
from finetune_core.models.config import check_folder
from finetune_core.models.facts import ModelFacts
from finetune_core.models.find import find
from finetune_core.models.json_file import CODE, READ_BY_TRANSFORMERS, code_files, read_json
from finetune_core.models.trust import CodeFile, Consent, code_in, consent_to, fingerprint_of_code, name_of, trust
from finetune_core.plan.describe import fetch_description
from finetune_core.text import one_line

WHAT_CODE_CAN_DO = (
    "Code that runs can do everything that you can do: read your keys and tokens, use your SSH agent, change or send"
    " away any file of yours. Nothing here holds it back."
)


@dataclass(frozen=True)
class ForeignCode:
    """The code of a model as it lies here; `commit` is None of a folder, `consent` what was given to just this code."""

    name: str
    folder: Path
    commit: str | None
    files: tuple[CodeFile, ...]
    consent: Consent | None

    @property
    def fingerprint(self) -> str:
        """SHA-256 over names and contents."""
        return fingerprint_of_code(self.files)

    def trust(self) -> Consent:
        """Consent to these files as they were read. Raises FtError as `finetune_core.models.trust.trust`."""
        return trust(self.name, self.commit, self.files)


def look_at_code(
    source: str, revision: str | None = None, cancel: Callable[[], bool] = lambda: False
) -> ForeignCode | None:
    """The code that a model needs, fetched from the hub where it is not here; None once `cancel` said so.

    No weights are fetched, and nothing is run. Raises FtError for a model that needs none, that is refused whatever one
    consents to, or whose code cannot be had.
    """
    model = find(source, revision)
    folder, commit = model.path, model.revision
    if model.kind == "hub" or (model.kind == "cache" and _lacks_code(model)):
        fetched = fetch_description(source, commit or revision, cancel, code=True)
        if fetched is None:
            return None
        folder, commit = fetched
    assert folder is not None
    _require_need(folder)
    files = code_in(folder)
    _require_named(folder, files)
    return ForeignCode(name_of(folder), folder, commit, files, consent_to(folder))


def _lacks_code(model: ModelFacts) -> bool:
    """Whether the model is in the cache without (all of) its code."""
    if model.path is None or model.problem is None or model.problem.kind != CODE:
        return False
    return bool(_missing(model.path, code_in(model.path)))


def _require_need(folder: Path) -> None:
    """Raises FtError unless consent to its code is all that this folder's files still want, or have got."""
    try:
        check_folder(folder)
    except FtError as error:
        others = [found for found in error.problems if found.kind != CODE]
        if others:
            raise FtError(others) from error
        return
    if consent_to(folder) is None:
        raise problem(
            "the model needs no code that comes with it",
            where=one_line(str(folder), 300),
            why="transformers itself has its architecture, and reads its tokenizer; code beside them is never run",
            remedy="tune it as it is",
        )


def _missing(folder: Path, files: tuple[CodeFile, ...]) -> list[str]:
    """The files that its JSON names and that are not there."""
    there = {file.name for file in files}
    paths = [path for name in READ_BY_TRANSFORMERS if (path := folder / name).exists()]
    return [name for path in paths for name in code_files(read_json(path)) if name not in there]


def _require_named(folder: Path, files: tuple[CodeFile, ...]) -> None:
    missing = _missing(folder, files)
    if missing:
        raise problem(
            "some of the model's code is missing",
            where=one_line(str(folder), 300),
            why=f"it names {one_line(', '.join(missing[:4]), 200)}, and that is not there",
            remedy="get the folder again from where it came from, or choose another model",
        )


def code_warning(model: ModelFacts) -> Problem | None:
    """That a run of this model executes code of its own, with the day of the consent; None of any other model."""
    consent = consent_to(model.path) if model.path is not None else None
    if consent is None:
        return None
    return Problem(
        f"the run executes code that comes with the model, consented to on {one_line(consent.day, 10)}",
        "model.source",
        f"{one_line(', '.join(consent.files), 200)} can do all that you can do",
        f"take the consent back: ft-tui trust {one_line(shlex.quote(consent.name), 200)} --withdraw",
    )
