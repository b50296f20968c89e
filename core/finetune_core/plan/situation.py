"""What advice is drawn from: the data in numbers, and the situation a recipe meets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from finetune_core.hardware.look import Gpu, Hardware
from finetune_core.models.facts import ModelFacts
from finetune_core.recipe.schema import Recipe


@dataclass(frozen=True)
class Choice:
    """A value chosen automatically for a field of the recipe, with the reason in plain words."""

    field: str
    value: object
    reason: str


@dataclass(frozen=True, eq=False)
class RowTokens:
    """Rows in tokens, in the order of training; equal to itself alone, so that what follows from it can be kept.

    `lengths` are whole rows, in tokens. `firsts` are the places of each row's first token with a loss that has a token
    before it; the row's length where there is none. `texts` says which rows are raw text: they are trained on from
    their second token on, and where they are cut they go on in a row of their own.
    """

    lengths: tuple[int, ...]
    firsts: tuple[int, ...]
    texts: tuple[bool, ...]

    def kept(self, most: int | None) -> tuple[int, ...]:
        """The lengths of the rows that are trained on when they are cut at `most` tokens (None: never), in order."""
        return _kept(self, most)


@lru_cache(maxsize=16)
def _kept(rows: RowTokens, most: int | None) -> tuple[int, ...]:
    return tuple(_cut(rows, most))


def _cut(rows: RowTokens, most: int | None) -> Iterator[int]:
    for length, first, text in zip(rows.lengths, rows.firsts, rows.texts, strict=True):
        if text:
            for start in range(0, length, most or max(length, 1)):
                # A single token has nothing before it to be predicted from.
                if (piece := min(length - start, most or length)) > 1:
                    yield piece
        elif first < (cut := min(length, most or length)):
            yield cut


@dataclass(frozen=True, eq=False)
class TokenCount:
    """The rows of a recipe in tokens of its model: those for training, and those held out.

    `exact`: these are the very rows, in the very order, that the trainer will cut and pack; else lengths like theirs,
    drawn from a sample.
    """

    train: RowTokens
    held_out: RowTokens
    exact: bool = True

    @classmethod
    def of(cls, lengths: Sequence[int], held_out: Sequence[int] = (), *, exact: bool = True) -> TokenCount:
        """Rows of these lengths, trained on from their second token on."""
        return cls(_plain(lengths), _plain(held_out), exact)


def _plain(lengths: Sequence[int]) -> RowTokens:
    return RowTokens(tuple(lengths), (1,) * len(lengths), (False,) * len(lengths))


@dataclass(frozen=True)
class DataFacts:
    """The data in numbers. `rows` are for training, `held_out_rows` for measuring; `unusable` ones are in neither.

    `method` is the method that trains on rows of their kind, None where nobody looked. `mixed` of the training rows
    come from each of the other files, in the order of the recipe.

    `counted` are the rows in tokens, where they were counted with the model's tokenizer. When they were not,
    `estimated` are rows like them, no more than a few thousand, in tokens by the size of their texts;
    `estimated_tokens` is what all rows come to so, and `bound` the tokens no row can exceed, a token being a
    byte or more.
    """

    rows: int
    held_out_rows: int
    counted: TokenCount | None = None
    estimated_tokens: int | None = None
    bound: int | None = None
    unusable: int = 0
    mixed: tuple[int, ...] = ()
    estimated: RowTokens | None = None
    method: str | None = None

    @property
    def exact(self) -> bool:
        """Whether the rows are those that the trainer will have, counted in tokens."""
        return self.counted is not None and self.counted.exact

    @property
    def token_lengths(self) -> tuple[int, ...] | None:
        """Tokens of each training row before any is cut; None where they were not counted."""
        return self.counted.train.lengths if self.counted is not None else None

    @property
    def row_tokens(self) -> RowTokens | None:
        """Training rows in tokens before any is cut: counted, else rows like them, estimated; None: unknown."""
        return self.counted.train if self.counted is not None and self.counted.train.lengths else self.estimated

    @property
    def rows_whole(self) -> int:
        """Training rows before any is left out for having nothing trained in it."""
        return len(self.counted.train.lengths) if self.counted is not None else self.rows

    def scaled(self, rows: float) -> int:
        """How many training rows so many of `row_tokens` stand for."""
        known = len(self.row_tokens.lengths) if self.row_tokens is not None else 0
        return round(rows * self.rows_whole / known) if known else 0

    @property
    def mixed_in(self) -> int:
        """Training rows that come from other files than the source."""
        return sum(self.mixed)

    @property
    def tokens(self) -> int | None:
        """Tokens of all training rows: counted, else estimated, else None."""
        return sum(self.token_lengths) if self.token_lengths else self.estimated_tokens

    def with_count(self, counted: TokenCount) -> DataFacts:
        """These facts with the rows in tokens, and the numbers of rows that follow from an exact count."""
        if not counted.exact:
            return replace(self, counted=counted)
        rows, held_out = len(counted.train.lengths), len(counted.held_out.lengths)
        return replace(self, counted=counted, rows=rows, held_out_rows=held_out)

    def cut(self, most: int | None) -> DataFacts:
        """The facts once rows are cut at `most` tokens: those with no token left to train on are counted no more."""
        if self.counted is None or not self.counted.exact:
            return self
        rows, held_out = len(self.counted.train.kept(most)), len(self.counted.held_out.kept(most))
        return replace(self, rows=rows, held_out_rows=held_out)


@dataclass(frozen=True)
class Situation:
    """A recipe filled so far, with everything known about where, on what and from what it will train."""

    recipe: Recipe
    hardware: Hardware
    model: ModelFacts
    data: DataFacts | None
    device: str
    gpus: tuple[Gpu, ...]
    device_reason: str

    @property
    def free_memory(self) -> int:
        """Bytes the run may take on its device: of the fullest of its GPUs, or of the host."""
        if self.device == "cuda":
            return min(gpu.memory_free for gpu in self.gpus)
        return self.hardware.host.memory_available

    @property
    def memory_total(self) -> int:
        """Bytes of memory its device has."""
        if self.device == "cuda":
            return min(gpu.memory_total for gpu in self.gpus)
        return self.hardware.host.memory_total

    @property
    def memory_name(self) -> str:
        """The memory the run lives in, in words."""
        return "GPU memory" if self.device == "cuda" else "memory"
