"""Ctrl+C while a run is being started: it is never lost from sight."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from ft_core.runs.directory import RunDir

_KEY: Final = "ft_tui.run"


@contextmanager
def interrupted_afterwards() -> Iterator[None]:
    """Ctrl+C inside counts at the end: what is begun here (well under a second) is done whole and has its name."""
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    if ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def going_on(run: RunDir) -> None:
    """Remember which run the present command has to do with, for the words after a Ctrl+C."""
    click.get_current_context().meta[_KEY] = run


def words_after(ctx: click.Context) -> str:
    """What to say after Ctrl+C: the run that goes on without this terminal, and how to look at it and stop it."""
    run: RunDir | None = ctx.meta.get(_KEY)
    if run is None:
        return "interrupted"
    from ft_core.runs.status import live

    return goes_on(run) if live(run) else f"interrupted; {run.name} has ended"


def goes_on(run: RunDir) -> str:
    """That a run goes on, and how to look at it and stop it."""
    return (
        f"\n{run.name} goes on without this terminal.\n"
        f"Look at it again: ft-tui attach {run.name}\nStop it: ft-tui stop {run.name}"
    )
