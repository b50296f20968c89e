"""How a trainer ended, in words a user can act on."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from finetune_core.text import one_line

_ERROR_LINE = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|Interrupt|Exit)\b|\S+: No module named ")
_CAUSE_LENGTH = 300
# The exit code of a trainer that heeded a signal and leaves it to its supervisor to report its end.
TERMINATED_CODE = 128 + signal.SIGTERM
# Why a run ended, for programs; the words for people are the cause.
DONE, ON_REQUEST, PREEMPTED = "done", "on_request", "preempted"
# The memory that training itself takes: the GPU's, or on a CPU the machine's.
MEMORY, KILLED_FOR_MEMORY, DISK_FULL = "memory", "killed_for_memory", "disk_full"
NOT_FINITE, GPU_LOST, HUNG, CRASHED, REFUSED = "not_finite", "gpu_lost", "hung", "crashed", "refused"
# What the driver says when the device, not the program, has failed: another start meets the same.
GPU_IS_LOST = re.compile(
    r"GPU is lost|fallen off the bus|uncorrectable ECC|no CUDA-capable device|busy or unavailable"
    r"|CUDA error: unknown error|CUDA driver initialization failed",
    re.IGNORECASE,
)
RESUME = "resume the run: it goes on from its last checkpoint"
ENDED_BY_SIGNAL = "ended by SIGTERM: a shutdown, a job scheduler or an administrator"
_SEE_LOG = "read the end of worker.log (`ft-tui logs`) for what happened before"

# What the last error line says, and what it means; the first that fits is reported.
_KNOWN = (
    (
        GPU_IS_LOST,
        GPU_LOST,
        "the GPU was lost",
        (
            "look at `nvidia-smi` and the kernel's log (`dmesg`) for an Xid; resume the run when the GPU answers "
            "again, or on another one"
        ),
    ),
    (
        re.compile(r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory", re.IGNORECASE),
        MEMORY,
        "the GPU ran out of memory",
        (
            "lower training.micro_batch and raise training.accumulation, shorten data.max_length, turn on "
            "training.activation_checkpointing, or compress the base with quantization.method nf4"
        ),
    ),
    (
        re.compile(r"MemoryError|can't allocate memory|Cannot allocate memory|not enough memory", re.IGNORECASE),
        MEMORY,
        "the machine's memory ran out",
        "end other programs, take a smaller model, or lower training.micro_batch and data.max_length",
    ),
    (
        re.compile(r"No module named"),
        REFUSED,
        "a Python package the trainer needs is not installed",
        "install ft-tui again into this environment: pip install -c constraints.txt -e .",
    ),
    (
        re.compile(r"No space left on device|Disk quota exceeded"),
        DISK_FULL,
        "the disk is full",
        "free some space (old runs and checkpoints are the first place to look), then resume the run",
    ),
    (
        re.compile(r"CUDA error|CUDA driver|cuDNN|cublas|device-side assert|NVML", re.IGNORECASE),
        CRASHED,
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
    """The fields of an `end` event; `reason` is one of the constants of this module."""

    state: str
    cause: str | None
    remedy: str | None
    last_lines: list[str] | None = None
    reason: str = ""


def explain(code: int, lines: list[str], *, killed_for_memory: bool = False) -> Ending:
    """The ending of a process that said nothing itself.

    `code` is its exit code, or minus the signal that killed it; `lines` are the last of its log.
    """
    if code == TERMINATED_CODE:
        return Ending("preempted", ENDED_BY_SIGNAL, RESUME, lines, PREEMPTED)
    if code < 0:
        return _by_signal(-code, lines, killed_for_memory=killed_for_memory)
    error = _last_error(lines)
    if error is None:
        cause = "the trainer ended without saying why" if code == 0 else f"the trainer ended with exit code {code}"
        return Ending("failed", cause, _SEE_LOG, lines, CRASHED)
    for pattern, reason, cause, remedy in _KNOWN:
        if pattern.search(error):
            return Ending("failed", f"{cause}: {error}", remedy, lines, reason)
    return Ending("failed", f"the trainer failed: {error}", _SEE_LOG, lines, CRASHED)


def hung(cause: str, lines: list[str]) -> Ending:
    """The ending of a trainer that no longer got on. It is not started again: a device that hangs, hangs again."""
    # faulthandler lists the main thread last, and of each its innermost call first.
    start = max((place for place, line in enumerate(lines) if "hread 0x" in line), default=0)
    where = next((one_line(line, 200) for line in lines[start:] if line.startswith('  File "')), "")
    return Ending(
        "failed",
        f"{cause}{f'; it stood in {where}' if where else ''}",
        "look at `nvidia-smi` and the kernel's log (`dmesg`) for a fault of the GPU, then resume the run",
        lines,
        HUNG,
    )


def _by_signal(number: int, lines: list[str], *, killed_for_memory: bool) -> Ending:
    if killed_for_memory:
        return Ending(
            "failed",
            "killed by the kernel for memory: the trainer needed more than this machine or container has",
            "end other programs, take a smaller model, lower data.max_length, or give the container more memory; "
            "then resume the run",
            lines,
            KILLED_FOR_MEMORY,
        )
    known = {item.value for item in signal.Signals}
    name = signal.Signals(number).name if number in known else f"signal {number}"
    why = next((words for item, words in _SIGNALS.items() if item == number), "the trainer was killed")
    return Ending("failed", f"killed with {name}: {why}", f"{_SEE_LOG}; then resume the run", lines, CRASHED)


def _last_error(lines: list[str]) -> str | None:
    """The line of the last Python error: the one after a traceback, or one that begins with an error's name."""
    for line in reversed(lines):
        if _ERROR_LINE.match(line):
            return one_line(line, _CAUSE_LENGTH)
    return None


class OomWatch:
    """Finds whether the kernel killed someone for memory, in our control group or on the whole machine, since made."""

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
