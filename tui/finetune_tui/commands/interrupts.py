"""Ctrl+C and a scheduler's notice while a run is started and followed: it is never lost from sight."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from finetune_core.runs.directory import RunDir

_KEY: Final = "finetune_tui.run"


class Notices:
    """SIGTERM and SIGUSR1 that came for the run of this command, until `take` gives them; in order."""

    def __init__(self) -> None:
        self._noted: list[signal.Signals] = []
        self.starting = False
        self.run: RunDir | None = None

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Keep it for the run; before there is one, the command ends as it would by itself."""
        if self.run is None and not self.starting:
            raise SystemExit(128 + number)
        self._noted.append(signal.Signals(number))

    def take(self) -> signal.Signals | None:
        """The next one that was not handed on yet."""
        return self._noted.pop(0) if self._noted else None

    def put_back(self, number: signal.Signals) -> None:
        """It could not be handed on yet."""
        self._noted.insert(0, number)


_notices = Notices()


@contextmanager
def handing_on() -> Iterator[None]:
    """SIGTERM and SIGUSR1, by which a scheduler announces a job's end, are for the run that is started inside."""
    global _notices  # noqa: PLW0603 - signals belong to the process
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _notices = Notices()
    before = {number: signal.signal(number, _notices.note) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def notices() -> Notices:
    """What came for the run of this command."""
    return _notices


@contextmanager
def interrupted_afterwards() -> Iterator[None]:
    """Ctrl+C inside counts at the end: what is begun here (well under a second) is done whole and has its name."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True

    # A command in the background of a script ignores Ctrl+C, and is still given a scheduler's notice.
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    before = signal.getsignal(signal.SIGINT) if ignored else signal.signal(signal.SIGINT, note)
    _notices.starting = True
    try:
        yield
    finally:
        _notices.starting = False
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def going_on(run: RunDir) -> None:
    """Remember which run the present command has to do with, for the words after a Ctrl+C."""
    click.get_current_context().meta[_KEY] = run
    _notices.run = run


def words_after(ctx: click.Context) -> str:
    """What to say after Ctrl+C: the run that goes on without this terminal, and how to look at it and stop it."""
    run: RunDir | None = ctx.meta.get(_KEY)
    if run is None:
        return "interrupted"
    from finetune_core.runs.status import live

    return goes_on(run) if live(run) else f"interrupted; {run.name} has ended"


def goes_on(run: RunDir) -> str:
    """That a run goes on, and how to look at it and stop it."""
    return (
        f"\n{run.name} goes on without this terminal.\n"
        f"Look at it again: ft-tui attach {run.name}\nStop it: ft-tui stop {run.name}"
    )
