"""The worker's raw log, as it may be shown: its last lines, made harmless and free of secrets."""

from __future__ import annotations

import os
from pathlib import Path

from finetune_core.files import OddFile, open_regular
from finetune_core.redaction import redact
from finetune_core.text import clean

_LAST_BYTES = 256 * 1024
_LONGEST = 500


def last_lines(path: Path, count: int, *, start: int = 0) -> list[str]:
    """At most `count` last lines from byte `start` on; of a progress bar only its last state, blank lines left out.

    Control characters are made visible, secrets removed, long lines cut. No lines when the file cannot be read.
    """
    _, data = read_end(path, _LAST_BYTES, start=start)
    text = data.decode(errors="replace")
    shown = (_shown(line) for line in text.split("\n"))
    return [line for line in shown if line.strip()][-count:]


def read_end(path: Path, most: int, *, start: int = 0) -> tuple[int, bytes]:
    """A file's size, and its last bytes, at most so many, from byte `start` on; zero and none of what is no file."""
    try:
        with open_regular(path) as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(start, size - most))
            return size, stream.read(most)
    except (OSError, OddFile):
        return 0, b""


def _shown(line: str) -> str:
    final = line.rstrip("\r").rpartition("\r")[2]
    return clean(redact(final))[:_LONGEST].rstrip()


def open_log(path: Path) -> int:
    """A descriptor that appends to a run's log, made private where it is not there; it waits for no pipe's reader.

    Raises OSError.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    return os.open(path, flags, 0o600)


def write_to_log(path: Path) -> None:
    """Let this process's output and errors go to a run's log from now on, and nothing come in. Raises OSError."""
    log, nothing = open_log(path), os.open(os.devnull, os.O_RDONLY)
    for source, number in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, number)
    os.close(log)
    os.close(nothing)
