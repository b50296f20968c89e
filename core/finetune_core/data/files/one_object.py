"""A file that is one JSON object instead of rows: refused, with the command that makes rows of it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from finetune_core.data.files.base import refused
from finetune_core.data.files.row_offsets import BLOCK
from finetune_core.data.files.streams import Source
from finetune_core.errors import FtError
from finetune_core.limits import ROW_BYTES
from finetune_core.text import counted, one_line

_REGISTRY = {"file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name"}
_PANDAS = "python -c \"import pandas; pandas.read_json({}).to_json('rows.jsonl', orient='records', lines=True)\""


def check_not_one_object(path: Path, source: Source, text: bytes) -> None:
    """Refuse a file that is one JSON object over all its lines, instead of calling every line a bad row.

    `text` is its beginning. FtError when it is one.
    """
    lines = [line for line in text.splitlines()[:8] if line.strip()]
    if len(lines) == 1 and ".json" in [end.lower() for end in path.suffixes] and _is_whole_file(source):
        raise _one_object(path, source)
    left_open = lines[0].rstrip().endswith((b",", b"{", b"[")) and not any(map(_is_object, lines))
    if len(lines) > 1 and (left_open or lines[0].strip() == b"{"):
        raise _one_object(path, source)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _is_whole_file(source: Source) -> bool:
    """Whether the first line that is not blank is the only one; an endless line counts as the only one."""
    source.seek(0)
    while (line := source.readline(ROW_BYTES)).isspace():
        pass
    return len(line) == ROW_BYTES or not source.read(BLOCK).strip()


def _one_object(path: Path, source: Source) -> FtError:
    value = _whole(source)
    if _is_registry(value):
        why = "it says where data sets lie and holds no rows itself"
        remedy = "choose one of the files it names (`file_name`), or a data set of the hub (`hub:owner/name`)"
        return refused(path, "this is a registry of data sets", why, remedy, "registry")
    why, remedy = _way_out(value, shlex.quote(one_line(path.name, 60)))
    return refused(path, "the file is one JSON object, not a list of rows", why, remedy, "not-rows")


def _is_registry(value: object) -> bool:
    """Whether every field describes a data set, as other tools' dataset_info.json does."""
    entries = list(value.values()) if isinstance(value, dict) else []
    return bool(entries) and all(isinstance(entry, dict) and _REGISTRY & set(entry) for entry in entries)


def _whole(source: Source) -> object:
    """The object, if it is small enough to be looked at."""
    source.seek(0)
    data = source.read(ROW_BYTES + 1)
    try:
        return json.loads(data) if len(data) <= ROW_BYTES else None
    except (ValueError, RecursionError):
        return None


def _way_out(value: object, name: str) -> tuple[str, str]:
    """Why the file holds no rows as it is, and the command that makes some."""
    fields = value if isinstance(value, dict) else {}
    lists = {key: len(item) for key, item in fields.items() if _are_rows(item)}
    if lists:
        key = max(lists, key=lambda name: lists[name])
        why = f"its field `{one_line(key, 60)}` holds a list of {counted(lists[key], 'row')}, which could be used"
        inside = json.dumps(one_line(key, 60), ensure_ascii=False)
        return why, f"take the list out: jq -c {shlex.quote(f'.[{inside}][]')} {name} > rows.jsonl"
    if _are_columns(fields):
        columns = counted(len(fields), "field is a column", "fields are columns of equal length")
        why = f"its {columns}, which could be turned into rows"
        return why, f"turn it: {_PANDAS.format(repr(name.strip(chr(39))))}"
    if len(fields) > 1 and all(isinstance(item, dict) for item in fields.values()):
        why = f"its {len(fields)} fields hold an object each: a dict of records, which could be used"
        return why, f"take the records out of their names: jq -c '.[]' {name} > rows.jsonl"
    why = "rows are a list [...] of objects, or one object a line"
    by_name, in_sequence = f"jq -c '.[]' {name} > rows.jsonl", f"jq -c . {name} > rows.jsonl"
    return why, f"if its rows lie under names: {by_name}; if rows follow each other: {in_sequence}"


def _are_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _are_columns(fields: dict[str, object]) -> bool:
    """Whether every field is a list, or every one an object, of the same length and, for objects, of row numbers."""
    columns = list(fields.values())
    if len(columns) < 2 or not columns[0]:
        return False
    if all(isinstance(column, list) for column in columns):
        return len({len(column) for column in columns if isinstance(column, list)}) == 1
    numbered = [list(column) for column in columns if isinstance(column, dict) and all(map(str.isdigit, column))]
    return len(numbered) == len(columns) and all(names == numbered[0] for names in numbered)
