"""The worker that waits for a launch: started while a review is read or a run prepared, handed over, or let go."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from finetune_core.errors import FtError
from finetune_core.hardware.choose import choose_device
from finetune_core.hardware.look import look
from finetune_core.recipe.check import with_values
from finetune_core.recipe.read_recipe import Given
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.start.launch import environment
from finetune_core.runs.start.warm import WarmWorker, worthwhile


class WarmLink:
    """At most one waiting worker. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: WarmWorker | None = None
        self._closed = False

    def warm_up(self, recipe: Recipe) -> None:
        """Have a worker wait for a run of this recipe, where that is worth its memory; takes a moment."""
        variables = environment(recipe)
        with self._lock:
            if self._closed or (self._worker is not None and self._worker.variables == variables):
                return
            self._let_go()
            if worthwhile():
                with suppress(OSError, subprocess.SubprocessError):
                    self._worker = WarmWorker(variables)

    def hand(self) -> WarmWorker | None:
        """The worker, if there is one; whoever takes it hands it a run."""
        with self._lock:
            worker, self._worker = self._worker, None
            return worker

    def close(self) -> None:
        """Nobody waits for a launch any more."""
        with self._lock:
            self._closed = True
            self._let_go()

    def _let_go(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


@contextmanager
def warming_up(recipe: Recipe | Given) -> Iterator[WarmLink]:
    """A worker imports the training stack while a run is prepared; it ends where it was not handed one."""
    link = WarmLink()
    # The device has to be found first, and the worker to start: a tenth of a second or two.
    threading.Thread(target=_warm_up, args=(link, recipe), daemon=True).start()
    try:
        yield link
    finally:
        link.close()


def _warm_up(link: WarmLink, given: Recipe | Given) -> None:
    """Where the run turns out to need another environment than this one it starts a worker of its own."""
    if isinstance(given, Recipe):
        recipe = given
    elif given.problems:
        return
    else:
        recipe = given.recipe
    with suppress(FtError):
        device, gpus, _ = choose_device(recipe, look())
        named = recipe.hardware.gpus or [gpu.uuid for gpu in gpus]
        link.warm_up(with_values(recipe, {"hardware.device": device, "hardware.gpus": named}))
