"""What a file is, inferred from its first bytes; from its name only where these leave it open."""

from __future__ import annotations

import csv
import json
import re
import shlex
import stat
from dataclasses import replace
from pathlib import Path
from typing import Final

from finetune_core.data.files.base import Compression, Container, Kind, RowFile, listed, refused, unreadable
from finetune_core.data.files.one_object import check_not_one_object
from finetune_core.data.files.parse import BOM
from finetune_core.data.files.row_offsets import BLOCK, Fault, Mark
from finetune_core.data.files.streams import MAGIC, Source, open_source
from finetune_core.data.files.table_file import ArrowFile, ParquetFile
from finetune_core.data.files.text_file import Layout, TextFile
from finetune_core.data.files.text_offsets import csv_frames, delimiter_words, read_cells
from finetune_core.text import one_line

# What is offered where files are chosen.
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt", ".md", ".arrow", ".gz", ".zst")
_JSON = (".jsonl", ".ndjson", ".json")
_PACKED = (".gz", ".gzip", ".zst", ".zstd")
_TEXTS: dict[str, Kind] = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".txt": "txt", ".text": "txt", ".md": "md"}
_MARKDOWN = ".markdown"
_DELIMITERS = ",\t;|"
_LINES_COMPARED = 50
_ICONV = "turn it into UTF-8: iconv -f {} -t utf-8 FILE > NEW"
_READ = "rows are read from .jsonl, .json, .csv, .tsv, .parquet, .txt and .md files, also as .gz or .zst"
_CHOOSE = "choose a file with one JSON object a line"
_RENAME = "give it the name of what it is, or convert it"
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive (or a spreadsheet)", "unpack it with unzip, or save the spreadsheet as CSV"),
    (b"BZh", "a bzip2 archive", "unpack it with bunzip2"),
    (b"\xfd7zXZ\0", "an xz archive", "unpack it with unxz"),
    (b"7z\xbc\xaf", "a 7-zip archive", "unpack it with 7z x"),
    (b"SQLite format 3\0", "a database", "write the table out: sqlite3 -csv -header FILE 'select * from TABLE'"),
    (b"\x89HDF", "an HDF5 file", "write its rows as Parquet or JSON Lines"),
    (b"%PDF", "a PDF document", "take its text out: pdftotext FILE"),
    (b"\x80\x04\x95", "a Python pickle, which may run code when it is read", "write its rows as JSON Lines"),
    (b"version https://git-lfs", "a Git LFS pointer, which stands for the file", "fetch the file itself: git lfs pull"),
    (b"<!DOCTYPE", "an HTML page", "download the file itself rather than the page about it"),
    (b"<!doctype", "an HTML page", "download the file itself rather than the page about it"),
    (b"<html", "an HTML page", "download the file itself rather than the page about it"),
    (b"\xff\xfe\0\0", "UTF-32 text", _ICONV.format("utf-32")),
    (b"\xff\xfe", "UTF-16 text", _ICONV.format("utf-16")),
    (b"\xfe\xff", "UTF-16 text", _ICONV.format("utf-16")),
)


_EXCEL: Final = re.compile(rb"sep=[^\r\n]\r?\n")


