"""What a container or a job scheduler lets this process use, read from Linux control groups (v1 and v2)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")
# v1 writes "no limit" as the largest multiple of a page below 2**63; anything above 2**60 means the same.
_UNLIMITED = 2**60


def memory(root: Path = _ROOT) -> tuple[int, int] | None:
    """Tightest memory limit and what is used under it (bytes, without file cache that can be dropped); or None.

    Sources: kernel documentation, admin-guide/cgroup-v2 (memory.max, memory.current, memory.stat) and
    cgroup-v1/memory (memory.limit_in_bytes, memory.usage_in_bytes).
    """
    limits = [
        (limit, max(0, used - droppable))
        for folder in _folders(root, "memory")
        for limit, used, droppable in [_memory_of(folder)]
        if limit is not None and limit < _UNLIMITED
    ]
    return min(limits, default=None, key=lambda pair: pair[0] - pair[1])


def cores(root: Path = _ROOT) -> int | None:
    """Whole CPU cores the quota pays for, rounded up; None without a quota (cpu.max, cpu.cfs_quota_us)."""
    quotas = [quota for folder in _folders(root, "cpu") if (quota := _cores_of(folder)) is not None]
    return max(1, math.ceil(min(quotas))) if quotas else None


def _memory_of(folder: Path) -> tuple[int | None, int, int]:
    for limit_name, used_name, stat_key in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit = _number(folder / limit_name)
        if limit is not None:
            return limit, _number(folder / used_name) or 0, _stat(folder / "memory.stat", stat_key)
    return None, 0, 0


def _cores_of(folder: Path) -> float | None:
    words = _read(folder / "cpu.max").split()
    if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):
        return int(words[0]) / int(words[1])
    quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return quota / period if quota and period and quota > 0 else None


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """Every control group that binds this process, from its own up to the mount's top."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        base = root / "sys/fs/cgroup"
        if number == "0" and not controllers:
            tops = [base, base / "unified"]
        elif controller in controllers.split(","):
            tops = [base / controllers, base / controller]
        else:
            continue
        for top in tops:
            yield from _up(top, group)


def _up(top: Path, group: str) -> Iterator[Path]:
    parts = [part for part in group.split("/") if part and part != ".."]
    for length in range(len(parts), -1, -1):
        yield top.joinpath(*parts[:length])


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace")
    return ""


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _stat(path: Path, key: str) -> int:
    for line in _read(path).splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.isdigit():
            return int(value)
    return 0
