"""Checkpoints that are complete or invisible: staged, hashed, fsynced, renamed; checked before they are trusted."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune_core.files import publish_folder, read_capped, restore_replaced, sync_tree

MANIFEST = "manifest.json"
_STAGE = ".stage-"
_NAME = "step-"
_VERSION = 2
_UNSEALED_VERSION = 1
# All that an unsealed manifest noted; with anything else in it, it is a sealed one that lost its seal.
_UNSEALED_NOTES = frozenset({"tokens", "seconds", "data", "versions"})
_NO_SEAL = "its manifest has lost its seal"
OF_ANOTHER_RUN = "it was written by another run"
_LARGEST_MANIFEST = 64 * 1024 * 1024


@dataclass(frozen=True)
class Checkpoint:
    """A sealed checkpoint: its folder, the optimiser step it was taken after, and what the run noted beside it."""

    path: Path
    step: int
    bytes: int
    notes: dict[str, Any] = field(default_factory=dict)


def seal(folder: Path, step: int, fill: Callable[[Path], None], notes: dict[str, Any]) -> Checkpoint:
    """Write `folder/step-<step>`: `fill(stage)` writes the files, which are then hashed, fsynced and renamed.

    A failure (such as a full disk) leaves the older checkpoints and no stage behind, and is raised.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    final = folder / f"{_NAME}{step:06d}"
    stage = folder / f"{_STAGE}{final.name}"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(mode=0o700)
    try:
        fill(stage)
        files = {str(path.relative_to(stage)): _entry(path) for path in _files(stage)}
        manifest = {"v": _VERSION, "step": step, "notes": notes, "files": files}
        text = json.dumps({**manifest, "seal": _digest(manifest)}, indent=1)
        (stage / MANIFEST).write_text(text, encoding="utf-8")
        sync_tree(stage)
        publish_folder(stage, final)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise
    return Checkpoint(final, step, _size(files), notes)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _entry(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": _sha256(path)}


def _size(files: dict[str, Any]) -> int:
    return sum(int(entry["bytes"]) for entry in files.values())


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _digest(manifest: dict[str, Any]) -> str:
    """The seal of a manifest: SHA-256 over its other fields, so that none of them can change unnoticed."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def prune(folder: Path, keep: int, *, spare: Container[int] = (), run_id: str = "") -> None:
    """Remove the whole checkpoints beyond the newest `keep`, and damaged ones older than those.

    What is damaged, or with a `run_id` another run's, does not count, so that it never drives out a good one. `spare`
    are steps that stay.
    """
    whole = 0
    for path in sorted(_sealed(folder), key=_step, reverse=True):
        if whole < keep:
            whole += _own(path, run_id, contents=False)[0] is not None
        elif _step(path) not in spare:
            # The manifest goes first: what is half removed must not look complete.
            (path / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(path, ignore_errors=True)


def clear_stages(folder: Path) -> None:
    """Remove what a killed process left of unfinished checkpoints, and bring back one it was about to replace."""
    if not folder.is_dir():
        return
    restore_replaced(folder)
    for path in folder.glob(f"{_STAGE}*"):
        shutil.rmtree(path, ignore_errors=True)


def newest(folder: Path, *, run_id: str = "") -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, and in words what is wrong with each newer one that is not.

    Every byte is read. With a `run_id`, a checkpoint that another run wrote is none.
    """
    damaged: list[str] = []
    for path in sorted(_sealed(folder), key=_step, reverse=True):
        found, trouble = _own(path, run_id)
        if found is not None:
            return found, damaged
        damaged.append(f"{path.name}: {trouble}")
    return None, damaged


def at_step(folder: Path, step: int) -> Checkpoint | None:
    """The checkpoint of one step; None when there is none, or it is damaged."""
    return _verify(folder / f"{_NAME}{step:06d}")[0]


def _own(path: Path, run_id: str, *, contents: bool = True) -> tuple[Checkpoint | None, str]:
    """As `_verify`; with a `run_id`, a checkpoint that another run wrote is none."""
    found, trouble = _verify(path, contents=contents)
    # Runs have had a name for as long as their checkpoints have noted it; it is empty where the journal was lost.
    if found is None or not run_id or found.notes.get("run") in {run_id, ""}:
        return found, trouble
    return None, OF_ANOTHER_RUN if "run" in found.notes else _NO_SEAL


def _sealed(folder: Path) -> Iterator[Path]:
    """The folders that are called like checkpoints; no links, since what they lead to is not this run's to remove."""
    found = (path for path in folder.glob(f"{_NAME}*") if path.name[len(_NAME) :].isdigit())
    return (path for path in found if path.is_dir() and not path.is_symlink())


def _step(path: Path) -> int:
    return int(path.name[len(_NAME) :])


def _verify(path: Path, *, contents: bool = True) -> tuple[Checkpoint | None, str]:
    """The checkpoint, or what is wrong with it; without `contents` only the files' sizes are looked at."""
    try:
        manifest = json.loads(read_capped(path / MANIFEST, _LARGEST_MANIFEST))
        trouble = _manifest_fault(manifest, _step(path))
        if trouble:
            return None, trouble
        for name, entry in manifest["files"].items():
            file = path / name
            if not (file.is_file() and file.resolve().is_relative_to(path.resolve())):
                return None, f"{name} is missing, or no file of the checkpoint"
            if file.stat().st_size != entry["bytes"]:
                return None, f"{name} is cut short or grew"
            if contents and _sha256(file) != entry["sha256"]:
                return None, f"{name} is damaged"
        return Checkpoint(path, manifest["step"], _size(manifest["files"]), dict(manifest["notes"])), ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return None, f"its manifest cannot be read ({type(error).__name__})"


def _manifest_fault(manifest: dict[str, Any], step: int) -> str:
    """What is wrong with a manifest; the first version carried no seal."""
    if manifest["v"] not in {_UNSEALED_VERSION, _VERSION} or manifest["step"] != step or not manifest["files"]:
        return "its manifest is of another version or step"
    seal = manifest.pop("seal", None)
    if manifest["v"] == _VERSION:
        return "" if seal == _digest(manifest) else _NO_SEAL if seal is None else "its manifest is damaged"
    return "" if seal is None and set(manifest["notes"]) <= _UNSEALED_NOTES else _NO_SEAL
