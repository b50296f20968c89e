"""The user's own rows: examples for the model, and what new rows must not repeat."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from finetune_core.data.files.open import open_rows
from finetune_core.data.rows import Conversation
from finetune_core.data.synthetic.seen import Seen
from finetune_core.data.usable import recognised
from finetune_core.errors import problem
from finetune_core.text import counted

SAMPLE: Final = 200
LONGEST_EXAMPLE: Final = 8000


@dataclass(frozen=True)
class Own:
    """A sample of the user's rows that can serve as examples, how many rows there are, and how many were unusable."""

    examples: tuple[Conversation, ...]
    count: int
    unusable: int = 0


def read_own(source: str, seen: Seen, *, seed: int = 0) -> Own:
    """Read every row of a file into `seen`, and keep a sample of at most 200 as examples. Memory stays bounded.

    FtError when the file cannot be opened, its shape is not known, or no row can serve as an example.
    """
    rows = recognised(open_rows(source))
    unusable = 0

    def usable() -> Iterator[Conversation]:
        nonlocal unusable
        for _, row in rows.canonical():
            if isinstance(row, Conversation):
                yield row
            else:
                unusable += 1

    own = sample_own(usable(), seen, seed=seed)
    if not own.examples:
        read = counted(own.count, "row")
        raise problem(
            "no row can serve as an example",
            where=rows.file.name,
            why=f"{read} can be read; examples have no tools and at most {LONGEST_EXAMPLE} characters",
            remedy="give a file with a few short typical rows",
        )
    return Own(own.examples, own.count, unusable)


def sample_own(rows: Iterable[Conversation], seen: Seen, *, seed: int = 0) -> Own:
    """The same from rows in memory, without the check that there is an example."""
    rng = random.Random(seed)  # noqa: S311 - a choice of examples, guards nothing
    kept: list[Conversation] = []
    count = fit = 0
    for row in rows:
        seen.add(row)
        count += 1
        if not _is_example(row):
            continue
        fit += 1
        if len(kept) < SAMPLE:
            kept.append(row)
        elif (place := rng.randrange(fit)) < SAMPLE:
            kept[place] = row
    return Own(tuple(kept), count)


def _is_example(row: Conversation) -> bool:
    plain = not row.tools and all(not turn.tool_calls and turn.role != "tool" for turn in row.messages)
    return plain and sum(len(turn.content) for turn in row.messages) <= LONGEST_EXAMPLE
