"""Feeds inputs to one reader and counts what a person would see as a crash, a hang, or a machine without memory."""

from __future__ import annotations

import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType

# Of the processor for one input: on a shared machine the clock on the wall says nothing.
SECONDS = 5.0
GROWTH = 2**30
_HERE = str(Path(__file__).parent)


@dataclass(frozen=True)
class Target:
    """A reader: `make` gives an input, `read` reads it in a folder of its own; any exception out of it is a fault.

    `weight` is its share of the inputs: quick readers have more.
    """

    name: str
    weight: int
    make: Callable[[Random], bytes]
    read: Callable[[bytes, Path], object]


@dataclass(frozen=True)
class Uncaught:
    """An input that a reader did not stand: its number, what happened, and where in the sources."""

    number: int
    what: str
    where: str
    data: bytes


class _TooSlowError(BaseException):
    """Ends a reader that takes too long; no handler of exceptions catches it."""


def made(target: Target, seed: int, number: int) -> bytes:
    """Input `number` of a target; always the same for the same seed, however deep the caller stands."""
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(10 * usual)
    try:
        return target.make(Random(f"{seed} {target.name} {number}"))
    finally:
        sys.setrecursionlimit(usual)


def feed(
    target: Target,
    seed: int,
    numbers: Iterable[int],
    folder: Path,
    *,
    begin: Callable[[int], None] = lambda _number: None,
    until: float = float("inf"),
    seconds: float = SECONDS,
    growth: int = GROWTH,
) -> tuple[int, list[Uncaught]]:
    """Read these inputs, one after the other; how many were read, and which were not stood.

    `begin` is told the number before each; `until` is the monotonic time to stop at, once two were read.
    """
    count, found, peak = 0, [], _fresh_peak()
    before = signal.signal(signal.SIGPROF, _stop)
    try:
        for number in numbers:
            if count > 1 and time.monotonic() > until:
                break
            data = made(target, seed, number)
            begin(number)
            fault = _read(target, data, folder, seconds)
            count, grown = count + 1, _peak() - peak
            if fault is None and grown > growth:
                fault, peak = (f"grew by {grown >> 20} MiB", ""), _fresh_peak()
            if fault is not None:
                found.append(Uncaught(number, *fault, data))
    finally:
        signal.signal(signal.SIGPROF, before)
    return count, found


def _fresh_peak() -> int:
    """Forget what this process has held at most before, and give what it holds."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _TooSlowError


def _read(target: Target, data: bytes, folder: Path, seconds: float) -> tuple[str, str] | None:
    start = time.process_time()
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            target.read(data, folder)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except _TooSlowError as error:
        return "too slow", _where(error)
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        return f"{type(error).__name__}: {str(error)[:200]}", _where(error)
    took = time.process_time() - start
    # What runs inside one call of C ends before its signal is heard.
    return ("too slow", "") if took > seconds else None


def _where(error: BaseException) -> str:
    """The innermost place in the sources that are tested."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_HERE)]
    own = [
        frame for frame in frames if "/finetune_core/" in frame.filename or "/finetune_tui/" in frame.filename
    ] or frames
    return f"{own[-1].filename.rpartition('/finetune_')[2] or own[-1].filename}:{own[-1].lineno}" if own else ""
