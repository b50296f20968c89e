"""The rows of a recipe in tokens, counted without training: the very rows, in the very order, that training will have.

It does what the trainer does up to its tokens: read, leave out, mix, part, write with the chat template.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from finetune_core.data.assemble import RowSet, assemble
from finetune_core.data.files.open import open_rows
from finetune_core.data.rows import Text, TrainingRow
from finetune_core.errors import FtError
from finetune_core.recipe.schema import Data
from finetune_core.worker.rows.encode import TOO_SLOW
from finetune_core.worker.rows.vocabulary import UNKNOWN_TOKEN

if TYPE_CHECKING:
    from finetune_core.worker.rows.tokenise import Encoded

# With more rows or bytes than this the count would be waited for too long (a tokenizer takes about a second for a
# mebibyte); the trainer counts them when it starts.
MOST_ROWS: Final = 20_000
MOST_BYTES: Final = 32 * 2**20
_SLICE_SECONDS: Final = 0.05
_WAIT_SECONDS: Final = 0.02

Answer = dict[str, Any]


class _Cancelled(Exception):  # noqa: N818 - an order, not a mistake
    """Nobody waits for the rows any more."""


def count(data: Data, seed: int, encode: Callable[[TrainingRow], Encoded]) -> Iterator[Answer]:
    """Progress in short slices, then numbers for `finetune_core.data.tokens.client.TokenWorker.count`.

    The last answer has `too_many` rows instead where there are more than 20,000 of them, or more than 32 MiB. FtError
    as `assemble` and `encode` raise it; a row the template refuses is left out.
    """
    total, few = yield from _rows(data)
    if not few:
        yield {"too_many": max(1, total)}
        return
    rows = yield from _assembled(data, seed, total)
    every = len(rows.train) + len(rows.held_out)
    train = yield from _counted(rows.train, encode, 0, every, needed=True)
    held_out = yield from _counted(rows.held_out, encode, len(rows.train), every, needed=False)
    yield {"train": train, "held_out": held_out}


def _rows(data: Data) -> Generator[Answer, None, tuple[int, bool]]:
    """How many rows the files have, counted until they are too many; and whether they are few enough."""
    total = size = 0
    files = [(data.source, False), *((path, False) for path in data.mix)]
    for path, held_out in [*files, *([(data.held_out, True)] if data.held_out else [])]:
        seen = read = 0
        for seen, read in open_rows(path, held_out=held_out).counting():
            yield {"progress": [0, total + seen]}
            if total + seen > MOST_ROWS or size + read > MOST_BYTES:
                return total + seen, False
        total, size = total + seen, size + read
    return total, True


def _assembled(data: Data, seed: int, total: int) -> Generator[Answer, None, RowSet]:
    """The rows, read in a thread, so that other questions are answered meanwhile."""
    given_up = threading.Event()
    found: list[RowSet | BaseException] = []

    def watched(_done: int, _total: int) -> None:
        if given_up.is_set():
            raise _Cancelled

    def work() -> None:
        try:
            found.append(assemble(data, seed, watched))
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            found.append(error)

    thread = threading.Thread(target=work, name="rows", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_WAIT_SECONDS)
            yield {"progress": [0, total]}
    finally:
        given_up.set()
    (rows,) = found
    if isinstance(rows, BaseException):
        raise rows
    return rows


def _counted(
    rows: Iterable[TrainingRow], encode: Callable[[TrainingRow], Encoded], done: int, total: int, *, needed: bool
) -> Generator[Answer, None, list[list[int]]]:
    """Of each row its length, the place of its first token with a loss that is predicted, and whether it is text."""
    lengths: list[int] = []
    firsts: list[int] = []
    texts: list[int] = []
    said_at, refused = time.monotonic(), None
    for row in rows:
        done += 1
        try:
            trained = encode(row).trained
        except FtError as error:
            if error.problems[0].kind in {TOO_SLOW, UNKNOWN_TOKEN}:
                raise
            refused = error
        else:
            lengths.append(len(trained))
            firsts.append(trained.index(True, 1) if True in trained[1:] else len(trained))
            texts.append(int(isinstance(row, Text)))
        if time.monotonic() - said_at > _SLICE_SECONDS:
            yield {"progress": [done, total]}
            said_at = time.monotonic()
    if needed and refused is not None and not lengths:
        raise refused
    return [lengths, firsts, texts]
