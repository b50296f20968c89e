"""How a trainer ended, in words a user can act on."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ft_core.text import one_line

_ERROR_LINE = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|Interrupt|Exit)\b|\S+: No module named ")
_CAUSE_LENGTH = 300
# The exit code of a trainer that heeded a signal and leaves it to its supervisor to tell of its end.
TERMINATED_CODE = 128 + signal.SIGTERM
RESUME = "resume the run: it goes on from its last checkpoint"
ENDED_BY_SIGNAL = "ended by SIGTERM: a shutdown, a job scheduler or an administrator"
_SEE_LOG = "read the end of worker.log (`ft-tui logs`) for what happened before"

# What the last error line says, and what it means; the first that fits is told.
_KNOWN = (
    (
        re.compile(r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory", re.IGNORECASE),
        "the GPU ran out of memory",
        (
            "lower training.micro_batch and raise training.accumulation, shorten data.max_length, turn on "
            "training.activation_checkpointing, or compress the base with quantization.method nf4"
        ),
    ),
    (
        re.compile(r"MemoryError|can't allocate memory|Cannot allocate memory|not enough memory", re.IGNORECASE),
        "the machine's memory ran out",
        "end other programs, take a smaller model, or lower training.micro_batch and data.max_length",
    ),
    (
        re.compile(r"No module named"),
        "a Python package the trainer needs is not installed",
        "install ft-tui again into this environment: pip install -c constraints.txt -e .",
    ),
    (
        re.compile(r"No space left on device|Disk quota exceeded"),
        "the disk is full",
        "free some space (old runs and checkpoints are the first place to look), then resume the run",
    ),
    (
        re.compile(r"CUDA error|CUDA driver|cuDNN|cublas|device-side assert|NVML", re.IGNORECASE),
        "the GPU reported an error",
        "look at `nvidia-smi` and the kernel's log for an Xid; resume the run when the GPU answers again",
    ),
)
_SIGNALS = {
    signal.SIGKILL: "by the kernel, an administrator or a job scheduler; often because memory ran out",
    signal.SIGTERM: "someone, a job scheduler or a shutdown asked it to end",
    signal.SIGINT: "it was interrupted",
    signal.SIGSEGV: "a native library crashed",
    signal.SIGBUS: "memory or a mapped file went away: /dev/shm or the disk may be full",
    signal.SIGABRT: "a native library gave up",
    signal.SIGILL: "a native library uses instructions this processor does not have",
    signal.SIGFPE: "a native library divided by zero",
}


@dataclass(frozen=True)
class Ending:
    """The fields of an `end` event."""

    state: str
    cause: str | None
    remedy: str | None
    last_lines: list[str] | None = None


def explain(code: int, lines: list[str], *, killed_for_memory: bool = False) -> Ending:
    """The ending of a process that said nothing itself.

    `code` is its exit code, or minus the signal that killed it; `lines` are the last of its log.
    """
    if code == TERMINATED_CODE:
        return Ending("stopped", ENDED_BY_SIGNAL, RESUME, lines)
    if code < 0:
        return _by_signal(-code, lines, killed_for_memory=killed_for_memory)
    error = _last_error(lines)
    if error is None:
        cause = "the trainer ended without saying why" if code == 0 else f"the trainer ended with exit code {code}"
        return Ending("failed", cause, _SEE_LOG, lines)
    for pattern, cause, remedy in _KNOWN:
        if pattern.search(error):
            return Ending("failed", f"{cause}: {error}", remedy, lines)
    return Ending("failed", f"the trainer failed: {error}", _SEE_LOG, lines)


def _by_signal(number: int, lines: list[str], *, killed_for_memory: bool) -> Ending:
    if killed_for_memory:
        return Ending(
            "failed",
            "killed by the kernel for memory: the trainer needed more than this machine or container has",
            "end other programs, take a smaller model, lower data.max_length, or give the container more memory; "
            "then resume the run",
            lines,
        )
    known = {item.value for item in signal.Signals}
    name = signal.Signals(number).name if number in known else f"signal {number}"
    why = next((words for item, words in _SIGNALS.items() if item == number), "the trainer was killed")
    return Ending("failed", f"killed with {name}: {why}", f"{_SEE_LOG}; then resume the run", lines)


def _last_error(lines: list[str]) -> str | None:
    """The line of the last Python error: the one after a traceback, or one that begins with an error's name."""
    for line in reversed(lines):
        if _ERROR_LINE.match(line):
            return one_line(line, _CAUSE_LENGTH)
    return None


class OomWatch:
    """Tells whether the kernel killed someone for memory, in our control group or on the whole machine, since made."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._before = self._counts()

    def killed(self) -> bool:
        """Whether the kernel's counters of such kills have risen."""
        now = self._counts()
        return any(now[path] > self._before.get(path, 0) for path in now)

    def _counts(self) -> dict[Path, int]:
        found = ((path, _oom_kills(path)) for path in self._files())
        return {path: count for path, count in found if count is not None}

    def _files(self) -> Iterator[Path]:
        groups = self._root / "sys/fs/cgroup"
        for line in _text(self._root / "proc/self/cgroup").splitlines():
            number, _, rest = line.partition(":")
            controllers, _, name = rest.partition(":")
            if number == "0":
                yield groups / name.lstrip("/") / "memory.events"
            elif "memory" in controllers.split(","):
                yield groups / "memory" / name.lstrip("/") / "memory.oom_control"
        yield groups / "memory.events"
        yield groups / "memory" / "memory.oom_control"
        yield self._root / "proc/vmstat"


def _oom_kills(path: Path) -> int | None:
    match = re.search(r"^oom_kill (\d+)$", _text(path), re.MULTILINE)
    return int(match[1]) if match else None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
