"""Keys in the order typed: each acts when everything the one before it led to has happened.

Textual forwards a letter straight to the focused field, while a bound key bubbles through the queue of every widget
around it; a screen is built, and a widget focused, by messages that come later still. So of keys that come in a burst,
as over a slow connection, the letters would overtake Tab, Backspace, Enter and the arrows. Here a key that comes while
the app is still at work waits, as in the type-ahead buffer of a terminal. The mouse and the size of the terminal do
not wait, nor do the keys that end the program.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final, TypeGuard

from textual import events
from textual.app import App
from textual.message_pump import MessagePump
from textual.widget import Widget
from textual.widgets import Input, TextArea

# How often a key looks whether the app is at rest and has read what the key needs, before it acts on what is there:
# some six seconds where nothing happens. A clock alone would let keys overtake each other on a machine that is busy.
MOST_LOOKS: Final = 2500
# The first looks are taken as often as the app comes to them, the later ones with a pause.
_EAGER_LOOKS: Final = 20
_PAUSE_SECONDS: Final = 0.002
_LEAVES: Final = "escape"


class Typeahead:
    """The keys and pastes of an app that wait for their turn.

    A widget or screen whose content comes from a thread may have `makes_wait(key)`, which says whether a key needs what
    is still to come; it is asked while the focus is in it. Esc never waits for that.
    """

    def __init__(self, app: App[Any]) -> None:
        self._app = app
        self._waiting: deque[events.Key | events.Paste] = deque()
        self._released: events.Event | None = None
        self._field: Widget | None = None
        self._task: asyncio.Task[None] | None = None
        self._given_up: set[object] = set()

    def __bool__(self) -> bool:
        """Whether a key waits."""
        return bool(self._waiting) or self._released is not None

    def admits(self, event: events.Event) -> bool:
        """Whether the app is to act on an event now; else it is posted to the app again in its turn."""
        if not is_typed(event) or event.is_forwarded or self._is_at_once(event):
            return True
        if event is self._released:
            self._released = None
        elif self or not (self._follows_in_field(event) or self._is_ready_for(event, inside=True)):
            self._waiting.append(event)
            if self._task is None:
                self._task = asyncio.create_task(self._release(), name="type-ahead")
            return False
        self._field = self._field_of(event)
        return True

    def _is_at_once(self, event: events.Key | events.Paste) -> bool:
        """Whether this key ends the program, or says how to: that must not wait. In a text field Ctrl+C copies."""
        key = event.key if isinstance(event, events.Key) else ""
        return key == "ctrl+q" or (key == "ctrl+c" and not isinstance(self._app.focused, Input | TextArea))

    def _field_of(self, event: events.Key | events.Paste) -> Widget | None:
        """The text field that takes this letter."""
        field = self._app.focused if self._app.screen_stack else None
        letter = isinstance(event, events.Key) and event.is_printable
        return field if letter and isinstance(field, Input | TextArea) else None

    def _follows_in_field(self, event: events.Key | events.Paste) -> bool:
        """Whether this letter follows another one into the same text field: its queue keeps their order."""
        return self._field is not None and self._field_of(event) is self._field

    async def _release(self) -> None:
        """Post what waits to the app, one by one, until nothing does."""
        try:
            while self._waiting and not self._app._exit:
                await self._ready(self._waiting[0])
                self._released = self._waiting.popleft()
                if not self._app.post_message(self._released):
                    break
        finally:
            self._task = None
            if self._app._exit:
                self._waiting.clear()

    async def _ready(self, event: events.Key | events.Paste) -> None:
        """Return when the app has come to rest and has what the key acts on, or it was looked for in vain."""
        looks = 0
        while not self._app._exit:
            if self._released is None and (self._follows_in_field(event) or self._is_ready_for(event)):
                return
            if self._released is None and looks > MOST_LOOKS:
                # What holds up one key does not hold up the next ones as well, until it has been at rest in between.
                self._given_up |= {*self._at_work(), *self._loading(event)}
                return
            looks += 1
            await asyncio.sleep(0 if looks < _EAGER_LOOKS else _PAUSE_SECONDS)

    def _is_ready_for(self, event: events.Key | events.Paste, *, inside: bool = False) -> bool:
        """Whether a key can act; `inside` a handler of the app's, which is at work itself then."""
        app = self._app
        if not app.screen_stack:
            return True
        at_work = chain(self._at_work(but=app if inside else None), [app] if inside and _has_messages(app) else [])
        if self._given_up:
            self._given_up &= {*self._at_work(), *self._loading(event)}
        return all(one in self._given_up for one in chain(at_work, self._loading(event)))

    def _at_work(self, but: MessagePump | None = None) -> Iterator[object]:
        """What of the app has not come to rest: widgets with messages, and a screen that is to be laid out."""
        app = self._app
        yield from (pump for pump in (app, *app._registry) if pump is not but and _is_at_work(pump))
        screen = app.screen
        if screen._callbacks or screen._layout_required or screen._scroll_required:
            yield (screen, "layout")

    def _loading(self, event: events.Key | events.Paste) -> Iterator[object]:
        """What this key acts on and is still to come."""
        key = event.key if isinstance(event, events.Key) else ""
        place = self._app.focused or self._app.screen
        for node in () if key == _LEAVES else place.ancestors_with_self:
            makes_wait = getattr(node, "makes_wait", None)
            if makes_wait is not None and makes_wait(key):
                yield (node, "content")


def is_typed(event: events.Event) -> TypeGuard[events.Key | events.Paste]:
    """Whether an event is a key or a paste."""
    return isinstance(event, events.Key | events.Paste)


def _has_messages(pump: MessagePump) -> bool:
    return not pump._message_queue.empty() or pump._pending_message is not None or bool(pump._next_callbacks)


def _is_at_work(pump: MessagePump) -> bool:
    """Whether a widget is being built, acts on a message, or has one waiting.

    Textual has no word for this: a widget at rest is one that waits for its queue.
    """
    # The app itself has no task of its own where it runs in a terminal.
    if pump._task is None and not pump._running:
        return False
    ready: asyncio.Event = pump._message_queue.ready_event
    return ready.is_set() or not ready._waiters or _has_messages(pump)
