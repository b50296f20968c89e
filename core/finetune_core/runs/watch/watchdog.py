"""Whether a living trainer still gets on: by the events it writes, and while it prepares by what its process does."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from finetune_core.text import duration_text

# A step may compile kernels or wait for a shared file system; what takes 20 times the longest wait so far does not.
_PATIENCE: Final = 20
_LEAST_SECONDS: Final = 15 * 60.0
_FIRST_SECONDS: Final = 60 * 60.0
_STEPPING: Final = frozenset({"training", "evaluating"})
# Between two looks more time than this has passed only when this process itself was stopped or the machine slept.
_LONGEST_LOOK: Final = 5.0


@dataclass(frozen=True)
class Limits:
    """Seconds without a sign of life after which a trainer counts as hung."""

    least: float = _LEAST_SECONDS
    first: float = _FIRST_SECONDS
    patience: float = _PATIENCE


class Watchdog:
    """Looks at one trainer. `look` gives why it counts as hung, None while it does not.

    Time in which this process did not run, the trainer was stopped (SIGSTOP, a debugger) or paused does not count.
    """

    def __init__(self, pid: int, limits: Limits | None = None, root: Path = Path("/proc")) -> None:
        self._folder = root / str(pid)
        self._limits = limits or Limits()
        self._size = -1
        self._work = (-1, -1)
        self._quiet = 0.0
        self._longest = 0.0
        self._beats = 0
        self._looked: float | None = None

    def look(self, now: float, journal_size: int, state: str) -> str | None:
        """`now` is monotonic, in seconds; `journal_size` grows with every event; `state` is that of the run."""
        passed = 0.0 if self._looked is None else min(now - self._looked, _LONGEST_LOOK)
        self._looked = now
        stepping = state in _STEPPING
        if journal_size != self._size:
            self._beat(journal_size, counts=stepping)
        elif state == "paused" or self._stopped() or (not stepping and self._at_work()):
            self._quiet = 0.0
        else:
            self._quiet += passed
        limit = self._limit(stepping=stepping)
        if self._quiet < limit:
            return None
        usual = f", where {duration_text(self._longest)} was the longest wait before" if self._beats else ""
        return f"hung: nothing has come from it for {duration_text(self._quiet)}{usual}"

    def _beat(self, size: int, *, counts: bool) -> None:
        self._size = size
        if counts:
            self._beats += 1
            self._longest = max(self._longest, self._quiet)
        else:
            self._beats, self._longest = 0, 0.0
        self._quiet = 0.0

    def _limit(self, *, stepping: bool) -> float:
        # The first events of a phase say little about its steps: kernels are compiled, caches filled.
        if not stepping or self._beats < 3:
            return self._limits.first
        return max(self._limits.least, self._limits.patience * self._longest)

    def _stopped(self) -> bool:
        return _field(self._folder / "stat") in {"T", "t"}

    def _at_work(self) -> bool:
        """Whether the process has computed or read anything since the last look."""
        before, self._work = self._work, (_processor_ticks(self._folder), _bytes_read(self._folder))
        return before != self._work


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _field(stat: Path) -> str:
    """The state letter of /proc/PID/stat (field 3 of proc(5), after the name in brackets)."""
    return (_text(stat).rpartition(")")[2].split() or [""])[0]


def _processor_ticks(folder: Path) -> int:
    """Processor time of the process in seconds: less is the beating of its heart alone."""
    fields = _text(folder / "stat").rpartition(")")[2].split()
    # utime and stime are fields 14 and 15 of proc(5); the state, field 3, comes first here.
    return (int(fields[11]) + int(fields[12])) // os.sysconf("SC_CLK_TCK") if len(fields) > 12 else 0


def _bytes_read(folder: Path) -> int:
    found = (line.partition(":") for line in _text(folder / "io").splitlines())
    return next((int(value) // 2**20 for name, _, value in found if name == "rchar"), 0)
