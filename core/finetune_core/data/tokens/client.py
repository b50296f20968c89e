"""Rows as the model will see them: asked of a process of its own, since a chat template is somebody's program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from finetune_core.data.rows import Text, TrainingRow
from finetune_core.data.shapes.recognise import AUTOMATIC, Choice
from finetune_core.data.tokens.gate_report import GateReport
from finetune_core.data.tokens.process import AskProcess
from finetune_core.errors import FtError, Problem
from finetune_core.recipe.schema import Data

TrainOn = Literal["assistant", "all"]


@dataclass(frozen=True)
class TokenSpan:
    """A stretch of text, the tokens it becomes, whether they are trained, and whether max_length leaves them in."""

    text: str
    trained: bool
    ids: tuple[int, ...]
    kept: bool = True


@dataclass(frozen=True)
class Preview:
    """One row as the model will see it.

    `pieces` holds one span a token (or a few tokens that make one character together), `spans` the same grouped into
    stretches with equal marks; both stop after the first few thousand tokens of a long row, and so does `rendered`.
    `tokens` counts the whole row, `cut` those beyond max_length, `trained` the trained ones within it. A row its chat
    template refuses has a `problem` and nothing else.
    """

    number: int
    rendered: str
    spans: tuple[TokenSpan, ...]
    tokens: int
    trained: int
    cut: int
    pieces: tuple[TokenSpan, ...] = ()
    problem: Problem | None = None


@dataclass(frozen=True)
class Lengths:
    """Row lengths in tokens.

    `truncated` rows are longer than max_length, `without_trained` have no trained token left within it. Rows that are
    bad or refused by the template are `left_out`, the first few of them in `problems`. With `sampled`, all these
    are of a seeded sample of the `rows` of the file. `complete` is False when it was cancelled.
    """

    counts: tuple[int, ...]
    truncated: int
    without_trained: int
    rows: int = 0
    left_out: int = 0
    problems: tuple[Problem, ...] = ()
    sampled: bool = False
    gate: GateReport | None = None
    complete: bool = True


@dataclass(frozen=True)
class Count:
    """Training rows and held-out rows in tokens, in order, as three lists each.

    They are: each row's length, the place of its first token with a loss that has one before it (its length, where
    there is none), and whether it is raw text. With `too_many` rows none are counted.
    """

    train: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] = ((), (), ())
    held_out: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] = ((), (), ())
    too_many: int = 0


def _numbers(lists: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    lengths, firsts, texts = map(tuple, lists)
    return lengths, firsts, texts


def _never() -> bool:
    return False


def _silent(_done: int, _total: int) -> None:
    return None


class TokenWorker:
    """The process that answers questions on tokens. Its methods block; any thread may call them, several at once.

    `train_on`, `max_length` and `chat_template` may be changed between calls. FtError from every method when the
    model's tokenizer cannot be loaded or has no chat template, and when the process dies; the next call starts anew.
    """

    def __init__(
        self,
        model_path: Path,
        *,
        train_on: TrainOn = "assistant",
        max_length: int | None = None,
        chat_template: str = "auto",
    ) -> None:
        self.train_on: TrainOn = train_on
        self.max_length = max_length
        self.chat_template = chat_template
        self._process = AskProcess(model_path)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the process, if it does not run, and wait until the tokenizer is loaded."""
        list(self._process.ask({"do": "hello"}))

    def preview(self, asked: Sequence[TrainingRow]) -> list[Preview]:
        """Each row as the model will see it. FtError when not one of the rows can be rendered."""
        if not asked:
            return []
        rows = [_to_wire(row) for row in asked]
        answers = self._process.ask({"do": "preview", "rows": rows, **self._settings()})
        previews = [_preview_of(answer["row"]) for answer in answers if "row" in answer]
        problems = [found.problem for found in previews if found.problem is not None]
        if len(problems) == len(asked):
            raise FtError(list(dict.fromkeys(problems))[:5])
        return previews

    def lengths(
        self,
        source: str,
        progress: Callable[[int, int], None] = _silent,
        cancel: Callable[[], bool] = _never,
        *,
        held_out: bool = False,
        choice: Choice = AUTOMATIC,
    ) -> Lengths:
        """Lengths of all rows of a file, or of a sample of a large one; text counts in pieces of `max_length`.

        `progress` is called with rows done and rows in all; while these are being counted, with 0 and the rows so far.
        """
        chosen = {"shape": choice.shape, "mapping": dict(choice.mapping), "fixes": dict(choice.fixes)}
        request = {"do": "lengths", "source": source, "held_out": held_out, **chosen, **self._settings()}
        for answer in self._process.ask(request, cancel):
            if "progress" in answer:
                progress(*answer["progress"])
            elif "counts" in answer:
                return _lengths_of(answer)
        return Lengths((), 0, 0, complete=False)

    def count(
        self,
        data: Data,
        seed: int,
        progress: Callable[[int, int], None] = _silent,
        cancel: Callable[[], bool] = _never,
    ) -> Count | None:
        """The rows of a recipe's data in tokens, as training will have them; None when it was cancelled.

        `progress` is called as that of `lengths`. `max_length` has no part in it.
        """
        request = {"do": "count", "data": data.model_dump(), "seed": seed, **self._settings()}
        for answer in self._process.ask({**request, "train_on": data.train_on}, cancel):
            if "progress" in answer:
                progress(*answer["progress"])
            elif "too_many" in answer:
                return Count(too_many=answer["too_many"])
            elif "train" in answer:
                return Count(_numbers(answer["train"]), _numbers(answer["held_out"]))
        return None

    def close(self) -> None:
        """End the process; calls that wait for it raise. Safe to call twice."""
        self._process.close()

    def _settings(self) -> dict[str, Any]:
        return {"train_on": self.train_on, "max_length": self.max_length, "chat_template": self.chat_template}


def _to_wire(row: TrainingRow) -> dict[str, Any]:
    if isinstance(row, Text):
        return {"number": row.number, "text": row.text}
    return {
        "number": row.number,
        "messages": [asdict(turn) for turn in row.messages],
        "completion_only": row.completion_only,
        "tools": list(row.tools),
    }


def _preview_of(row: Mapping[str, Any]) -> Preview:
    if "problem" in row:
        return Preview(row["number"], "", (), 0, 0, 0, problem=Problem(**row["problem"]))
    pieces = tuple(TokenSpan(text, trained, tuple(ids), kept) for text, trained, ids, kept in row["pieces"])
    return Preview(
        row["number"], row["rendered"], group(pieces), row["tokens"], row["trained"], row["cut"], pieces=pieces
    )


def group(pieces: Sequence[TokenSpan]) -> tuple[TokenSpan, ...]:
    """Neighbouring pieces with equal marks joined into one span."""
    runs = [list(run) for _, run in groupby(pieces, key=lambda piece: (piece.trained, piece.kept))]
    return tuple(
        TokenSpan(
            "".join(piece.text for piece in run),
            run[0].trained,
            tuple(token for piece in run for token in piece.ids),
            run[0].kept,
        )
        for run in runs
    )


def _lengths_of(answer: Mapping[str, Any]) -> Lengths:
    return Lengths(
        counts=tuple(answer["counts"]),
        truncated=answer["truncated"],
        without_trained=answer["without_trained"],
        rows=answer["rows"],
        left_out=answer["left_out"],
        problems=tuple(Problem(**found) for found in answer["problems"]),
        sampled=answer["sampled"],
        gate=GateReport.from_json(answer["gate"]),
    )
