"""A person's decisions on synthetic rows, kept in a journal beside them; what was accepted joins a file of its own.

Three files: `X.pending.jsonl` is written by the generator alone; `X.decisions.jsonl` gets one line a decision;
`X.accepted.jsonl` holds the accepted rows and follows from the other two, so that a kill at any moment costs nothing.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, Self

from finetune_core.data.rows import Conversation, Message
from finetune_core.data.synthetic.append import AppendFile, whole_lines
from finetune_core.data.synthetic.pending import (
    PendingRow,
    as_conversation,
    as_turns,
    beside,
    identity,
    line_of,
    pending_file,
    read_pending,
)
from finetune_core.errors import problem
from finetune_core.files import write_atomic
from finetune_core.text import one_line

DECISIONS: Final = ".decisions.jsonl"
ACCEPTED: Final = ".accepted.jsonl"
_VERSION: Final = 1

State = Literal["waiting", "accepted", "rejected"]


@dataclass(frozen=True)
class _Entry:
    """One decision of the journal; `messages` only where a row was edited."""

    do: str
    rows: tuple[str, ...]
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True)
class ReviewedRow:
    """A row as it stands now: `row` with the user's changes, if it was edited; `state` is what was decided on it."""

    found: PendingRow
    row: Conversation
    state: State
    edited: bool

    @property
    def id(self) -> str:
        """What decisions name the row by."""
        return self.found.id

    @cached_property
    def line(self) -> bytes:
        """The row as the file of accepted rows holds it."""
        return line_of(self.row.messages, self.found.origin, edited=self.edited)


@dataclass(frozen=True)
class Counts:
    """How many rows were accepted and rejected, and how many wait."""

    waiting: int
    accepted: int
    rejected: int


@dataclass
class _Decided:
    """What the journal says, undone decisions taken away."""

    entries: list[_Entry] = field(default_factory=list)
    states: dict[str, State] = field(default_factory=dict)
    edits: dict[str, tuple[Message, ...]] = field(default_factory=dict)

    def add(self, entry: _Entry) -> None:
        if entry.do == "undo":
            kept = self.entries[:-1]
            self.entries, self.states, self.edits = [], {}, {}
            for one in kept:
                self.add(one)
            return
        self.entries.append(entry)
        if entry.do == "edit":
            self.edits |= dict.fromkeys(entry.rows, entry.messages)
        else:
            self.states |= dict.fromkeys(entry.rows, "accepted" if entry.do == "accept" else "rejected")


class Review:
    """The review of one file of waiting rows. One process at a time; its methods may be called from any thread.

    Every decision is on the disk when its method returns, and doing it twice changes nothing. FtError when the file
    is not named as one, cannot be read, is under review elsewhere, or its accepted rows were changed by hand.
    """

    def __init__(self, path: Path) -> None:
        self.path = pending_file(path)
        self.accepted_file = beside(path, ACCEPTED)
        self._lock = threading.RLock()
        self._seen = _identity(path)
        self._found, self.problems = read_pending(path)
        self._journal = AppendFile(beside(path, DECISIONS))
        try:
            self._decided, self._lines = _fold(self._journal.lines())
            self._rows = self._merged()
            self._repair()
        except BaseException:
            self._journal.close()
            raise

    @property
    def rows(self) -> tuple[ReviewedRow, ...]:
        """Every row in the order of the file, decided or not."""
        return tuple(self._rows.values())

    @property
    def counts(self) -> Counts:
        """How far the review is."""
        return counts(self.rows)

    def accept(self, *ids: str) -> None:
        """Let rows join; they are written in their order in the pending file."""
        self._decide("accept", "accepted", ids)

    def reject(self, *ids: str) -> None:
        """Leave rows out."""
        self._decide("reject", "rejected", ids)

    def edit(self, id_: str, messages: Sequence[Message]) -> None:
        """Change what a row says; it keeps its state. FtError when it would be no conversation any more."""
        found = as_conversation({"messages": as_turns(messages)})
        if isinstance(found, str):
            where = f"row {self._row(id_).found.number}"
            remedy = "fill every turn; the assistant has the last word"
            raise problem("the row cannot be changed so", where=where, why=found, remedy=remedy)
        with self._lock:
            if as_turns(self._row(id_).row.messages) != as_turns(found.messages):
                self._write(_Entry("edit", (id_,), found.messages))

    def undo(self) -> tuple[str, ...]:
        """Take the last decision back, also an earlier session's; gives the rows it was about, if there was one."""
        with self._lock:
            if not self._decided.entries:
                return ()
            last = self._decided.entries[-1]
            self._write(_Entry("undo", last.rows))
            return last.rows

    def reload(self) -> bool:
        """Look for rows that the generator has added; whether there are any."""
        with self._lock:
            if (now := _identity(self.path)) == self._seen:
                return False
            before, self._seen = self._found, now
            self._found, self.problems = read_pending(self.path)
            if self._found == before:
                return False
            self._rows = self._merged()
            return True

    def close(self) -> None:
        """Let the files go, after a decision that is being written. Closing twice does no harm."""
        with self._lock:
            self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _decide(self, do: str, state: State, ids: Iterable[str]) -> None:
        with self._lock:
            changed = tuple(id_ for id_ in dict.fromkeys(ids) if self._row(id_).state != state)
            if changed:
                self._write(_Entry(do, changed))

    def _row(self, id_: str) -> ReviewedRow:
        if id_ not in self._rows:
            raise KeyError(f"no row {id_} in {self.path}")
        return self._rows[id_]

    def _write(self, entry: _Entry) -> None:
        line = _line(entry)
        self._journal.append(line)
        self._lines.append(line)
        self._decided.add(entry)
        known = [self._rows[id_].found for id_ in entry.rows if id_ in self._rows]
        self._rows |= {row.id: row for row in _reviewed(known, self._decided)}
        write_atomic(self.accepted_file, self._wanted())

    def _merged(self) -> dict[str, ReviewedRow]:
        return {row.id: row for row in _reviewed(self._found, self._decided)}

    def _wanted(self) -> bytes:
        return b"".join(row.line + b"\n" for row in self._rows.values() if row.state == "accepted")

    def _repair(self) -> None:
        """Write the accepted rows again where a kill came between a decision and them; never over foreign changes."""
        if not self.accepted_file.exists():
            if any(row.state == "accepted" for row in self.rows):
                write_atomic(self.accepted_file, self._wanted())
            return
        lines = whole_lines(self.accepted_file)
        if b"".join(line + b"\n" for line in lines) == self._wanted():
            return
        if not set(lines) <= self._ever_written():
            raise problem(
                "the file of accepted rows was changed by hand",
                where=one_line(str(self.accepted_file), 300),
                why="it holds lines that no decision has put there, and going on would write over them",
                remedy="give it another name (mv); accepted rows are then written to a new one",
            )
        write_atomic(self.accepted_file, self._wanted())

    def _ever_written(self) -> set[bytes]:
        """Every line that the journal's decisions, undone ones too, can have put among the accepted rows."""
        known = {one.id: one for one in self._found}
        lines = {line_of(one.row.messages, one.origin) for one in self._found}
        edits = (entry for line in self._lines if (entry := _entry(line)) is not None and entry.do == "edit")
        pairs = ((known[id_], entry.messages) for entry in edits for id_ in entry.rows if id_ in known)
        return lines | {line_of(messages, one.origin, edited=True) for one, messages in pairs}


