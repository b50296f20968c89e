"""What may fail without costing the training: tried, and when it fails, said."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from finetune_core.errors import FtError, problem
from finetune_core.worker.controls import Stopped
from finetune_core.worker.failures import explain, ran_out_of_memory
from finetune_core.worker.report import Reporter


class Attempts:
    """Tries what is due, and remembers what has begun to fail."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._failing: set[str] = set()

    def attempt(self, name: str, action: Callable[[], object]) -> bool:
        """Whether it was done; why not becomes an alarm.

        Raises what says that the memory is used up: the supervisor then goes on with smaller batches.
        """
        try:
            action()
        except Stopped:
            self._report.log(f"{name} broken off")
        except FtError as error:
            found = error.problems[0]
            self._failed(name, f"{found.what}: {found.why}; {found.remedy}")
        except Exception as error:
            if ran_out_of_memory(error):
                raise
            traceback.print_exception(error)
            cause, remedy = explain(error)
            self._failed(name, f"{name} failed, the run goes on: {cause}; {remedy}")
        else:
            self._failing.discard(name)
            return True
        return False

    def _failed(self, name: str, words: str) -> None:
        """An alarm when something begins to fail; that it goes on failing stands in the log."""
        if name in self._failing:
            self._report.log(words)
        else:
            self._failing.add(name)
            self._report.alarm(f"{name}_failed", words)


@contextmanager
def if_it_fits(step: int) -> Iterator[None]:
    """Answers and measurements need memory beside the training's: that there is too little becomes an FtError."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        cause, _ = explain(error)
        remedy = "the run goes on; fewer or shorter samples, or a smaller training.micro_batch, leave more room"
        raise problem("left out", where=f"step {step}", why=cause, remedy=remedy) from error
