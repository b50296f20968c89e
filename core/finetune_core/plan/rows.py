"""The data in numbers: how many rows train and measure, and about how many tokens they hold."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, takewhile

from finetune_core.data.assemble import counts
from finetune_core.data.files.open import open_rows
from finetune_core.data.filters import filter_reason, nothing_left
from finetune_core.data.rows import Text, TrainingRow, passages
from finetune_core.data.scan.row_index import count_rows_of
from finetune_core.data.shapes.recognise import AUTOMATIC, Choice
from finetune_core.data.shapes.unused import Unused, unused_words
from finetune_core.data.split import split
from finetune_core.data.usable import usable
from finetune_core.errors import FtError, Problem, gather
from finetune_core.methods import method_of, refusal, without_effect
from finetune_core.plan.situation import DataFacts, RowTokens, TokenCount
from finetune_core.recipe.schema import Data, Recipe

# Enough to know the rows by; a file of millions must not keep the review waiting.
_LOOKED_AT = 2_000
_SHOWN = 5
# What decides how rows are read: while one of these is unknown, the rows cannot be judged.
ROW_FIELDS = (
    "data.source", "data.shape", "data.mapping", "data.fixes", "data.held_out", "data.only", "data.without",
    "data.min_characters", "data.max_characters", "data.mix",
)  # fmt: skip
# English text has about four bytes a token under today's vocabularies; a turn's marks take about five tokens.
_BYTES_PER_TOKEN, _TOKENS_PER_TURN = 4, 5
# Templates write up to about this much round a turn, and a system prompt or date line before the first.
_MOST_PER_TURN, _MOST_PER_ROW = 16, 64
# What templates say of tools before the first of them: Llama 3.1 and Qwen 3 take some 800 characters.
_MOST_OF_TOOLS = 2_048


@dataclass(frozen=True)
class _File:
    """A file of rows: how many, a look at the first of them, and the rows among those that cannot be used."""

    rows: int
    looked_at: int
    good: tuple[TrainingRow, ...]
    problems: tuple[Problem, ...]
    filtered: int
    unused: tuple[Unused, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether every row was looked at."""
        return self.looked_at == self.rows

    @property
    def usable(self) -> int:
        """The rows without those known to be bad; what filters leave of rows not looked at is estimated."""
        kept = 1 - self.filtered / max(self.looked_at - len(self.problems), 1)
        return round((self.rows - len(self.problems)) * kept)


def count_rows(recipe: Recipe, counted: TokenCount | None = None) -> tuple[DataFacts, tuple[Problem, ...], bool]:
    """The data of a recipe in numbers, warnings about bad rows, and whether every row needs a chat template.

    `counted` are the rows in tokens where they are known already. Raises FtError with the problems of all files that
    cannot be read or hold nothing to train on.
    """
    choice = Choice.of(recipe.data)
    data = recipe.data
    source, held_out, mixed = _files(data, choice)
    asked = held_out.usable if held_out else _parted(source, recipe)
    train = source.usable if held_out else source.usable - asked
    taken = zip(mixed, counts(train, list(data.mix.values())), strict=True)
    more = tuple(min(file.usable, wanted) for file, wanted in taken)
    facts = DataFacts(
        rows=train + sum(more),
        held_out_rows=asked,
        estimated_tokens=round(_tokens_per_row(source.good) * train + _tokens_of_mixed(mixed, more)),
        estimated=_estimated([(source, train), *zip(mixed, more, strict=True)], data),
        bound=_bound(source.good) if source.whole and not mixed else None,
        unusable=source.rows - source.usable,
        mixed=more,
        method=_method(source.good, recipe),
    )
    facts = facts if counted is None else facts.with_count(counted)
    warnings = (*_left_out(source, recipe.data.source), *_left_out(held_out, recipe.data.held_out or ""))
    if facts.method is not None:
        warnings += without_effect(recipe, facts.method)
    unused = tuple(one for one in source.unused if one.column != recipe.evaluation.fact_field)
    if unused:
        warnings += (_not_used(unused, recipe.data.source),)
    return facts, warnings, not all(isinstance(row, Text) or row.completion_only for row in source.good)


def _method(rows: Sequence[TrainingRow], recipe: Recipe) -> str | None:
    """The method that trains on these rows. FtError when the recipe names another."""
    if not rows:
        return None
    if (found := refusal(recipe.training.method, rows[0])) is not None:
        raise FtError(found)
    method = method_of(rows[0])
    return method.name if method is not None else None


def _files(data: Data, choice: Choice) -> tuple[_File, _File | None, list[_File]]:
    """The source, the held-out file and those mixed in. Raises FtError with the problems of all of them."""
    problems: list[Problem] = []

    def training(path: str, choice: Choice) -> _File | None:
        return gather(problems, lambda: _filtered(_look(path, choice, held_out=False), path, data))

    source = training(data.source, choice)
    held_out = None
    if (path := data.held_out) is not None:
        held_out = gather(problems, lambda: _look(path, choice, held_out=True))
    mixed = [file for path in data.mix if (file := training(path, AUTOMATIC)) is not None]
    if problems or source is None:
        raise FtError(problems)
    return source, held_out, mixed


def open_files(data: Data, broken: frozenset[str]) -> list[Problem]:
    """Why files that are named cannot be opened; their rows are not looked at. Fields in `broken` name none."""
    named = [("data.source", data.source, False), ("data.held_out", data.held_out, True)]
    named += [("data.mix", path, False) for path in data.mix]
    problems: list[Problem] = []
    for field, path, held_out in named:
        if path is not None and field not in broken:
            gather(problems, partial(open_rows, path, held_out=held_out))
    return problems


