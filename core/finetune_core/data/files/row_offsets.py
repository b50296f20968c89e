"""Where each row of a JSON Lines file or of a JSON array lies, found in one pass and in bounded memory.

Finding a row is kept apart from parsing it, so that a row that cannot be parsed costs only itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from finetune_core.limits import ROW_BYTES

BLOCK = 2**18

_UP_TO_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\\n]++|\\.)*+")*+', re.DOTALL)
_REST_OF_STRING = re.compile(rb'(?:[^"\\\n]++|\\.)*+', re.DOTALL)
_BETWEEN_ROWS = b" \t\r\n,"
_MAYBE_BLANK = re.compile(rb"\n\s")


class Lines(Protocol):
    """Bytes that are read forward, and by offset."""

    def seek(self, offset: int, /) -> int:
        """Go to a byte."""
        ...

    def read(self, size: int, /) -> bytes:
        """The next bytes; fewer at the end."""
        ...

    def readline(self, size: int, /) -> bytes:
        """The rest of the line, at most `size` bytes of it."""
        ...


class Bytes(Lines, Protocol):
    """Bytes that can be looked back into."""

    def pread(self, size: int, offset: int) -> bytes:
        """Bytes from `offset` on, without moving."""
        ...


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a row begins: its number and line (both from 1), its byte (from 0)."""

    number: int
    line: int
    offset: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row cannot be had; the words of a Problem whose place is added later."""

    what: str
    why: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Frame:
    """Where one row lies (bytes), or why it cannot be had."""

    mark: Mark
    size: int
    fault: Fault | None = None


TOO_LONG = Fault(
    "the row is too long to read",
    f"it is longer than {ROW_BYTES // 2**20} MiB",
    "split it into several rows, or check that rows are really separated",
)


def capped(mark: Mark, size: int) -> Frame:
    """A frame, faulty when it is longer than a row may be."""
    if size <= ROW_BYTES:
        return Frame(mark, size)
    return Frame(mark, size, TOO_LONG)


def line_frames(stream: Lines, start: Mark) -> Iterator[Frame]:
    """The rows of a JSON Lines file from `start` on. Blank lines are passed over but counted as lines."""
    stream.seek(start.offset)
    number, line, offset = start.number, start.line, start.offset
    while text := stream.readline(BLOCK):
        size, blank = len(text), text.isspace()
        while not text.endswith(b"\n") and (text := stream.readline(BLOCK)):
            size, blank = size + len(text), blank and text.isspace()
        if not blank:
            yield capped(Mark(number, line, offset), size)
            number += 1
        line, offset = line + 1, offset + size


def line_counts(
    stream: Lines, start: Mark, remember: Callable[[Mark], None] | None = None
) -> Iterator[tuple[int, int]]:
    """Pairs (rows, bytes) seen so far, as fast as the disk gives them; the last pair is the whole file's.

    Agrees with `line_frames`. `start` is where the first row begins (behind a byte order mark); `remember` is given
    a mark in every block, so that one can go there later.
    """
    stream.seek(start.offset)
    rows, line, seen, begun = 0, start.line, start.offset, False
    while block := stream.read(4 * BLOCK):
        first = block.find(b"\n") + 1
        if first:
            # Of an unfinished line only its being blank matters.
            rows += begun or not block[:first].isspace()
            if remember is not None:
                remember(Mark(start.number + rows, line + 1, seen + first))
            more, begun = _rows_in(block, first)
            rows, line = rows + more, line + block.count(b"\n")
        else:
            begun = begun or not block.isspace()
        seen += len(block)
        yield rows, seen
    yield rows + begun, seen


def _rows_in(block: bytes, first: int) -> tuple[int, bool]:
    """How many rows end in the block from `first` (the start of a line) on, and whether another one begins."""
    begins = bool(block[block.rfind(b"\n") + 1 :].strip())
    if _MAYBE_BLANK.search(block, first - 1) is None:
        return block.count(b"\n", first), begins
    *lines, _ = block[first:].split(b"\n")
    return sum(1 for text in lines if text and not text.isspace()), begins


def array_frames(stream: Bytes, start: Mark) -> Iterator[Frame]:
    """The elements of a JSON array, from `start` (just behind its opening bracket, or at an element) on."""
    number, line, depth = start.number, start.line, 0
    begin, behind = start, start.offset
    for sign, at, newlines in _brackets(stream, start.offset):
        line += newlines
        if sign in b"{[" and depth == 0:
            begin = Mark(number, line, at)
            if _is_junk(stream, behind, at):
                yield Frame(begin, at - behind, _NOT_OBJECTS)
                number += 1
                begin = Mark(number, line, at)
        elif depth == 0:
            yield from _after_last(stream, Mark(number, line, behind), at)
            return
        depth += 1 if sign in b"{[" else -1
        if depth == 0:
            behind = at + 1
            yield capped(begin, behind - begin.offset)
            number += 1
    yield _cut_off(begin if depth else Mark(number, line, behind), inside=depth > 0)


_NOT_OBJECTS = Fault(
    "something between the rows is no row",
    "each element of the list has to be an object with named fields",
    "remove it, or write each row as {...}",
)
_BEHIND_LIST = Fault(
    "there is more behind the end of the list",
    "a .json file holds one list; what comes behind its closing bracket is not read",
    "put everything into one list, or write one row a line and name the file .jsonl",
)


def _ends(where: str) -> Fault:
    return Fault(
        f"the file ends {where}",
        "a bracket or a quotation mark is never closed: the file was cut off, or is damaged here",
        "copy the file again, or mend it here; rows from here on cannot be separated",
    )


_ROW_NOT_CLOSED, LIST_NOT_CLOSED = _ends("inside this row"), _ends("before the list is closed")


def _after_last(stream: Bytes, mark: Mark, end: int) -> Iterator[Frame]:
    if _is_junk(stream, mark.offset, end):
        yield Frame(mark, end - mark.offset, _NOT_OBJECTS)
        mark = Mark(mark.number + 1, mark.line, end)
    if _is_junk(stream, end + 1, None):
        yield Frame(mark, 0, _BEHIND_LIST)


def _cut_off(mark: Mark, *, inside: bool) -> Frame:
    return Frame(mark, 0, _ROW_NOT_CLOSED if inside else LIST_NOT_CLOSED)


def _is_junk(stream: Bytes, begin: int, end: int | None) -> bool:
    """Whether anything but commas and white space lies between two places (up to the end of the file for None)."""
    while end is None or begin < end:
        try:
            text = stream.pread(BLOCK if end is None else min(end - begin, BLOCK), begin)
        except OSError:
            # More lies between them than is kept of an archive: no list of rows looks like that.
            return True
        if not text:
            return False
        if text.strip(_BETWEEN_ROWS):
            return True
        begin += len(text)
    return False


def _brackets(stream: Bytes, offset: int) -> Iterator[tuple[bytes, int, int]]:
    """Each bracket outside strings: (bracket, its byte, newlines since the one before).

    A raw newline cannot stand in a JSON string, so one there ends a string that was never closed: in a file with
    one row a line the damage stays within its row.
    """
    stream.seek(offset)
    in_string, skip, newlines = False, 0, 0
    while block := stream.read(BLOCK):
        position, counted = skip, 0
        while position < len(block):
            if in_string:
                position, in_string = _leave_string(block, position)
                continue
            position = _end(_UP_TO_BRACKET.match(block, position)) + 1
            sign = block[position - 1 : position]
            in_string = sign == b'"'
            if sign and not in_string:
                newlines += block.count(b"\n", counted, position)
                yield sign, offset + position - 1, newlines
                newlines, counted = 0, position
        newlines += block.count(b"\n", counted)
        skip = position - len(block) if in_string else 0
        offset += len(block)


def _leave_string(block: bytes, position: int) -> tuple[int, bool]:
    """From inside a string: the place behind it, or where to go on behind the block; whether it is open still."""
    end = _end(_REST_OF_STRING.match(block, position))
    if end == len(block):
        return end, True
    if block[end : end + 1] == b"\\":
        # The block ends between a backslash and the character it escapes.
        return end + 2, True
    return end + 1, False


def _end(match: re.Match[bytes] | None) -> int:
    """Where a match ends, of a pattern that matches everywhere."""
    assert match is not None
    return match.end()
