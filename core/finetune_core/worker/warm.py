"""The trainer that waits: `python -P -m finetune_core.worker.warm`.

It imports what training needs, reads one line from standard input (the words of `finetune_core.worker.train` as a
JSON list) and goes on as that would. When its input ends without a line, nobody needs it any more.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from finetune_core.runs.directory import RunDir
from finetune_core.runs.log import write_to_log
from finetune_core.worker import train
from finetune_core.worker.stack import import_stack


def main() -> int:
    """Wait for the words, then train; gives the exit code."""
    os.umask(0o077)
    train.be_quiet()
    # What the libraries log goes for all time to where errors went when they were imported.
    # What cannot be imported is tried again, and reported, once there is a run to report it to.
    with train.without_secrets(), suppress(Exception):
        import_stack()
    line = sys.stdin.readline()
    if not line:
        return train.FINE
    words: list[str] = json.loads(line)
    write_to_log(RunDir(Path(words[0])).log_file)
    return train.main(words)


if __name__ == "__main__":
    sys.exit(main())