def _parted(source: _File, recipe: Recipe) -> int:
    """How many rows are held out: exactly, where all of them were looked at."""
    if source.whole:
        return len(split(source.good, recipe.data.held_out_share, recipe.training.seed)[1])
    return held_out_rows(source.usable, recipe.data.held_out_share)


def held_out_rows(rows: int, share: float) -> int:
    """How many of `rows` are held out, as `finetune_core.data.split` parts rows that all ask something else."""
    return max(0, min(max(1, round(rows * share)), rows - 1)) if share > 0 else 0


def _look(source: str, choice: Choice, *, held_out: bool) -> _File:
    opened = usable(source, choice, held_out=held_out)
    found = [row for _, row in islice(opened.trained(), _LOOKED_AT)]
    good = tuple(row for row in found if not isinstance(row, Problem))
    bad = tuple(row for row in found if isinstance(row, Problem))
    if not good:
        raise FtError(bad[:_SHOWN])
    rows = len(found) if len(found) < _LOOKED_AT else count_rows_of(source, opened.file, held_out=held_out)
    return _File(rows, len(found), good, bad, 0, opened.shape.unused)


def _filtered(file: _File, path: str, data: Data) -> _File:
    """The file with its good rows as the filters leave them. FtError when they leave none."""
    kept = tuple(row for row in file.good if not filter_reason(row, data))
    if not kept:
        raise FtError(nothing_left(path, len(file.good), data))
    return replace(file, good=kept, filtered=len(file.good) - len(kept))


def _size(row: TrainingRow) -> int:
    return sum(len(passage.text.encode(errors="replace")) for passage in passages(row)) + _tools_size(row, None)


def _tools_size(row: TrainingRow, indent: int | None) -> int:
    """Bytes of the functions a row offers and of the calls in it, written as JSON."""
    if isinstance(row, Text):
        return 0
    called = [(call.name, call.arguments) for turn in row.messages for call in turn.tool_calls]
    if not row.tools and not called:
        return 0
    written = (json.dumps(one, ensure_ascii=False, indent=indent, default=str) for one in (*row.tools, *called))
    return sum(len(text.encode(errors="replace")) for text in written)


def _turns(row: TrainingRow) -> int:
    return 1 if isinstance(row, Text) else len(row.messages)


def _tokens_per_row(rows: Sequence[TrainingRow]) -> float:
    turns = sum(map(_turns, rows))
    return (sum(map(_size, rows)) / _BYTES_PER_TOKEN + turns * _TOKENS_PER_TURN) / len(rows)


def _tokens_of_mixed(files: Sequence[_File], rows: Sequence[int]) -> float:
    return sum(_tokens_per_row(file.good) * count for file, count in zip(files, rows, strict=True))


def _estimated(parts: Sequence[tuple[_File, int]], data: Data) -> RowTokens:
    """Rows like those of the files, each file's as many as its share: in tokens by the size of their texts."""
    total = max(1, sum(count for _, count in parts))
    few = min(total, _LOOKED_AT)
    found = [row for file, count in parts for row in _like(file.good, math.ceil(few * count / total))]
    random.Random(0).shuffle(found)  # noqa: S311 - rows of a file have no order of lengths either
    lengths, firsts, texts = zip(*found, strict=True) if found else ((), (), ())
    return RowTokens(lengths, (1,) * len(lengths) if data.train_on == "all" else firsts, texts)


def _like(rows: Sequence[TrainingRow], count: int) -> list[tuple[int, int, bool]]:
    """So many rows with the distribution of these, the longest among them: length, first trained token, raw text."""
    found = sorted(map(_in_tokens, rows))
    top, last = len(found) - 1, count - 1
    return [found[top - (last - place) * top // max(1, last)] for place in range(count)]


def _in_tokens(row: TrainingRow) -> tuple[int, int, bool]:
    """A row's estimated tokens, how many of them stand before the first with a loss, and whether it is raw text."""
    size = max(2, math.ceil(_size(row) / _BYTES_PER_TOKEN) + _turns(row) * _TOKENS_PER_TURN)
    if isinstance(row, Text):
        return size, 1, True
    before = list(takewhile(lambda passage: not passage.trained, passages(row)))
    first = sum(len(passage.text.encode(errors="replace")) for passage in before) // _BYTES_PER_TOKEN
    return size, min(max(1, first), size), False


def _bound(rows: Sequence[TrainingRow]) -> int:
    return max(map(_most, rows)) + _MOST_PER_ROW


def _most(row: TrainingRow) -> int:
    """No template writes a row in more tokens: one for each byte, JSON indented, and what it says of tools."""
    tools = _tools_size(row, 4)
    return _size(row) + tools + (_MOST_OF_TOOLS if tools else 0) + _turns(row) * _MOST_PER_TURN


def _not_used(columns: tuple[Unused, ...], source: str) -> Problem:
    parts = [f"{one.part}: {json.dumps(one.column, ensure_ascii=False)}" for one in columns if one.part]
    return Problem(
        unused_words(columns),
        source,
        "no part of the rows that is trained comes from there",
        f"go on without, or give one of them a part in data.mapping{', such as ' + parts[0] if parts else ''}",
    )


def _left_out(file: _File | None, source: str) -> tuple[Problem, ...]:
    if file is None or not file.problems:
        return ()
    bad = file.problems
    among = f"{file.rows}" if file.looked_at == file.rows else f"the first {file.looked_at}"
    summary = Problem(
        f"{len(bad)} of {among} rows cannot be used and will be left out",
        source,
        f"the first {min(_SHOWN, len(bad))} of them are listed with it",
        "mend or remove these rows, or go on without them",
    )
    return (summary, *bad[:_SHOWN])
