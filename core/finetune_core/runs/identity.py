"""Which process is meant: a pid alone is given out again, so the boot and the start time go with it."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

# Positions in /proc/PID/stat after the command name (fields 3, 5, 6 and 22 of proc(5)).
_STATE, _GROUP, _SESSION, _START_TIME = 0, 2, 3, 19
# machine-id(5).
_MACHINE_ID = Path("/etc/machine-id")


@cache
def boot_id() -> str:
    """The kernel's name for this boot of this machine; empty where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@cache
def machine() -> str:
    """A name of this machine that outlasts a reboot; empty where it has none.

    A digest of machine-id(5), which is to be kept to oneself, and of the host name: images of containers come with
    one machine-id for all.
    """
    try:
        found = _MACHINE_ID.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
    named = f"ft-tui {found} {os.uname().nodename}"
    return hashlib.sha256(named.encode()).hexdigest()[:32] if found else ""


@cache
def namespace() -> str:
    """The PID namespace of this process, as the kernel names it: a pid means something within it alone."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _proc_is_ours() -> bool:
    """Whether /proc shows the processes of our own PID namespace: a new one may stand over the old /proc."""
    try:
        return Path("/proc/self").readlink().name == str(os.getpid())
    except OSError:
        return False


class Identity(BaseModel):
    """One process for all time: boot, PID namespace, pid, and start time in clock ticks after boot; and its machine.

    `namespace` and `machine` are empty where they are not known, as in runs of earlier versions.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    boot_id: str
    pid: int
    start_time: int
    machine: str = ""
    namespace: str = ""

    @classmethod
    def current(cls) -> Identity:
        """The calling process."""
        # Not by its pid, which another process has in a /proc of another namespace.
        fields = _stat_fields("self")
        if fields is None:
            raise RuntimeError("/proc does not show the running process")
        return cls._known(os.getpid(), fields)

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The living process with this pid; None when there is none, or only its unreaped remains."""
        fields = _stat_fields(str(pid)) if _proc_is_ours() else None
        if fields is None or fields[_STATE] in {"Z", "X", "x"}:
            return None
        return cls._known(pid, fields)

    @classmethod
    def _known(cls, pid: int, fields: list[str]) -> Identity:
        start = int(fields[_START_TIME])
        return cls(boot_id=boot_id(), pid=pid, start_time=start, machine=machine(), namespace=namespace())

    @property
    def here(self) -> bool:
        """Whether the process belongs to this boot and to our PID namespace, so that `alive` can be known."""
        ours = self.namespace in {"", namespace()} and _proc_is_ours()
        return ours and self.boot_id == boot_id()

    @property
    def ended_with_its_boot(self) -> bool:
        """Whether this machine has been started anew since: the process cannot live any more."""
        return self.boot_id != boot_id() and self.machine == machine() != ""

    def alive(self) -> bool:
        """Whether exactly this process still runs on this machine."""
        now = Identity.of(self.pid) if self.here else None
        return now is not None and now.start_time == self.start_time


def has_members(group: int) -> bool:
    """Whether a process of this process group lives in our own session.

    Of a group whose leader is gone: its number may be another's by then, but not within the session of its parent.
    """
    session = os.getsid(0)
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    found = (_stat_fields(str(pid)) for pid in pids)
    return any(
        fields is not None and int(fields[_GROUP]) == group and int(fields[_SESSION]) == session for fields in found
    )


def _stat_fields(pid: str) -> list[str] | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The command name may itself hold spaces and brackets; only its last bracket ends it.
    fields = stat.rpartition(")")[2].split()
    return fields if len(fields) > _START_TIME else None
