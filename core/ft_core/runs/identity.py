"""Which process is meant: a pid alone is given out again, so the boot and the start time go with it."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

# Positions in /proc/PID/stat after the command name (fields 3, 5, 6 and 22 of proc(5)).
_STATE, _GROUP, _SESSION, _START_TIME = 0, 2, 3, 19


@cache
def boot_id() -> str:
    """The kernel's name for this boot of this machine; empty where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class Identity(BaseModel):
    """One process for all time: boot, pid, and start time in clock ticks after boot."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    boot_id: str
    pid: int
    start_time: int

    @classmethod
    def current(cls) -> Identity:
        """The calling process."""
        found = cls.of(os.getpid())
        if found is None:
            raise RuntimeError("/proc does not show the running process")
        return found

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The living process with this pid; None when there is none, or only its unreaped remains."""
        fields = _stat_fields(pid)
        if fields is None or fields[_STATE] in {"Z", "X", "x"}:
            return None
        return cls(boot_id=boot_id(), pid=pid, start_time=int(fields[_START_TIME]))

    @property
    def here(self) -> bool:
        """Whether the process belongs to this boot of this machine, so that `alive` can be known."""
        return self.boot_id == boot_id()

    def alive(self) -> bool:
        """Whether exactly this process still runs on this machine."""
        return self.here and Identity.of(self.pid) == self


def has_members(group: int) -> bool:
    """Whether a process of this process group lives in our own session.

    Of a group whose leader is gone: its number may be another's by then, but not within the session of its parent.
    """
    session = os.getsid(0)
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    found = (_stat_fields(pid) for pid in pids)
    return any(
        fields is not None and int(fields[_GROUP]) == group and int(fields[_SESSION]) == session for fields in found
    )


def _stat_fields(pid: int) -> list[str] | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The command name may itself hold spaces and brackets; only its last bracket ends it.
    fields = stat.rpartition(")")[2].split()
    return fields if len(fields) > _START_TIME else None
