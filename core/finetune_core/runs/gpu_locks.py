"""One run on a GPU at a time: a lock by its UUID, held by the run's supervisor, and a queue of those that wait.

The lock and its queue lie beside the runs, and bind the runs of one home (FT_TUI_HOME). Those of other homes and users
are held apart by a second lock, which they all see (`finetune_core.runs.shared_locks`), without a queue.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finetune_core.errors import FtError, problem
from finetune_core.paths import home, private_folder
from finetune_core.runs.directory import RunDir
from finetune_core.runs.lock import held_by_other, locked, open_lock
from finetune_core.runs.shared_locks import SharedLock, shared_holder
from finetune_core.text import one_line

if TYPE_CHECKING:
    from finetune_core.recipe.schema import Recipe

_NAME_BYTES = 512


class GpuLocks:
    """The locks of the GPUs one run needs; none at all for a run on the CPU.

    Whoever asks first is served first: `acquire` draws a number once, and gives way to smaller living ones.
    """

    def __init__(self, uuids: Sequence[str], run_name: str) -> None:
        self._uuids = sorted(set(uuids))
        self._run_name = run_name
        self._held: dict[Path, int] = {}
        self._shared: list[SharedLock] = []
        self._tickets: dict[Path, int] = {}

    def acquire(self) -> str | None:
        """Take every lock; None when all are ours, else in words what is waited for, and none is held.

        Raises FtError where their files or the folder of these cannot be used.
        """
        folder = private_folder(home() / "locks") if self._uuids else None
        for uuid in self._uuids:
            assert folder is not None
            try:
                holder = self._take(folder, uuid) or self._take_shared(uuid)
            except OSError as error:
                self.release()
                raise _unusable(error, folder) from error
            if holder is not None:
                self._let_go()
                return f"GPU {uuid}: {holder}"
        _close(self._tickets, remove=True)
        return None

    def release(self) -> None:
        """Let every lock go, and give up the place in the queue."""
        self._let_go()
        _close(self._tickets, remove=True)

    def _let_go(self) -> None:
        _close(self._held)
        for shared in self._shared:
            shared.release()
        self._shared.clear()

    def _take_shared(self, uuid: str) -> str | None:
        shared = SharedLock(uuid)
        holder = shared.acquire(self._run_name)
        if holder is None:
            self._shared.append(shared)
        return None if holder is None else f"used by {holder}"

    def _take(self, folder: Path, uuid: str) -> str | None:
        before = self._before_us(folder, uuid)
        if before is not None:
            return f"run {before} is queued before"
        path = folder / f"{_safe(uuid)}.lock"
        handle = open_lock(path, create=True)
        if not locked(handle):
            name = _read_name(handle)
            os.close(handle)
            return f"used by run {name}" if name else "used by another run"
        os.ftruncate(handle, 0)
        os.pwrite(handle, self._run_name.encode()[:_NAME_BYTES], 0)
        self._held[path] = handle
        return None

    def _before_us(self, folder: Path, uuid: str) -> str | None:
        """The run of a smaller number whose supervisor still lives."""
        queue = private_folder(folder / f"{_safe(uuid)}.queue")
        mine = next((path for path in self._tickets if path.parent == queue), None)
        if mine is None:
            mine = queue / f"{time.time_ns():020d}-{os.getpid()}"
            self._tickets[mine] = open_lock(mine, create=True)
            os.pwrite(self._tickets[mine], self._run_name.encode()[:_NAME_BYTES], 0)
            locked(self._tickets[mine])
        for path in sorted(queue.iterdir()):
            if path.name >= mine.name:
                break
            if (name := _living_ticket(path)) is not None:
                return name
        return None


def _unusable(error: OSError, folder: Path) -> FtError:
    return problem(
        "the lock of a GPU cannot be used",
        where=one_line(str(error.filename or folder), 200),
        why=error.strerror or str(error),
        remedy="remove what stands there; a run that is at work holds its lock anew at its next start",
    )


def _living_ticket(path: Path) -> str | None:
    """The run that waits with this number; what a dead one left is removed."""
    try:
        handle = open_lock(path)
    except OSError:
        return None
    try:
        if held_by_other(handle):
            return _read_name(handle) or "?"
        path.unlink(missing_ok=True)
        return None
    finally:
        os.close(handle)


def _read_name(handle: int) -> str:
    return one_line(os.pread(handle, _NAME_BYTES, 0).decode(errors="replace"), 80)


def _close(handles: dict[Path, int], *, remove: bool = False) -> None:
    for path, handle in handles.items():
        if remove:
            path.unlink(missing_ok=True)
        os.close(handle)
    handles.clear()


def _safe(uuid: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", uuid)[:100] or "_"


def holders(uuids: Sequence[str]) -> dict[str, str]:
    """Which of these GPUs another process of this home holds, with the name of its run; nothing is taken."""
    found = {}
    for uuid in uuids:
        try:
            handle = open_lock(home() / "locks" / f"{_safe(uuid)}.lock")
        except OSError:
            continue
        try:
            if held_by_other(handle):
                found[uuid] = _read_name(handle)
        finally:
            os.close(handle)
    return found


def gpu_uuids(recipe: Recipe) -> list[str]:
    """The UUIDs of the GPUs a recipe names; empty for a run on the CPU."""
    wanted = recipe.hardware
    if wanted.device == "cpu" or not wanted.gpus:
        return []
    if all(not name.isdigit() for name in wanted.gpus):
        return list(wanted.gpus)
    from finetune_core.hardware.look import look

    known = {str(gpu.index): gpu.uuid for gpu in look().gpus}
    return [known.get(name, name) for name in wanted.gpus]


def locks_of(run: RunDir) -> GpuLocks:
    """The locks a run needs; none for a damaged recipe, with which it cannot train."""
    from finetune_core.recipe.yaml_io import load

    try:
        return GpuLocks(gpu_uuids(load(run.recipe_file)), run.name)
    except FtError:
        return GpuLocks([], run.name)


def busy(holder: str) -> FtError:
    """That a run cannot start now, as an error."""
    return problem(
        "the GPU is taken by another run",
        where="hardware.gpus",
        why=holder,
        remedy="queue this one, and it starts when the GPU is free (`--queue`); or name another GPU in hardware.gpus",
    )


def taken(recipe: Recipe) -> str | None:
    """In words which run holds a GPU that a recipe names; None when all are free. Nothing is taken."""
    uuids = gpu_uuids(recipe)
    found = {uuid: f"run {name or '?'}" for uuid, name in holders(uuids).items()}
    others = {uuid: holder for uuid in uuids if uuid not in found and (holder := shared_holder(uuid)) is not None}
    return "; ".join(f"GPU {uuid}: used by {holder}" for uuid, holder in (found | others).items()) or None
