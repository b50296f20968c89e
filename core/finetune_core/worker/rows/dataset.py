"""Conversations into token rows: whole first, then cut at the longest length, rows without a trained token left out."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from datasets import Dataset
from datasets.table import InMemoryTable
from trl.data_utils import pack_dataset

from finetune_core.data.rows import Text, TrainingRow
from finetune_core.errors import FtError, Problem
from finetune_core.plan.packing import PACKED_TOGETHER
from finetune_core.plan.prepare import nothing_trained
from finetune_core.plan.situation import RowTokens
from finetune_core.recipe.schema import Data, Recipe
from finetune_core.text import counted
from finetune_core.worker.rows import encode as timely
from finetune_core.worker.rows.gate import Gate
from finetune_core.worker.rows.tokenise import Encoded, Encoder

IGNORED = -100
_BLOCK = 1000

Progress = Callable[[int, int], None]


@dataclass
class Tokens:
    """Token rows with the label of each token (-100: no loss), and what happened to the rows on the way.

    `input_ids` and `labels` hold one array of 32-bit integers a row, both of the same length. `of` is the place of the
    given row that it comes from (a long text comes to several), and `used` are the places of those that came to any.
    `raw` says that all of them are raw text; `lost` are the tokens that `cut` rows lose.
    """

    input_ids: list[array[int]] = field(default_factory=list)
    labels: list[array[int]] = field(default_factory=list)
    of: list[int] = field(default_factory=list)
    used: list[int] = field(default_factory=list)
    raw: bool = False
    cut: int = 0
    lost: int = 0
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
            behind = 100 * self.lost / max(1, self.total + self.lost)
            parts.append(
                f"{counted(self.cut, 'row was', 'rows were')} longer than max_length and cut at the end"
                f" ({behind:.0f} % of the tokens)"
            )
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


@dataclass
class Whole:
    """Rows in tokens before any is cut: an array of 32-bit integers each for ids and labels, a list item a row.

    `places` are those of the rows among the ones given, `numbers` theirs in their files; `texts` says which are raw
    text; `refused` is what the chat template refused.
    """

    input_ids: list[array[int]] = field(default_factory=list)
    labels: list[array[int]] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    texts: list[bool] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)
    stops: set[int] = field(default_factory=set)

    def counted(self) -> RowTokens:
        """The rows in numbers, for the plan."""
        return RowTokens(tuple(map(len, self.input_ids)), tuple(map(first_trained, self.labels)), tuple(self.texts))

    def add(self, place: int, row: TrainingRow, encoded: Encoded) -> None:
        """Take in a row."""
        ids, trained = encoded.input_ids, encoded.trained
        if True in trained:
            self.stops.add(ids[len(trained) - 1 - trained[::-1].index(True)])
        labels = (token if counts else IGNORED for token, counts in zip(ids, trained, strict=True))
        self.input_ids.append(array("i", ids))
        self.labels.append(array("i", labels))
        self.places.append(place)
        self.numbers.append(row.number)
        self.texts.append(isinstance(row, Text))

    def cut(self, max_length: int | None) -> Tokens:
        """The rows as they are trained on; an array that is not cut is the same one."""
        raw = bool(self.texts) and all(self.texts)
        tokens = Tokens(raw=raw, refused=self.refused, stops=self.stops)
        for row, place in enumerate(self.places):
            before = len(tokens)
            for piece in self._pieces(row, max_length):
                _add(tokens, self.numbers[row], *piece)
            if max_length is not None and not self.texts[row] and len(self.input_ids[row]) > max_length:
                tokens.cut += 1
                tokens.lost += len(self.input_ids[row]) - max_length
            tokens.of.extend([place] * (len(tokens) - before))
            if len(tokens) > before:
                tokens.used.append(place)
        return tokens

    def _pieces(self, row: int, most: int | None) -> Iterator[tuple[array[int], array[int]]]:
        ids, labels = self.input_ids[row], self.labels[row]
        if most is None or len(ids) <= most:
            yield ids, labels
            return
        # Text has no answer that a cut could spoil: what is too long goes on in a row of its own.
        for start in range(0, len(ids) if self.texts[row] else most, most):
            yield ids[start : start + most], labels[start : start + most]


def first_trained(labels: Sequence[int]) -> int:
    """The place of the first label that is predicted from something; the number of labels where there is none."""
    return next((place for place, label in enumerate(labels) if place and label != IGNORED), len(labels))


def encode(rows: Sequence[TrainingRow], encoder: Encoder, progress: Progress, gate: Gate | None = None) -> Whole:
    """The conversations or texts in tokens; a row its chat template refuses is left out and counted.

    `progress(done, total)` is called after every row and may raise to stop. The gate, if any, looks at each row.
    FtError where a row takes more than 10 s: the next one would too.
    """
    whole = Whole()
    for place, row in enumerate(rows):
        try:
            whole.add(place, row, timely.encode(row, encoder, gate))
        except FtError as error:
            if error.problems[0].kind == timely.TOO_SLOW:
                raise
            whole.refused.extend(error.problems[:1])
        progress(place + 1, len(rows))
    return whole


def _add(tokens: Tokens, number: int, ids: array[int], labels: array[int]) -> None:
    if first_trained(labels) == len(labels):
        tokens.without_trained.append(number)
        return
    tokens.input_ids.append(ids)
    tokens.labels.append(labels)


def refuse_untrainable(tokens: Tokens, recipe: Recipe) -> None:
    """Raise FtError when not one training row holds a trained token."""
    if len(tokens):
        return
    if tokens.refused and not tokens.without_trained:
        # One template that fails gives every row the same problem: it is reported once.
        raise FtError(list(dict.fromkeys(tokens.refused))[:20])
    raise FtError(nothing_trained(recipe, len(tokens.without_trained)))


def to_dataset(tokens: Tokens, settings: Data) -> Dataset:
    """The rows as SFTTrainer takes them when it is to prepare nothing: 4 bytes a token and column.

    Columns `input_ids` and `labels`, and when packed `seq_lengths`, the lengths of the rows in each sequence.
    """
    batches = [_batch(tokens, block) for block in _blocks(len(tokens))]
    # With a name of its own the data need not be hashed to find one.
    dataset = Dataset(InMemoryTable(pa.Table.from_batches(batches)), fingerprint="training-rows")
    if settings.packing == "none":
        return dataset
    longest = settings.max_length or max(map(len, tokens.input_ids))
    return pack_dataset(dataset, longest, "bfd", {"load_from_cache_file": False, "batch_size": PACKED_TOGETHER})


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, count, _BLOCK))


def _batch(tokens: Tokens, block: slice) -> pa.RecordBatch:
    kind = pa.list_(pa.int32())
    columns = [pa.array(tokens.input_ids[block], type=kind), pa.array(tokens.labels[block], type=kind)]
    return pa.record_batch(columns, names=["input_ids", "labels"])
