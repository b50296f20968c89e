"""A worker that imports the training stack before there is a run, so that the run's first step need not wait for it.

Whoever expects a launch starts one, and either hands it the run or closes it; when the one who expects is gone, its
end of the pipe is, and worker and supervisor end by themselves. A run that is handed over is a run like any other: the
supervisor holds its lock and watches the trainer, and nothing ties it to the terminal.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from finetune_core.child_process import python_command
from finetune_core.hardware.host import host_memory_now
from finetune_core.runs.directory import RunDir
from finetune_core.runs.start.logout import killed_at_logout

SWITCH: Final = "FT_TUI_WARM"
# The imported stack takes about 0.6 GiB; a machine that is short of memory has better uses for it.
_LEAST_FREE: Final = 3 * 2**30
_READY_SECONDS: Final = 10.0
_LONGEST_LINE: Final = 65536


def worthwhile() -> bool:
    """Whether a worker may wait here: there is room, the session's end would not kill the run, nobody forbids it."""
    return os.environ.get(SWITCH, "1") != "0" and host_memory_now()[1] > _LEAST_FREE and not killed_at_logout()


class WarmWorker:
    """A supervisor with its trainer, waiting for a run. `variables` are its environment, as of `launch.environment`."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = dict(variables)
        self._process = subprocess.Popen(
            python_command("finetune_core.runs.watch.supervise_waiting"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env=self.variables,
        )
        # The process that was started ends at once: the supervisor is its child, and so nobody's zombie.
        self._process.wait(_READY_SECONDS)

    def take(self, run: RunDir, variables: Mapping[str, str]) -> bool:
        """Hand it the run; False when it cannot take it: it waits in another environment, or is gone.

        Either way it is no longer there to be asked.
        """
        try:
            return self.variables == dict(variables) and self._handed_over(run)
        finally:
            self.close()

    def _handed_over(self, run: RunDir) -> bool:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(str(run.path)).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            return False
        answer = self._process.stdout
        return bool(select.select([answer], [], [], _READY_SECONDS)[0]) and os.read(answer.fileno(), 1) == b"1"

    def close(self) -> None:
        """Let it end, unless it was given a run."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


class WarmTrainer:
    """The trainer's process of a waiting supervisor."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            python_command("finetune_core.worker.warm"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )

    def alive(self) -> bool:
        """Whether it still waits."""
        return self.process.poll() is None

    def give(self, words: Sequence[str]) -> bool:
        """Let it train as `finetune_core.worker.train` does with these words; False when it is gone."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(list(words)).encode() + b"\n")
            self.process.stdin.close()
        except OSError:
            return False
        return self.alive()

    def end(self) -> None:
        """End it before it was given anything."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        self.process.kill()
        self.process.wait()


def wait_for_run(trainer: WarmTrainer) -> Path | None:
    """The run directory that comes on standard input; None when whoever might send one is gone, or the trainer is."""
    line = b""
    while trainer.alive():
        if not select.select([0], [], [], 1.0)[0]:
            continue
        text = os.read(0, _LONGEST_LINE)
        line += text
        if not text or len(line) > _LONGEST_LINE:
            return None
        if line.endswith(b"\n"):
            return Path(json.loads(line))
    return None