def _identity(path: Path) -> tuple[int, ...]:
    """What changes when the file does; nothing for one that is not there."""
    try:
        state = path.stat()
    except OSError:
        return ()
    return state.st_ino, state.st_size, state.st_mtime_ns


def counts(rows: Iterable[ReviewedRow]) -> Counts:
    """How many rows are in each state."""
    states = [row.state for row in rows]
    return Counts(states.count("waiting"), states.count("accepted"), states.count("rejected"))


def rejected_ids(path: Path) -> frozenset[str]:
    """The rows of a pending file that a person rejected; read without taking the review's lock."""
    return frozenset(id_ for id_, state in _decided_beside(path).states.items() if state == "rejected")


def read_review(path: Path) -> tuple[ReviewedRow, ...]:
    """The rows of a pending file with what was decided on each; read without taking the review's lock."""
    found, _ = read_pending(pending_file(path))
    return tuple(_reviewed(found, _decided_beside(path)))


def _decided_beside(path: Path) -> _Decided:
    journal = beside(path, DECISIONS)
    return _fold(whole_lines(journal))[0] if journal.exists() else _Decided()


def _reviewed(rows: Iterable[PendingRow], decided: _Decided) -> Iterable[ReviewedRow]:
    states, edits = decided.states, decided.edits
    return (_as_decided(one, states.get(one.id, "waiting"), edits.get(one.id)) for one in rows)


def _as_decided(found: PendingRow, state: State, edit: tuple[Message, ...] | None) -> ReviewedRow:
    if edit is None or identity(edit) == found.id:
        return ReviewedRow(found, found.row, state, edited=False)
    return ReviewedRow(found, replace(found.row, messages=edit), state, edited=True)


def _fold(lines: Sequence[bytes]) -> tuple[_Decided, list[bytes]]:
    decided = _Decided()
    for line in lines:
        entry = _entry(line)
        if entry is not None:
            decided.add(entry)
    return decided, list(lines)


def _line(entry: _Entry) -> bytes:
    value: dict[str, object] = {"v": _VERSION, "t": round(time.time(), 3), "do": entry.do, "rows": list(entry.rows)}
    if entry.messages:
        value["messages"] = as_turns(entry.messages)
    return json.dumps(value, ensure_ascii=True).encode()


def _entry(line: bytes) -> _Entry | None:
    """The decision of a line; None for anything that is none, so that a damaged line costs only itself."""
    try:
        value = json.loads(line)
        if value["v"] != _VERSION or value["do"] not in ("accept", "reject", "edit", "undo"):
            return None
        turns = tuple(Message(str(turn["role"]), str(turn["content"])) for turn in value.get("messages", ()))
        rows = tuple(str(id_) for id_ in value["rows"])
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return _Entry(value["do"], rows, turns) if turns or value["do"] != "edit" else None
