"""Why a run failed and what to do about it, in plain words."""

from __future__ import annotations

import errno
import re

from finetune_core.errors import FtError
from finetune_core.runs.watch.end_causes import CRASHED, DISK_FULL, GPU_IS_LOST, GPU_LOST, MEMORY, NOT_FINITE, REFUSED
from finetune_core.text import one_line
from finetune_core.worker.hub.access import explained

_LINES_SHOWN = 3
_SMALLER = (
    "halve training.micro_batch and double training.accumulation (the result stays the same), switch on"
    " training.activation_checkpointing, lower data.max_length, or set quantization.method to nf4"
)


# What the driver and its matrix library say: they take memory without asking torch's allocator.
_GPU_FULL = re.compile(r"CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED")


def explain(error: BaseException) -> tuple[str, str]:
    """(cause, remedy) of a failure. Chained errors are looked through: the first that is known speaks."""
    seen: BaseException | None = error
    while seen is not None:
        found = _known(seen)
        if found is not None:
            return found
        seen = seen.__cause__ or seen.__context__
    text = one_line(str(error), 300) or "no message"
    return f"{type(error).__name__}: {text}", "the log holds the whole trace: `ft-tui logs`"


def reason_of(error: BaseException) -> str:
    """One of the reasons of `finetune_core.runs.watch.end_causes`; looks along the chain of errors."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, FtError):
            return seen.problems[0].kind if seen.problems[0].kind == NOT_FINITE else REFUSED
        if _memory(seen) is not None:
            return MEMORY
        if GPU_IS_LOST.search(str(seen)):
            return GPU_LOST
        if _disk_full(seen):
            return DISK_FULL
        if _known(seen) is not None and _gpu(seen) is None:
            return REFUSED
        seen = seen.__cause__ or seen.__context__
    return CRASHED


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether the GPU's or the machine's memory ran out."""
    return _memory(error) is not None


def _known(error: BaseException) -> tuple[str, str] | None:
    if isinstance(error, FtError):
        return _problems(error)
    hub = explained(error, "model")
    return _memory(error) or _gpu(error) or _packing(error) or hub or _files(error) or _template(error)


def _problems(error: FtError) -> tuple[str, str]:
    shown = error.problems[:_LINES_SHOWN]
    more = len(error.problems) - len(shown)
    cause = "; ".join(f"{problem.where}: {problem.what} ({problem.why})" for problem in shown)
    remedies = list(dict.fromkeys(problem.remedy for problem in shown))
    return cause + (f"; and {more} more" if more else ""), "; ".join(remedies)


def _memory(error: BaseException) -> tuple[str, str] | None:
    if isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error):
        wanted = re.search(r"you tried to allocate (\d+) bytes", str(error))
        by = f" ({int(wanted[1]) / 2**30:.2f} GiB more were asked for)" if wanted else ""
        return f"the machine ran out of memory{by}", _SMALLER
    if type(error).__name__ != "OutOfMemoryError" and not _GPU_FULL.search(str(error)):
        return None
    wanted = re.search(r"Tried to allocate ([\d.]+ \w+)", str(error))
    free = re.search(r"of which ([\d.]+ \w+) is free", str(error))
    total = re.search(r"total capacity of ([\d.]+ \w+)", str(error))
    parts = [
        f"{wanted[1]} more were needed" if wanted else "",
        f"{free[1]} were free" if free else "",
        f"the GPU has {total[1]}" if total else "",
    ]
    figures = ", ".join(part for part in parts if part)
    return f"the GPU ran out of memory{': ' if figures else ''}{figures}", _SMALLER


def _gpu(error: BaseException) -> tuple[str, str] | None:
    text = str(error)
    if "no kernel image is available" in text:
        return (
            "this build of torch holds no code for the GPU: the card is too old for it, or too new",
            "install a torch build that supports the card (`ft-tui doctor` names both), or set hardware.device to cpu",
        )
    if isinstance(error, RuntimeError) and "CUDA error:" in text:
        said = one_line(text.partition("CUDA error:")[2].strip().partition("\n")[0], 200)
        return (
            f"the GPU failed: {said}",
            "resume the run; if it happens again, look into `dmesg` and `nvidia-smi` for a fault of card or driver",
        )
    return None


def _packing(error: BaseException) -> tuple[str, str] | None:
    if not (isinstance(error, ValueError) and "packed sequences" in str(error)):
        return None
    return f"rows of this model cannot be packed: {one_line(str(error), 200)}", "set data.packing to none"


def _disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    # The safetensors library is written in Rust, and has words of its own.
    return type(error).__name__ == "SafetensorError" and "No space left on device" in str(error)


def _files(error: BaseException) -> tuple[str, str] | None:
    if _disk_full(error):
        place = one_line(str(getattr(error, "filename", None) or ""), 200)
        return f"the disk is full{f' at {place}' if place else ''}", "free some space"
    if type(error).__name__ == "SafetensorError":
        return (
            f"a weights file is damaged or cut short: {one_line(str(error), 200)}",
            "download the model again, or compare the file's size with its source",
        )
    if not isinstance(error, OSError):
        return None
    place = one_line(str(error.filename or ""), 200)
    if error.errno == errno.ENOENT and place:
        return f"a file is missing: {place}", "put it back, or name another one in the recipe"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS} and place:
        return f"no permission for {place}", "change its permissions or choose another place"
    return None


def _template(error: BaseException) -> tuple[str, str] | None:
    if not type(error).__module__.startswith("jinja2"):
        return None
    return (
        f"the model's chat template fails: {one_line(str(error), 200)}",
        "look at the rows in the preview: roles must come in the order the template expects",
    )
