"""Conversations into token rows: cut at the longest length, and rows nothing can be learnt from left out, counted."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from datasets import Dataset
from datasets.table import InMemoryTable
from trl.data_utils import pack_dataset

from ft_core.data.rows import Text, TrainingRow
from ft_core.errors import FtError, Problem, problem
from ft_core.recipe.schema import Data, Recipe
from ft_core.text import counted
from ft_core.worker import timely
from ft_core.worker.gate import Gate
from ft_core.worker.tokenise import Encoder

IGNORED = -100
_BLOCK = 1000

Progress = Callable[[int, int], None]


@dataclass
class Tokens:
    """Token rows with the label of each token (-100: no loss), and what happened to the rows on the way.

    `input_ids` and `labels` hold one array of 32-bit integers a row, both of the same length; `of` is the place, among
    the rows that were given, of the one it comes from (a long text comes to several), and `used` are the places of
    those that came to any. `raw` says that all of them are raw text.
    """

    input_ids: list[array[int]] = field(default_factory=list)
    labels: list[array[int]] = field(default_factory=list)
    of: list[int] = field(default_factory=list)
    used: list[int] = field(default_factory=list)
    raw: bool = False
    cut: int = 0
    without_trained: list[int] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)
    stops: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def total(self) -> int:
        """Number of tokens, context included."""
        return sum(map(len, self.input_ids))

    def left_out(self) -> str | None:
        """What was cut or left out, in words; None when every row is whole."""
        parts = []
        if self.cut:
            parts.append(f"{counted(self.cut, 'row was', 'rows were')} longer than max_length and cut at the end")
        if self.without_trained:
            one = len(self.without_trained) == 1
            words = "1 row was" if one else f"{len(self.without_trained)} rows were"
            parts.append(
                f"{words} left out because no trained token was left in {'it' if one else 'them'}"
                f" ({'row' if one else 'rows'} {_some(self.without_trained)})"
            )
        if self.refused:
            first = self.refused[0]
            parts.append(f"{counted(len(self.refused), 'row was', 'rows were')} left out ({first.where}: {first.what})")
        return "; ".join(parts) or None


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (" ..." if len(numbers) > 5 else "")


def encode(
    rows: Sequence[TrainingRow],
    encoder: Encoder,
    max_length: int | None,
    progress: Progress,
    gate: Gate | None = None,
) -> Tokens:
    """Token rows of the conversations or texts; a row its chat template refuses is left out and counted.

    `progress(done, total)` is called after every row and may raise to stop. The gate, if any, looks at each row.
    FtError where a row takes more than 10 s: the next one would too.
    """
    tokens = Tokens(raw=bool(rows) and all(isinstance(row, Text) for row in rows))
    for place, row in enumerate(rows):
        before = len(tokens)
        try:
            encoded = timely.encode(row, encoder, gate)
        except FtError as error:
            if error.problems[0].kind == timely.TOO_SLOW:
                raise
            tokens.refused.extend(error.problems[:1])
        else:
            # Text has no answer that a cut could spoil: what is too long goes on in a row of its own.
            for piece in encoded.pieces(max_length) if isinstance(row, Text) else (encoded,):
                _add(tokens, row.number, piece.input_ids, piece.trained, max_length)
        tokens.of.extend([place] * (len(tokens) - before))
        if len(tokens) > before:
            tokens.used.append(place)
        progress(place + 1, len(rows))
    return tokens


def _add(tokens: Tokens, number: int, ids: list[int], trained: list[bool], max_length: int | None) -> None:
    if True in trained:
        tokens.stops.add(ids[len(trained) - 1 - trained[::-1].index(True)])
    kept = ids[:max_length]
    tokens.cut += len(kept) < len(ids)
    labels = [token if learnt else IGNORED for token, learnt in zip(kept, trained, strict=False)]
    # The first token of a sequence has nothing before it to be predicted from.
    if all(label == IGNORED for label in labels[1:]):
        tokens.without_trained.append(number)
        return
    tokens.input_ids.append(array("i", kept))
    tokens.labels.append(array("i", labels))


def refuse_untrainable(tokens: Tokens, recipe: Recipe) -> None:
    """Raise FtError when not one training row holds a trained token."""
    if len(tokens):
        return
    if tokens.refused and not tokens.without_trained:
        # One template that fails gives every row the same problem: it is told once.
        raise FtError(list(dict.fromkeys(tokens.refused))[:20])
    raise problem(
        "no row holds a token to train on",
        where=recipe.data.source,
        why=f"the loss is taken on `{recipe.data.train_on}`, rows are cut at {recipe.data.max_length} tokens, and"
        f" {len(tokens.without_trained)} rows have nothing trained within that",
        remedy="raise data.max_length, look at the rows in the preview, or set data.train_on to all",
    )


def to_dataset(tokens: Tokens, settings: Data) -> Dataset:
    """The rows as SFTTrainer takes them when it is told to prepare nothing: 4 bytes a token and column.

    Columns `input_ids` and `labels`, and when packed `seq_lengths`, the lengths of the rows in each sequence.
    """
    batches = [_batch(tokens, block) for block in _blocks(len(tokens))]
    # With a name of its own the data need not be hashed to find one.
    dataset = Dataset(InMemoryTable(pa.Table.from_batches(batches)), fingerprint="training-rows")
    if settings.packing == "none":
        return dataset
    longest = settings.max_length or max(map(len, tokens.input_ids))
    return pack_dataset(dataset, longest, "bfd", {"load_from_cache_file": False})


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, count, _BLOCK))


def _batch(tokens: Tokens, block: slice) -> pa.RecordBatch:
    kind = pa.list_(pa.int32())
    columns = [pa.array(tokens.input_ids[block], type=kind), pa.array(tokens.labels[block], type=kind)]
    return pa.record_batch(columns, names=["input_ids", "labels"])
