"""The training stack, imported without what is not needed until later, if at all."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from typing import Any

from finetune_core.worker.quick_imports import quick_imports


def import_stack() -> None:
    """Import everything a job needs: thousands of modules, which takes seconds. Raises ImportError."""
    # None of the many objects that come to be is garbage, and looking for it costs a tenth of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        import_module("torch")  # first by itself: an import inside transformers would not say what is missing
        with quick_imports():
            with _compiled_at_first_call(), suppress(Exception):
                # A bitsandbytes that cannot be imported is reported where somebody needs it.
                import_module("bitsandbytes")
            import_module("finetune_core.worker.training.job")
    finally:
        # All of it stays for as long as the process does: each later search for garbage would look through it in vain.
        gc.freeze()
        if collecting:
            gc.enable()


@contextmanager
def _compiled_at_first_call() -> Iterator[None]:
    """Functions that are marked for compilation while this lasts are compiled when they are first called.

    bitsandbytes marks two of them, and torch then imports its compiler, a sixth of the whole stack.
    """
    torch: Any = import_module("torch")
    compiled = torch.compile
    torch.compile = partial(_marked, compiled)
    try:
        yield
    finally:
        torch.compile = compiled


def _marked(compiled: Callable[..., Any], function: Callable[..., Any] | None = None, **settings: Any) -> Any:  # noqa: ANN401 - whatever torch.compile is given
    if function is None:
        return partial(_marked, compiled, **settings)
    return _AtFirstCall(partial(compiled, function, **settings))


class _AtFirstCall:
    """A function that `make` gives when it is first called."""

    def __init__(self, make: Callable[[], Callable[..., Any]]) -> None:
        self._make = make
        self._function: Callable[..., Any] | None = None

    def __call__(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - those of the function
        if self._function is None:
            self._function = self._make()
        return self._function(*given, **named)
