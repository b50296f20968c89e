"""The trainer that waits: `python -P -m ft_core.worker.warm`.

It imports what training needs, reads one line from standard input (the words of `ft_core.worker.train` as a JSON list)
and goes on as that would. When its input ends without a line, nobody needs it any more.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

from ft_core.runs.directory import RunDir
from ft_core.worker import train


def main() -> int:
    """Wait for the words, then train; gives the exit code."""
    os.umask(0o077)
    train.be_quiet()
    importlib.import_module("ft_core.worker.job")
    line = sys.stdin.readline()
    if not line:
        return train.FINE
    words: list[str] = json.loads(line)
    _write_to_log(RunDir(Path(words[0])))
    return train.main(words)


def _write_to_log(run: RunDir) -> None:
    """Let standard output and error go where those of a trainer go, and have no input."""
    log = os.open(run.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.close(nothing)


if __name__ == "__main__":
    sys.exit(main())
