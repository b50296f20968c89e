"""The machine around the GPU: processor, memory this process may use, disk of the runs."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from finetune_core.errors import FtError
from finetune_core.hardware import cgroup
from finetune_core.paths import HOME_VARIABLE, runs_root
from finetune_core.text import one_line

_NAME_LIMIT = 80


@dataclass(frozen=True)
class Host:
    """Processor, memory and disk; bytes. Limits of a container or a job count as if they were the machine's."""

    cpu: str
    cores: int
    memory_total: int
    memory_available: int
    disk_path: Path
    disk_free: int
    disk_total: int


def look_at_host() -> Host:
    """Facts of this machine; never raises."""
    total, available = host_memory_now()
    disk = _runs_folder()
    free, size = _disk(disk)
    return Host(_cpu_name(), _cores(), total, available, disk, free, size)


def host_memory_now() -> tuple[int, int]:
    """Bytes of memory this process may use, and those of them that are free."""
    import psutil

    memory = psutil.virtual_memory()
    total, available = int(memory.total), int(memory.available)
    limit = cgroup.memory()
    if limit is None:
        return total, available
    return min(total, limit[0]), max(0, min(available, limit[0] - limit[1]))


def _cores() -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, cgroup.cores() or allowed)


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            # ARM boards have no model name; they have it under other keys or not at all.
            if key.strip() in {"model name", "Model", "cpu model"} and value.strip():
                return one_line(value, _NAME_LIMIT)
    return one_line(platform.processor() or platform.machine() or "CPU", _NAME_LIMIT)


def _runs_folder() -> Path:
    try:
        return runs_root()
    except FtError:
        return Path(os.environ.get(HOME_VARIABLE) or "/")


def _disk(path: Path) -> tuple[int, int]:
    """Free and total bytes of the disk that holds `path`, or would hold it."""
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError):
            usage = shutil.disk_usage(folder)
            return usage.free, usage.total
    return 0, 0
