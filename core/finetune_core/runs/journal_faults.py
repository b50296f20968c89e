"""What is wrong with a journal as it is read: events that are missing, lines that cannot be read."""

from __future__ import annotations

from typing import Any, Final

from finetune_core.text import counted

_BEGINNING: Final = b'{"v":'
# What a power cut leaves where a line was to come.
_NOTHING: Final = b"\0 \t\r"


class Faults:
    """The faults of the part of a journal that was read, from its beginning where `expected` is 1.

    A line that a kill cut short is none, nor the zeros of a power cut, as long as no event is missing: what was not
    written to its end was never acknowledged.
    """

    def __init__(self, expected: int | None = 1) -> None:
        self.expected = expected
        self.missing = 0
        self.after: int | None = None
        self.again = 0
        self.unreadable = 0
        self.changed = 0

    def __bool__(self) -> bool:
        return bool(self.missing or self.again or self.unreadable or self.changed)

    @property
    def last(self) -> int:
        """The seq of the last event that was read; 0 before the first."""
        return (self.expected or 1) - 1

    def take(self, seq: int, *, changed: bool = False) -> None:
        """An event was read, which may have been changed since it was written."""
        self.changed += changed
        if self.expected is not None and seq != self.expected:
            self._out_of_order(seq, self.expected)
        self.expected = max(seq + 1, self.expected or 0)

    def _out_of_order(self, seq: int, expected: int) -> None:
        if seq < expected:
            self.again += 1
            return
        self.missing += seq - expected
        self.after = expected - 1 if self.after is None else self.after

    def take_unreadable(self, line: bytes) -> None:
        """A line was read that is no event."""
        stripped = line.strip(_NOTHING)
        if stripped and not _torn(stripped):
            self.unreadable += 1

    def shorter_than(self, known: int) -> str:
        """In words that events up to the seq `known` had been written; empty where they are here."""
        if known <= self.last:
            return ""
        return f"it ends with event {self.last}, and {known} had been written"

    def words(self) -> list[str]:
        """Each fault in words."""
        found = []
        if self.missing:
            found.append(f"{_of(self.missing, 'event')} missing after event {self.after}")
        if self.unreadable:
            found.append(f"{counted(self.unreadable, 'line')} cannot be read")
        if self.again:
            found.append(f"{counted(self.again, 'event')} came twice or out of order")
        if self.changed:
            found.append(f"{_of(self.changed, 'line')} not what was written")
        return found

    def to_data(self) -> list[Any]:
        """As plain values."""
        return [self.expected, self.missing, self.after, self.again, self.unreadable, self.changed]

    @classmethod
    def from_data(cls, found: list[Any]) -> Faults:
        """What `to_data` gave."""
        made = cls()
        made.expected, made.missing, made.after, made.again, made.unreadable, made.changed = found
        return made


def _of(count: int, word: str) -> str:
    return f"{counted(count, word)} {'is' if count == 1 else 'are'}"


def _torn(line: bytes) -> bool:
    """Whether a line is the beginning of an event, and not its whole."""
    if line.startswith(_BEGINNING):
        return not line.endswith(b"}") or line.count(b"{") > line.count(b"}")
    return _BEGINNING.startswith(line)
