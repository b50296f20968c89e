"""Open anything that holds rows, and read it row by row; a bad row never hides a good one."""

from __future__ import annotations

from pathlib import Path

from finetune_core import demo
from finetune_core.data.files.base import HEAD_BYTES, HEAD_ROWS, Container, Row, RowFile, unreadable
from finetune_core.data.files.folder import open_folder
from finetune_core.data.files.hub import HUB, looks_like_id, stored
from finetune_core.data.files.parse import parse
from finetune_core.data.files.sniff import SUFFIXES, open_file
from finetune_core.errors import problem
from finetune_core.paths import expanded
from finetune_core.text import one_line

__all__ = [
    "DEMO",
    "HEAD_BYTES",
    "HEAD_ROWS",
    "SUFFIXES",
    "Container",
    "Row",
    "RowFile",
    "open_rows",
    "parse",
    "resolve_source",
]

DEMO = "demo"


def open_rows(source: str, *, held_out: bool = False) -> RowFile:
    """Open a file, a folder of shards, a folder saved by `datasets`, a fetched data set of the hub, or `demo`.

    FtError, with the way out, when it is missing, unreadable, empty, or holds no rows. A data set of the hub
    (`hub:owner/name#config/split`) has to be fetched before: `finetune_core.data.files.hub.fetch`.
    """
    path = resolve_source(source, held_out=held_out)
    return open_folder(path) if path.is_dir() else open_file(path)


def resolve_source(source: str, *, held_out: bool = False) -> Path:
    """The file or folder a recipe's `data.source` (or `data.held_out`) names. FtError when it names none."""
    field = "data.held_out" if held_out else "data.source"
    if source == DEMO:
        return demo.held_out_file() if held_out else demo.train_file()
    if not source.strip() or "\0" in source:
        raise problem(
            "no file of rows is chosen",
            where=field,
            why="the path is empty or holds a zero byte",
            remedy=f"give the path of a file or folder of rows, {HUB}owner/name, or `demo`",
        )
    if source.startswith(HUB):
        return stored(source)
    path = expanded(source)
    try:
        there = path.exists()
    except OSError as error:
        raise unreadable(path, error) from error
    if looks_like_id(source) and not there:
        raise problem(
            "there is no such file",
            where=one_line(source, 200),
            why="it looks like a data set of the hub, which is written with `hub:` before it",
            remedy=f"write {HUB}{source}, or check the path",
        )
    return path
