"""The dashboard's one reader of a run directory: a thread that polls, and informs the screen when something changed.

Of a long journal the present is shown at once, and the rest is read behind it, piece by piece.
"""

from __future__ import annotations

import select
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from textual.message import Message

from finetune_core.errors import FtError
from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Event
from finetune_core.runs.status import ACTIVE
from finetune_core.runs.view import history
from finetune_core.runs.view.damage import damage
from finetune_core.runs.view.run_view import RunView, SampleSet
from finetune_core.runs.view.tail_view import Glance, is_long
from finetune_tui.widgets.log_tail import read_tail

POLL_SECONDS: Final = 0.5
FASTEST, SLOWEST = 1.0, 8.0
_PIECE: Final = 8 * 1024 * 1024
# A key is heard between two of them.
_FILL_PIECE: Final = 1024 * 1024
_KEPT_SETS: Final = 8


@dataclass
class Wanted:
    """What the screen shows beyond the figures, and so has to be read too."""

    log: bool = False
    sample: int | None = None  # index into view.samples; None follows the newest


@dataclass
class Seen:
    """What was read beyond the figures."""

    log: tuple[str, ...] = ()
    samples: SampleSet | None = None
    sample_problem: str = ""
    place: int = 0
    ready: bool = False
    filled: float | None = None  # how much of a long journal has been read, 0 to 1; None when all of it is
    cache: dict[int, SampleSet] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether all of the run has been read."""
        return self.ready and self.filled is None


class RunChanged(Message):
    """Something in the run changed, or a second of a live run has passed."""

    def can_replace(self, message: Message) -> bool:
        """One is as good as many."""
        return isinstance(message, RunChanged)


class Pace:
    """How often to draw: once a second, more seldom while the terminal does not take what was sent before."""

    def __init__(self, writable: Callable[[], bool]) -> None:
        self._writable = writable
        self.seconds = FASTEST
        self._drawn = float("-inf")

    def due(self, now: float) -> bool:
        """Whether to draw now; a full terminal doubles the interval, a free one halves it."""
        if now - self._drawn < self.seconds:
            return False
        if not self._writable():
            self.seconds, self._drawn = min(self.seconds * 2, SLOWEST), now
            return False
        self.seconds = max(self.seconds / 2, FASTEST)
        self._drawn = now
        return True


def terminal_writable() -> bool:
    """Whether the terminal takes more bytes now; True where that cannot be asked."""
    stream = sys.__stderr__
    try:
        return stream is None or not stream.isatty() or bool(select.select([], [stream], [], 0)[1])
    except (OSError, ValueError):
        return True


class RunReader:
    """Polls a run in a thread of its own. `view` and `seen` are written there, between a message and `applied`."""

    def __init__(self, run: RunDir, tell: Callable[[Message], object], *, writable: Callable[[], bool]) -> None:
        self.view = RunView(run)
        self._whole = self.view
        self._begun = False
        self.seen = Seen()
        self.wanted = Wanted()
        self._tell = tell
        self._pace = Pace(writable)
        self._wake = threading.Event()
        self._applied = threading.Event()
        self._closed = False
        self._urgent = False
        self._marks: tuple[object, ...] = ()
        self._log_mark: tuple[int, int] | None = None
        self._looked_in = ""

    def close(self) -> None:
        """End the thread at its next step."""
        self._closed = True
        self._wake.set()
        self._applied.set()

    def hurry(self) -> None:
        """Look at once: the user asked for something."""
        self._urgent = True
        self._wake.set()

    def applied(self) -> None:
        """The screen has drawn what it was given; the thread may read on."""
        self._applied.set()

    def loop(self, cancelled: Callable[[], bool]) -> None:
        """The thread's work, until `close` or until it is cancelled, as at the end of the app."""
        changed = False
        while not (self._closed or cancelled()):
            urgent, self._urgent = self._urgent, False
            changed = self._read() or changed
            marks = self._present_marks()
            urgent = urgent or marks != self._marks
            live = self.view.state in ACTIVE
            if urgent or ((changed or live) and self._pace.due(time.monotonic())):
                self._marks, changed = marks, False
                self._announce(cancelled)
            if not (self.view.behind or self._urgent or self.seen.filled is not None):
                self._wake.wait(POLL_SECONDS)
            self._wake.clear()

    def _announce(self, cancelled: Callable[[], bool]) -> None:
        self.seen.ready = self.seen.ready or not self.view.behind
        self._applied.clear()
        self._tell(RunChanged())
        while not (self._closed or cancelled() or self._applied.wait(POLL_SECONDS)):
            pass

    def _read(self) -> bool:
        if not self._begun:
            self._begin()
        filled = self.seen.filled is not None and self._fill()
        changed = self.view.poll(_PIECE)
        if self._whole is self.view:
            history.keep(self.view)
        if self.view.behind:
            return changed
        self._read_samples()
        return self._look_for_damage() or self._read_log() or changed or filled

    def _look_for_damage(self) -> bool:
        """Look whether the run's files are whole, once all is read and whenever its state has changed."""
        view = self.view
        if view is not self._whole or view.state == self._looked_in:
            return False
        self._looked_in = view.state
        before, view.damage = view.damage, damage(view)
        return view.damage != before

    def _begin(self) -> None:
        """Show the present of a long run while the rest is read."""
        self._begun = True
        if is_long(self._whole):
            self.view, self.seen.filled = Glance(self.view.run), 0.0

    def _fill(self) -> bool:
        """Read the next piece of a long journal; once it is whole, it takes the place of the glance."""
        whole = self._whole
        whole.poll(_FILL_PIECE)
        history.keep(whole)
        if whole.behind:
            self.seen.filled = whole.covered / max(whole.covered + whole.unread, 1)
            return True
        if self.wanted.sample is not None:
            self.wanted.sample = _same_place(self.view.samples, self.wanted.sample, whole.samples)
        self.view, self.seen.filled = whole, None
        return True

    def _present_marks(self) -> tuple[object, ...]:
        """What is worth drawing at once when it changes; curves can wait for their second."""
        view = self.view
        counts = (len(view.controls), len(view.alarms), len(view.samples))
        return (view.state, *counts, len(view.damage), view.behind, view is self._whole, self.seen.place)

    def _read_log(self) -> bool:
        if not self.wanted.log and self.view.state not in {"failed", "crashed"}:
            return False
        try:
            found = self.view.run.log_file.stat()
        except OSError:
            return False
        mark = (found.st_size, found.st_mtime_ns)
        if mark == self._log_mark:
            return False
        self._log_mark = mark
        self.seen.log = read_tail(self.view.run.log_file)
        return True

    def _read_samples(self) -> None:
        events = self.view.samples
        if not events:
            return
        wanted = self.wanted.sample
        place = len(events) - 1 if wanted is None else max(0, min(wanted, len(events) - 1))
        found = self._load(events[place])
        if found is not None:
            self.seen.samples, self.seen.sample_problem = found, ""
        self.seen.place = place

    def _load(self, event: Event) -> SampleSet | None:
        key, cache = int(event["seq"]), self.seen.cache
        if key not in cache:
            try:
                cache[key] = self.view.load_sample(event)
            except FtError as error:
                self.seen.samples, self.seen.sample_problem = None, str(error)
                return None
            while len(cache) > _KEPT_SETS:
                del cache[next(iter(cache))]
        return cache[key]


def _same_place(before: list[Event], place: int, after: list[Event]) -> int | None:
    """Where the set of answers that stood at `place` stands in a fuller list; None for the newest."""
    seq = before[place]["seq"] if place < len(before) else None
    return next((index for index, event in enumerate(after) if event["seq"] == seq), None)
