"""What a file is, told from its first bytes rather than from its name."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Literal

from ft_core.data.frames import BLOCK, ROW_CAP, Mark
from ft_core.errors import FtError, problem
from ft_core.text import one_line

BOM = b"\xef\xbb\xbf"
_SUFFIXES = (".jsonl", ".json", ".ndjson")
_BY_PANDAS = "turn it into JSON Lines: pandas.{}.to_json(g, orient='records', lines=True)"
_OTHER_FORMATS = (
    (b"\x1f\x8b", "a gzip archive", "unpack it with gunzip"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it with unzstd"),
    (b"PK\x03\x04", "a zip archive", "unpack it with unzip"),
    (
        b"PAR1",
        "a Parquet file",
        _BY_PANDAS.format("read_parquet(f)"),
    ),
    (b"\xff\xfe", "UTF-16 text", "turn it into UTF-8 with iconv -f utf-16 -t utf-8"),
    (b"\xfe\xff", "UTF-16 text", "turn it into UTF-8 with iconv -f utf-16 -t utf-8"),
)
_WAYS_OUT = {
    ".csv": _BY_PANDAS.format("read_csv(f)"),
    ".tsv": _BY_PANDAS.format("read_csv(f, sep='\\t')"),
    ".parquet": _BY_PANDAS.format("read_parquet(f)"),
    ".gz": "unpack it with gunzip",
    ".zst": "unpack it with unzstd",
}

Kind = Literal["lines", "array"]


def sniff(path: Path) -> tuple[Kind, Mark]:
    """Whether a file has one row a line or is one JSON array, and where its first row begins.

    FtError when it is neither, with the way out; OSError when it cannot be read.
    """
    _check_kind_of_file(path)
    with path.open("rb") as stream:
        head = stream.read(BLOCK)
    for magic, name, remedy in _OTHER_FORMATS:
        if head.startswith(magic):
            raise _refused(path, f"this is {name}", "only plain .jsonl and .json files are read so far", remedy)
    skipped = len(BOM) if head.startswith(BOM) else 0
    text = head[skipped:].lstrip()
    if not text and len(head) < BLOCK:
        raise _refused(path, "the file holds no rows", "it is empty", "choose a file with one JSON object a line")
    if text.startswith(b"["):
        offset = len(head) - len(text) + 1
        return "array", Mark(1, head.count(b"\n", 0, offset) + 1, offset)
    if text.startswith(b"{"):
        _check_not_one_object(path, text)
    return "lines", Mark(1, 1, skipped)


def _check_kind_of_file(path: Path) -> None:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise _refused(path, "this is a folder", "rows are read from one file", "choose a .jsonl or .json file in it")
    if not stat.S_ISREG(mode):
        raise _refused(path, "this is no ordinary file", "rows are read more than once", "save it as a file first")
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        why = f"its name ends in {one_line(suffix, 20) or 'nothing'}; .jsonl and .json are read so far"
        raise _refused(path, "this is no .jsonl or .json file", why, _WAYS_OUT.get(suffix, "save it as JSON Lines"))


def _check_not_one_object(path: Path, text: bytes) -> None:
    """Refuse a file that is one JSON object over all its lines, instead of calling every line a bad row."""
    lines = [line for line in text.splitlines()[:8] if line.strip()]
    if len(lines) == 1 and path.suffix.lower() == ".json" and _is_whole_file(path):
        raise _one_object(path)
    left_open = lines[0].rstrip().endswith((b",", b"{", b"[")) and not any(map(_is_object, lines))
    if len(lines) > 1 and (left_open or lines[0].strip() == b"{"):
        raise _one_object(path)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _is_whole_file(path: Path) -> bool:
    """Whether the first line that is not blank is the only one; an endless line counts as the only one."""
    with path.open("rb") as stream:
        while (line := stream.readline(ROW_CAP)).isspace():
            pass
        return len(line) == ROW_CAP or not stream.read(BLOCK).strip()


def _one_object(path: Path) -> FtError:
    key, count = _list_inside(path)
    name = one_line(path.name, 60)
    if key is not None:
        why = f"its field `{key}` holds a list of {count} rows, which could be used"
        remedy = f"take the list out: jq -c '.[\"{key}\"][]' {name} > rows.jsonl"
    else:
        why = "rows are a list [...] of objects, or one object a line"
        by_name, in_sequence = f"jq -c '.[]' {name} > rows.jsonl", f"jq -c . {name} > rows.jsonl"
        remedy = f"if its rows lie under names: {by_name}; if rows follow each other: {in_sequence}"
    return _refused(path, "the file is one JSON object, not a list of rows", why, remedy)


def _list_inside(path: Path) -> tuple[str | None, int]:
    """The name of the longest list of objects in a file that is one object, and its length."""
    if path.stat().st_size > ROW_CAP:
        return None, 0
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None, 0
    lists = {} if not isinstance(value, dict) else {key: len(item) for key, item in value.items() if _is_rows(item)}
    if not lists:
        return None, 0
    key = max(lists, key=lambda name: lists[name])
    return one_line(key, 60), lists[key]


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _refused(path: Path, what: str, why: str, remedy: str) -> FtError:
    return problem(what, where=one_line(str(path), 300), why=why, remedy=remedy)