def open_file(path: Path) -> RowFile:
    """The rows of a file. FtError, with the way out, when it holds none or cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            why = "rows are read more than once"
            raise refused(path, "this is no ordinary file", why, "save it as a file first")
        return _opened(path)
    except OSError as error:
        raise unreadable(path, error) from error


def _opened(path: Path) -> RowFile:
    with path.open("rb") as stream:
        magic = stream.read(8)
    if magic.startswith(b"PAR1"):
        return ParquetFile(path, Container("parquet"))
    if magic.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return ArrowFile(path, Container("arrow"))
    compression: Compression = next((name for start, name in MAGIC if magic.startswith(start)), "")
    with open_source(path, compression) as source:
        head = source.read(BLOCK)
        _check_head(path, head, compression, source.damage)
        return TextFile(path, _layout(path, source, head, compression))


def _check_head(path: Path, head: bytes, compression: Compression, damage: Fault | None) -> None:
    if damage is not None and not head:
        raise refused(path, damage.what, damage.why, damage.remedy)
    for magic, name, remedy in _FOREIGN:
        if head.startswith(magic):
            raise refused(path, f"this is {name}", _READ, remedy, "not-rows")
    inside = f"it is packed with {compression}" if compression else _READ
    if head[257:262] == b"ustar":
        raise refused(path, "this is a tar archive", inside, f"unpack it with tar xf, then choose {_READ[19:]}")
    if compression and head.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff", b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        tool = "gunzip" if compression == "gzip" else "unzstd"
        what = f"there is a table or another archive inside the {compression} archive"
        raise refused(path, what, "only texts are unpacked on the way", f"unpack it with {tool}")
    if head[1:64:2] and not any(head[1:64:2]) and all(head[0:64:2]):
        raise refused(path, "this is UTF-16 text", "every other byte is zero", _ICONV.format("utf-16le"))
    if len(head) < BLOCK and not head.removeprefix(BOM).strip():
        raise refused(path, "the file holds no rows", "it is empty", _CHOOSE, "empty")


def suffix_of(path: Path) -> str:
    """The end of a name that names its kind, in small letters: `.csv` of `rows.CSV.gz`."""
    name = path.with_suffix("") if path.suffix.lower() in _PACKED else path
    return name.suffix.lower()


def _layout(path: Path, source: Source, head: bytes, compression: Compression) -> Layout:
    suffix = suffix_of(path)
    text = head.removeprefix(BOM).lstrip()
    start = Mark(1, 1, len(BOM) if head.startswith(BOM) else 0)
    kind = "md" if suffix == _MARKDOWN else _TEXTS.get(suffix)
    if text.startswith(b"[") and kind is None and _lines_are_lists(text):
        return Layout(Container("jsonl", compression), start)
    if text.startswith(b"[") and (kind is None or text[1:].lstrip().startswith(b"{")):
        offset = len(head) - len(text) + 1
        start = Mark(1, head.count(b"\n", 0, offset) + 1, offset)
        return Layout(Container("json", compression), start)
    if text.startswith(b"{") and (kind is None or _first_line_is_object(text)):
        check_not_one_object(path, source, text)
        return Layout(Container("jsonl", compression), start)
    if kind in ("csv", "tsv"):
        return _table(path, source, head, start, Container(kind, compression))
    if kind is not None:
        return Layout(Container(kind, compression), start, paragraphs=_has_paragraphs(head))
    if suffix in _JSON:
        return Layout(Container("jsonl", compression), start)
    why = f"its name ends in {one_line(suffix, 20) or 'nothing'}, and it does not begin as JSON"
    raise refused(path, "this is no file of rows", f"{why}; {_READ}", _RENAME, "not-rows")


def _lines_are_lists(text: bytes) -> bool:
    """Whether the first lines are a list each, rather than parts of one."""
    lines = text.splitlines()[:2]
    try:
        return len(lines) > 1 and lines[1].startswith(b"[") and isinstance(json.loads(lines[0]), list)
    except (ValueError, RecursionError):
        return False


def _first_line_is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text.splitlines()[0]), dict)
    except (ValueError, RecursionError):
        return False


def _has_paragraphs(head: bytes) -> bool:
    """Whether blank lines stand between lines of text, as far as the first block shows."""
    lines = [bool(line.strip()) for line in head.strip().split(b"\n")]
    return not all(lines)


def _table(path: Path, source: Source, head: bytes, start: Mark, container: Container) -> Layout:
    if b"\r" in head and b"\n" not in head:
        remedy = f"tr '\\r' '\\n' < {shlex.quote(one_line(path.name, 60))} > NEW"
        raise refused(path, "the lines of the table end in an old way", "by a carriage return alone", remedy)
    if (said := _EXCEL.match(head.removeprefix(BOM))) is not None:
        # Excel's own line, which names the delimiter.
        begin = start.offset + len(said[0])
        start, head = Mark(1, 2, begin), head[begin:]
    delimiter = _delimiter(head.removeprefix(BOM), "\t" if container.kind == "tsv" else ",")
    frames = csv_frames(source, start, delimiter)
    frame, first = next(frames), next(frames, None)
    cells = frame.fault or read_cells(source.pread(frame.size, frame.mark.offset), delimiter)
    if isinstance(cells, Fault):
        raise refused(path, f"the header cannot be read: {cells.what}", cells.why, cells.remedy)
    if first is None:
        why = "there is nothing behind its header"
        raise refused(path, "the table holds no rows", why, "choose a table with a header and rows", "empty")
    kind: Kind = "tsv" if delimiter == "\t" else "csv"
    columns = _names(path, cells, delimiter)
    return Layout(replace(container, kind=kind), replace(first.mark, number=1), columns, delimiter)


def _names(path: Path, cells: list[str], delimiter: str) -> tuple[str, ...]:
    """The header's names; one that is empty (the row numbers of table tools) is named by its place."""
    names = tuple(cell.strip() or f"column {place}" for place, cell in enumerate(cells, 1))
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        why = f"its header, separated by {delimiter_words(delimiter)}, holds {listed(repeated)} more than once"
        raise refused(path, "a column of the table is repeated", why, "rename or remove one of them in the first line")
    return names


def _delimiter(head: bytes, usual: str) -> str:
    """The delimiter under which the first records agree best on how many cells they have."""
    lines = head.decode(errors="replace").splitlines(keepends=True)
    lines = lines[:-1] if len(head) >= BLOCK and len(lines) > 1 else lines
    scores = {mark: _agreement(lines, mark) for mark in _DELIMITERS}
    best = max(scores.values())
    return usual if scores[usual] == best else next(mark for mark in _DELIMITERS if scores[mark] == best)


def _agreement(lines: list[str], delimiter: str) -> float:
    """The share of the first records with as many cells as the header; 0 where that has only one."""
    counts: list[int] = []
    try:
        for cells in csv.reader(lines, delimiter=delimiter):
            if cells:
                counts.append(len(cells))
            if len(counts) > _LINES_COMPARED:
                break
    except csv.Error:
        pass
    if len(counts) < 2 or counts[0] < 2:
        return 0.5 * (len(counts) == 1 and counts[0] > 1)
    return sum(count == counts[0] for count in counts[1:]) / (len(counts) - 1)
