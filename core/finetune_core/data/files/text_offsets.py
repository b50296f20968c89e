"""Where the records of a CSV or TSV file and the paragraphs of a text lie, and what they hold."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence

from finetune_core.data.files.parse import not_text
from finetune_core.data.files.row_offsets import BLOCK, Fault, Frame, Lines, Mark, capped
from finetune_core.limits import ROW_BYTES

# Python's own limit for a cell is 128 KiB.
csv.field_size_limit(ROW_BYTES)

_QUOTING = Fault(
    "a quotation mark in the row is not closed, or stands inside a cell",
    "a cell in quotes ends with one followed by the next cell, and doubles those inside it",
    'write " inside a quoted cell as "", or save the table again with a program that quotes',
)


class Quotes:
    """Finds whether a record goes on behind a line end, by RFC 4180 and a delimiter."""

    def __init__(self, delimiter: str) -> None:
        mark = re.escape(delimiter.encode())
        inside = rb'(?:[^"]++|"")*+'
        bare = rb'(?:[^"\n' + mark + rb"][^\n" + mark + rb"]*+)?+"
        field = rb'(?:"' + inside + rb'"|' + bare + rb")"
        behind, end = rb"(?:" + field + mark + rb")*+", rb"(?:\r?\n)?\Z"
        later = rb'"(?:' + mark + behind + field + rb")?+" + end
        self._closed = re.compile(behind + field + end)
        self._open = re.compile(behind + rb'"' + inside + rb"\Z")
        self._then_closed = re.compile(inside + later)
        self._then_open = re.compile(inside + rb'(?:"' + mark + behind + rb'"' + inside + rb")?+\Z")

    def after(self, line: bytes, *, inside: bool) -> bool | None:
        """Whether a quoted cell is open behind a line that began `inside` one, or not; None for what is no CSV."""
        if (self._then_closed if inside else self._closed).match(line):
            return False
        return True if (self._then_open if inside else self._open).match(line) else None


def csv_frames(stream: Lines, start: Mark, delimiter: str) -> Iterator[Frame]:
    """The records of a table from `start` on. Blank lines are passed over.

    A record whose quotes do not work out is bad, and ends with its first line, so that it hides none of the others.
    """
    stream.seek(start.offset)
    quotes = Quotes(delimiter)
    number, line, offset = start.number, start.line, start.offset
    while (taken := _line(stream))[1]:
        text, size, lines = *taken, 1
        if text.isspace():
            line, offset = line + 1, offset + size
            continue
        mark, fault = Mark(number, line, offset), None
        if b'"' in text and size <= ROW_BYTES:
            more = _rest(stream, quotes, text)
            if more is None:
                fault = None if delimiter == "\t" else _QUOTING
                stream.seek(offset + size)
            else:
                size, lines = size + more[0], 1 + more[1]
        yield Frame(mark, size, fault) if fault else capped(mark, size)
        number, line, offset = number + 1, line + lines, offset + size


def _line(stream: Lines) -> tuple[bytes, int]:
    """The next line, of one too long to be a row only the beginning; and its size."""
    text = part = stream.readline(BLOCK)
    size = len(text)
    parts = [text]
    while part and not part.endswith(b"\n") and (part := stream.readline(BLOCK)):
        size += len(part)
        if size <= ROW_BYTES:
            parts.append(part)
    return b"".join(parts), size


def _rest(stream: Lines, quotes: Quotes, text: bytes) -> tuple[int, int] | None:
    """(bytes, lines) that a record goes on for behind its first line; None when its quotes do not work out."""
    size = lines = 0
    is_open = quotes.after(text, inside=False)
    while is_open and size <= ROW_BYTES:
        text, more = _line(stream)
        if not more:
            return None
        size, lines = size + more, lines + 1
        is_open = quotes.after(text, inside=True)
    return None if is_open or is_open is None else (size, lines)


def parse_record(data: bytes, columns: Sequence[str], delimiter: str) -> dict[str, object] | Fault:
    """A record's cells by the names of the header, always as text; or why it is none."""
    cells = read_cells(data, delimiter)
    if isinstance(cells, Fault):
        return cells
    if len(cells) != len(columns):
        what = f"the row has {len(cells)} cells, but the header has {len(columns)}"
        remedy = "put cells that hold the delimiter in quotes, or mend the row"
        return Fault(what, f"cells are separated by {delimiter_words(delimiter)}", remedy)
    return dict(zip(columns, cells, strict=True))


def delimiter_words(delimiter: str) -> str:
    """A delimiter for people."""
    return {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars (|)"}.get(delimiter, delimiter)


def read_cells(data: bytes, delimiter: str) -> list[str] | Fault:
    """The cells of one record."""
    text = decoded(data)
    if isinstance(text, Fault):
        return text
    line = text.removesuffix("\n").removesuffix("\r")
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        # Many TSV files are written without any quoting: a quotation mark is then a letter as any other.
        return line.split("\t") if delimiter == "\t" else _QUOTING


def parse_text(data: bytes) -> dict[str, object] | Fault:
    """A paragraph as a row with one field, `text`."""
    text = decoded(data)
    if isinstance(text, Fault):
        return text
    return {"text": text.strip("\r\n").replace("\r\n", "\n")}


def decoded(data: bytes) -> str | Fault:
    """Bytes as text. UTF-8 only; a zero byte is damage, or another encoding."""
    try:
        text = data.decode("utf-8-sig" if data.startswith(b"\xef\xbb\xbf") else "utf-8")
    except UnicodeDecodeError as error:
        return not_text(data, error)
    if "\0" not in text:
        return text
    why = f"byte {data.index(0) + 1} of the row is a zero byte"
    return Fault("the row holds zero bytes", why, "save the file as UTF-8, or copy it again if it was damaged")


def text_frames(stream: Lines, start: Mark) -> Iterator[Frame]:
    """The paragraphs of a text from `start` on: lines without a blank line between them."""
    stream.seek(start.offset)
    number, line, offset = start.number, start.line, start.offset
    mark, size = None, 0
    while (taken := _line(stream))[1]:
        text, length = taken
        if text.isspace():
            if mark is not None:
                yield capped(mark, size)
                number, mark, size = number + 1, None, 0
        else:
            mark, size = mark or Mark(number, line, offset), size + length
        line, offset = line + 1, offset + length
    if mark is not None:
        yield capped(mark, size)
