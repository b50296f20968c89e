"""Consent to code that comes with a model: kept for the user on this machine, and bound to every byte of that code.

It lies in `trusted_code.json` and nowhere else: a recipe comes from anybody, and must not carry it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from finetune_core.errors import FtError, problem
from finetune_core.files import OddFile, read_capped, write_atomic
from finetune_core.models.json_file import READ_BY_TRANSFORMERS, code_classes, read_json
from finetune_core.paths import home
from finetune_core.text import one_line

FILE_LIMIT: Final = 2 * 2**20
FILES_LIMIT: Final = 100
ALL_LIMIT: Final = 8 * 2**20
_VERSION: Final = 1
_STORE_LIMIT: Final = 4 * 2**20
_CACHED: Final = "models--"
# A module and a class: with more, transformers would look in other folders, repositories or anywhere on the disk.
_CLASS: Final = re.compile(r"[A-Za-z_]\w*\.[A-Za-z_]\w*", re.ASCII)
# Replaces how the model writes, and lies in a folder of its own, beside the files that are looked at.
_CUSTOM_GENERATE: Final = "custom_generate"


@dataclass(frozen=True)
class CodeFile:
    """A Python file of a model's folder, as it was read."""

    path: Path
    content: bytes

    @property
    def name(self) -> str:
        """Its name in the folder."""
        return self.path.name

    @property
    def text(self) -> str:
        """What it says; bytes that are no UTF-8 are shown as such."""
        return self.content.decode(errors="backslashreplace")

    @property
    def lines(self) -> int:
        """How many lines it has."""
        return len(self.content.splitlines())


@dataclass(frozen=True)
class Consent:
    """Code that was looked at and may run: SHA-256 over its files, of which model and commit (None of a folder)."""

    fingerprint: str
    name: str
    commit: str | None
    files: tuple[str, ...]
    date: str

    @property
    def day(self) -> str:
        """The day on which it was given."""
        return self.date[:10]


def store() -> Path:
    """Where consent is kept. Raises FtError as `home`."""
    return home() / "trusted_code.json"


def name_of(folder: Path) -> str:
    """The model's id where the folder lies in the hub's cache, else the whole path."""
    repository = folder.parent.parent.name
    if folder.parent.name == "snapshots" and repository.startswith(_CACHED):
        return repository.removeprefix(_CACHED).replace("--", "/", 1)
    return str(folder.absolute())


