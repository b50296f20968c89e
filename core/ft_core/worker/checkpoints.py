"""Checkpoints that are complete or invisible: staged, hashed, fsynced, renamed; checked before they are trusted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ft_core.files import sync_folder

MANIFEST = "manifest.json"
_STAGE = ".stage-"
_NAME = "step-"
_VERSION = 1


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
        files = {str(path.relative_to(stage)): _seal_file(path) for path in _files(stage)}
        manifest = {"v": _VERSION, "step": step, "notes": notes, "files": files}
        _write_synced(stage / MANIFEST, json.dumps(manifest, indent=1))
        _publish(stage, final)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise
    return Checkpoint(final, step, sum(entry["bytes"] for entry in files.values()), notes)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _seal_file(path: Path) -> dict[str, Any]:
    digest = _sha256(path)
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    path.chmod(0o600)
    return {"bytes": path.stat().st_size, "sha256": digest}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    path.chmod(0o600)


def _publish(stage: Path, final: Path) -> None:
    for inner in (path for path in stage.rglob("*") if path.is_dir()):
        sync_folder(inner)
    sync_folder(stage)
    if final.exists():
        # Only a checkpoint that was found damaged, or one of the very same step, can be in the way.
        shutil.rmtree(final)
    stage.rename(final)
    sync_folder(final.parent)


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints."""
    for path in sorted(_sealed(folder), key=_step)[:-keep]:
        # The manifest goes first: what is half removed must not look complete.
        (path / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)


def clear_stages(folder: Path) -> None:
    """Remove what a killed process left of unfinished checkpoints."""
    for path in folder.glob(f"{_STAGE}*"):
        shutil.rmtree(path, ignore_errors=True)


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, and in words what is wrong with each newer one that is not."""
    damaged: list[str] = []
    for path in sorted(_sealed(folder), key=_step, reverse=True):
        found, trouble = _verify(path)
        if found is not None:
            return found, damaged
        damaged.append(f"{path.name}: {trouble}")
    return None, damaged


def _sealed(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob(f"{_NAME}*") if path.is_dir() and path.name[len(_NAME) :].isdigit())


def _step(path: Path) -> int:
    return int(path.name[len(_NAME) :])


def _verify(path: Path) -> tuple[Checkpoint | None, str]:
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        files = manifest["files"]
        if manifest["v"] != _VERSION or manifest["step"] != _step(path) or not files:
            return None, "its manifest is of another version or step"
        for name, entry in files.items():
            file = path / name
            if not file.is_file() or file.stat().st_size != entry["bytes"] or _sha256(file) != entry["sha256"]:
                return None, f"{name} is missing or damaged"
        size = sum(entry["bytes"] for entry in files.values())
        return Checkpoint(path, manifest["step"], size, dict(manifest["notes"])), ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return None, f"its manifest cannot be read ({type(error).__name__})"
