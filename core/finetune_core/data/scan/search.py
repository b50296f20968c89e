"""The next row that says something: looked for at once nearby, and in a process of its own through a large file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from finetune_core.child_messages import Message, failure, run_child, say
from finetune_core.data.files.base import Row, RowFile, never
from finetune_core.data.files.open import open_rows
from finetune_core.errors import FtError

_AT_ONCE = 2_000
_TOLD_EVERY = 5_000


def _silent(_row: int) -> None:
    return None


def find_row(
    file: RowFile,
    source: str,
    text: str,
    start: int = 1,
    progress: Callable[[int], None] = _silent,
    cancel: Callable[[], bool] = never,
) -> int | None:
    """The number of the first row from `start` on that holds the text, whatever its case; then from row 1 on.

    None when no row does, or `cancel` said so. `file` is the source, opened. `progress` is called with row numbers as
    they are looked at. Blocking; run in a thread. FtError when the source cannot be read any more.
    """
    wanted = text.casefold()
    last = start - 1
    for row in islice(file.rows(start), _AT_ONCE):
        last = row.number
        if holds(row, wanted):
            return last
    if last - start + 1 < _AT_ONCE and start <= _AT_ONCE:
        # The end was near, and so is the beginning.
        return next((row.number for row in islice(file.rows(), start - 1) if holds(row, wanted)), None)
    found = run_child(__name__, [json.dumps([source, text, start])], lambda message: progress(message["row"]), cancel)
    return None if found is None else found["row"]


def holds(row: Row, wanted: str) -> bool:
    """Whether any text of a good row holds the wanted one, which is casefolded."""
    return row.value is not None and any(wanted in text.casefold() for text in texts_of(row.value))


def texts_of(value: object) -> Iterator[str]:
    """Every text in a value, however deep; numbers as they are written."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        elif item is not None:
            yield str(item)


def _first(rows: Iterable[Row], wanted: str) -> int | None:
    for row in rows:
        if row.number % _TOLD_EVERY == 0:
            say({"row": row.number})
        if holds(row, wanted):
            return row.number
    return None


def _search(source: str, text: str, start: int) -> Message:
    file, wanted = open_rows(source), text.casefold()
    found = _first(file.rows(start), wanted)
    if found is None and start > 1:
        found = _first(islice(file.rows(), start - 1), wanted)
    return {"row": found}


def main() -> None:
    """The process: look through the rows, and say how far it is and where the text is."""
    try:
        say({"done": _search(*json.loads(sys.argv[1]))})
    except FtError as error:
        say(failure(error))


if __name__ == "__main__":
    main()