def code_in(folder: Path) -> tuple[CodeFile, ...]:
    """Every Python file of the folder itself, by name. Raises FtError for what is too much, or no regular file."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.endswith(".py"))
        if len(paths) > FILES_LIMIT:
            raise _no_code(folder, f"it has {len(paths)} Python files, and at most {FILES_LIMIT} are looked at")
        files: list[CodeFile] = []
        for path in paths:
            files.append(CodeFile(path, _read(path)))
            if sum(len(file.content) for file in files) > ALL_LIMIT:
                raise _no_code(folder, f"its files have more than {ALL_LIMIT // 2**20} MiB, which nobody reads")
        return tuple(files)
    except OSError as error:
        raise _no_code(folder, error.strerror or str(error)) from error


def _read(path: Path) -> bytes:
    # Links lead to the blobs of the hub's cache: what counts is the content.
    try:
        return read_capped(path, FILE_LIMIT)
    except OddFile as error:
        raise _no_code(path, str(error)) from error


def _no_code(path: Path, why: str) -> FtError:
    return problem(
        "the model's code cannot be looked at",
        where=one_line(str(path), 300),
        why=why,
        remedy="choose a model whose architecture is part of transformers",
    )


def fingerprint_of_code(files: Sequence[CodeFile]) -> str:
    """SHA-256 over the names and contents of these files, in the order of their names."""
    parts = sorted((file.name, hashlib.sha256(file.content).hexdigest()) for file in files)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def unpinnable(folder: Path) -> str | None:
    """Why consent cannot cover the code of this folder, since code would run that lies elsewhere; None where it can.

    Raises FtError for JSON that cannot be read.
    """
    if (folder / _CUSTOM_GENERATE).exists() or (folder / _CUSTOM_GENERATE).is_symlink():
        return f"{_CUSTOM_GENERATE} beside it would run as well, and is not among the files one looks at"
    for name in READ_BY_TRANSFORMERS:
        for named in code_classes(read_json(folder / name)) if (folder / name).exists() else ():
            if "--" in named:
                repository = one_line(named.rpartition("--")[0], 60)
                return f"some of it lies in another repository, {repository}, and cannot be pinned here"
            if not _CLASS.fullmatch(named):
                return f"`{one_line(named, 60)}` names no file of this folder"
    return None


def consent_to(folder: Path) -> Consent | None:
    """The consent that covers every Python file of this folder as it is now, and all that would run; None without.

    Never raises: what cannot be read is not trusted.
    """
    with suppress(FtError, OSError):
        given = trusted()
        if not given or unpinnable(folder) is not None:
            return None
        files = code_in(folder)
        found = fingerprint_of_code(files) if files else None
        covering = [consent for consent in given if consent.fingerprint == found]
        return next((one for one in covering if one.name == name_of(folder)), covering[0] if covering else None)
    return None


def is_trusted(folder: Path) -> bool:
    """Whether the code of this folder may run: it is, byte for byte, one that was looked at and consented to."""
    return consent_to(folder) is not None


def wants_code(source: str) -> bool:
    """Whether code of the model of this name was consented to, so that its code is downloaded too."""
    with suppress(FtError):
        return any(consent.name == source for consent in trusted())
    return False


def trust(name: str, commit: str | None, files: Sequence[CodeFile]) -> Consent:
    """Keep the consent to these files as they were shown; an earlier one to the same bytes under this name goes.

    Raises FtError where there are none, the store is damaged, or the disk refuses.
    """
    if not files:
        raise problem(
            "there is no code to consent to",
            where=one_line(name, 200),
            why="no Python file comes with the model",
            remedy="choose a model whose code is there",
        )
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    given = Consent(fingerprint_of_code(files), name, commit, tuple(file.name for file in files), now)
    others = [one for one in trusted() if (one.fingerprint, one.name) != (given.fingerprint, given.name)]
    _write([*others, given])
    return given


def withdraw(name: str) -> int:
    """Take back every consent given under this name; how many there were. Raises FtError as `trust`."""
    given = trusted()
    kept = [consent for consent in given if consent.name != name]
    if len(kept) < len(given):
        _write(kept)
    return len(given) - len(kept)


def _write(given: Sequence[Consent]) -> None:
    path = store()
    try:
        write_atomic(path, json.dumps({"v": _VERSION, "consents": [asdict(one) for one in given]}, indent=1))
    except OSError as error:
        raise _bad_store(path, error.strerror or str(error)) from error


def trusted() -> tuple[Consent, ...]:
    """Every consent given here, the oldest first. Raises FtError for a store that is damaged or not the user's own."""
    path = store()
    try:
        text = read_capped(path, _STORE_LIMIT, own=True)
    except FileNotFoundError:
        return ()
    except OddFile as error:
        raise _bad_store(path, str(error)) from error
    except OSError as error:
        raise _bad_store(path, error.strerror or str(error)) from error
    try:
        return _consents(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _bad_store(path, one_line(f"it is damaged ({error})", 200)) from error


def _consents(value: Any) -> tuple[Consent, ...]:  # noqa: ANN401 - any JSON
    if value["v"] != _VERSION:
        raise ValueError(f"its version is {value['v']!r}, and this program knows {_VERSION}")
    return tuple(_consent(one) for one in value["consents"])


def _consent(one: dict[str, Any]) -> Consent:
    commit, files = one["commit"], one["files"]
    words = [one["fingerprint"], one["name"], one["date"], *files, *([] if commit is None else [commit])]
    if not isinstance(files, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("an entry is none")
    return Consent(one["fingerprint"], one["name"], commit, tuple(files), one["date"])


def _bad_store(path: Path, why: str) -> FtError:
    return problem(
        "what code was consented to is not known, so none is trusted",
        where=one_line(str(path), 300),
        why=why,
        remedy=f"remove it and consent again to what you use: rm {shlex.quote(str(path))}",
    )
