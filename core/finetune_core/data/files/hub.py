"""Data sets of the hub: how they are named, where they are kept once fetched, and the process that fetches them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from finetune_core.child_messages import Message, run_child
from finetune_core.errors import problem
from finetune_core.paths import cache_root, private_folder
from finetune_core.text import one_line

HUB = "hub:"
DONE = ".fetched.json"
_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_PART = re.compile(r"[\w][\w .+-]{0,199}")
_FORM = f"{HUB}owner/name, {HUB}owner/name#config or {HUB}owner/name#config/split"


@dataclass(frozen=True)
class HubSource:
    """A data set of the hub; config and split are empty where they are left to the data set."""

    name: str
    config: str = ""
    split: str = ""


def read_source(source: str) -> HubSource:
    """`hub:owner/name`, `hub:owner/name#config`, `hub:owner/name#config/split`, `hub:owner/name#/split`.

    FtError when it is none of these.
    """
    name, _, rest = source.removeprefix(HUB).partition("#")
    config, _, split = rest.partition("/")
    if not _ID.fullmatch(name) or ".." in name or not all(_PART.fullmatch(part) for part in (config, split) if part):
        raise problem(
            "this is no data set of the hub",
            where=one_line(source, 200),
            why="the name has letters, digits and ._- only, config and split come after a #",
            remedy=f"write {_FORM}",
        )
    return HubSource(name, config, split)


def looks_like_id(text: str) -> bool:
    """Whether a text that names no file may be meant as a data set of the hub."""
    return text.count("/") == 1 and _ID.fullmatch(text) is not None and "." not in text.rpartition("/")[2]


def folder_of(source: str) -> Path:
    """Where the files of a data set are kept, whether they are there or not."""
    found = read_source(source)
    key = hashlib.sha256(f"{found.name}#{found.config}/{found.split}".encode()).hexdigest()[:12]
    return private_folder(cache_root() / "hub") / f"{found.name.replace('/', '--')}-{key}"


def is_stored(source: str) -> bool:
    """Whether a data set was fetched wholly."""
    return (folder_of(source) / DONE).is_file()


def stored(source: str) -> Path:
    """The folder of a data set that was fetched. FtError when it was not."""
    folder = folder_of(source)
    if not (folder / DONE).is_file():
        raise problem(
            "the data set of the hub has not been fetched yet",
            where=one_line(source, 200),
            why="rows are read from this machine's disk",
            remedy=f"fetch it: ft-tui data check '{one_line(source, 200)}'",
        )
    return folder


def fetch_all(
    sources: Iterable[str],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    cancel: Callable[[], bool] = lambda: False,
) -> None:
    """Fetch those of these sources that are data sets of the hub and not here yet. FtError as `fetch`."""
    for source in sources:
        if source.startswith(HUB) and not is_stored(source) and not cancel():
            fetch(source, progress, cancel)


def fetch(
    source: str,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    cancel: Callable[[], bool] = lambda: False,
    *,
    again: bool = False,
) -> Path | None:
    """Fetch a data set of the hub, if it is not here already, and give its folder; None once `cancel` said so.

    `progress` is called with bytes here and bytes in all. With `again` the hub is asked for a newer one. FtError in
    words: offline, gated, unknown (with the configs or splits there are), no files of rows. Tokens go by environment.
    """
    wanted = read_source(source)
    folder = folder_of(source)
    if is_stored(source) and not again:
        return folder

    def send(message: Message) -> None:
        progress(int(message["bytes"]), int(message["size"]))

    arguments = [str(folder), wanted.name, wanted.config, wanted.split]
    done = run_child("finetune_core.worker.hub.fetch_data", arguments, send, cancel)
    return None if done is None else folder
