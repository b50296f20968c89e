"""The supervisor's process, before it has a run: `python -P -m finetune_core.runs.watch.supervise_waiting`.

It waits for the run's directory on standard input, with a trainer that is ready by then
(`finetune_core.runs.start.warm`), and then supervises as any other.
"""

from __future__ import annotations

import os
import sys

from finetune_core.runs.start.warm import WarmTrainer, wait_for_run


def main() -> int:
    """Wait with a warm trainer for a run, then supervise it; gives the exit code."""
    os.umask(0o077)
    if os.fork():
        os._exit(0)
    trainer = WarmTrainer()
    # Imported while the trainer does its own importing, which takes longer and is what a run waits for.
    from finetune_core.errors import FtError
    from finetune_core.runs.directory import RunDir
    from finetune_core.runs.log import write_to_log
    from finetune_core.runs.watch.supervise import run
    from finetune_core.runs.watch.supervisor import Ways, say

    directory = wait_for_run(trainer)
    if directory is None:
        trainer.end()
        return 0
    answer = os.dup(1)
    run_dir = RunDir(directory)
    write_to_log(run_dir.log_file)

    def ready() -> None:
        os.write(answer, b"1")
        os.close(answer)

    try:
        run(run_dir, ready=ready, ways=Ways(warm=trainer))
    except FtError as error:
        say(str(error))
        trainer.end()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
