"""A process that answers questions on tokens: `python -P -m finetune_core.worker.rows.server MODEL_DIR`.

Requests come as JSON lines on standard input, answers go as JSON lines to standard output, each with the request's id,
the last one of a request with `"last": true`. It ends when standard input does. A request that takes long is done in
slices, so that others are answered in between.
"""

from __future__ import annotations

import json
import os
import random
import select
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune_core.data.rows import Conversation, Message, Text, ToolCall, TrainingRow
from finetune_core.data.shapes.recognise import Choice
from finetune_core.data.usable import usable
from finetune_core.errors import FtError, Problem, problem
from finetune_core.models.trust import is_trusted
from finetune_core.recipe.schema import Data
from finetune_core.worker.rows.count import MOST_BYTES, count
from finetune_core.worker.rows.encode import TOO_SLOW, encode
from finetune_core.worker.rows.gate import Gate, ends_of
from finetune_core.worker.rows.tokenizer import load_tokenizer
from finetune_core.worker.rows.vocabulary import UNKNOWN_TOKEN, embeddings_of, unknown_tokens
from finetune_core.worker.time_limit import limit_memory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from finetune_core.worker.rows.tokenise import Encoded, Encoder

MEMORY = 4 * 2**30
EXACT_ROWS, FEWEST_ROWS = 20_000, 50
SHOWN_TOKENS = 4_000
_SLICE_SECONDS = 0.05
_TOLD_PROBLEMS = 20
_SLOW_ROWS = 3

Answer = dict[str, Any]


class Asked:
    """The questions and their answers, over one tokenizer and the number of embeddings its model has, where known."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, known: int | None = None) -> None:
        self._tokenizer = tokenizer
        self._known = known
        self._encoders: dict[tuple[str, str], Encoder] = {}

    def answers(self, request: Answer) -> Iterator[Answer]:
        """The answers to one request, in slices of a row or of a fraction of a second. Raises FtError."""
        if request["do"] == "preview":
            for row in request["rows"]:
                yield {"progress": [], "row": self._preview(row, request)}
            yield {}
        elif request["do"] == "lengths":
            yield from self._lengths(request)
        elif request["do"] == "count":
            data = Data.model_validate(request["data"])
            yield from count(data, request["seed"], lambda row: self._encode(row, request))
        else:
            yield {}

    def _encoder(self, request: Answer) -> Encoder:
        from finetune_core.worker.rows.chat_template import use_template
        from finetune_core.worker.rows.tokenise import Encoder

        train_on = "all" if request["train_on"] == "all" else "assistant"
        key = (train_on, request["chat_template"])
        if key not in self._encoders:
            self._encoders[key] = Encoder(
                use_template(self._tokenizer, request["chat_template"]), "all" if train_on == "all" else "assistant"
            )
        return self._encoders[key]

    def _encode(self, row: TrainingRow, request: Answer, gate: Gate | None = None) -> Encoded:
        encoder = self._encoder(request)
        try:
            encoded = encode(row, encoder, gate)
        except MemoryError:
            raise problem(
                f"row {row.number} took too much memory to turn into tokens",
                where=encoder.name,
                why=f"it needed more than {MEMORY // 2**30} GiB",
                remedy="shorten the row, or choose another model: its chat template may be damaged or hostile",
            ) from None
        if (
            self._known is not None
            and (found := unknown_tokens(self._known, encoder.tokenizer, encoded.input_ids)) is not None
        ):
            raise FtError(found)
        return encoded

    def _preview(self, row: Answer, request: Answer) -> Answer:
        asked = _from_wire(row)
        try:
            encoded = self._encode(asked, request)
        except FtError as error:
            return {"number": row["number"], "problem": asdict(error.problems[0])}
        total = len(encoded.input_ids)
        limit = total if isinstance(asked, Text) else min(request["max_length"] or total, total)
        return {
            "number": row["number"],
            "rendered": encoded.text[: encoded.offsets[:SHOWN_TOKENS][-1][1]] if encoded.offsets else "",
            "pieces": self._pieces(encoded, limit),
            "tokens": total,
            "trained": sum(encoded.trained[:limit]),
            "cut": total - limit,
        }

    def _pieces(self, encoded: Encoded, limit: int) -> list[list[Any]]:
        """[text, trained, ids, kept] for each token; tokens that only together make a character share one."""
        unknown, unknown_name = self._tokenizer.unk_token_id, str(self._tokenizer.unk_token)
        pieces: list[list[Any]] = []
        seen = -1
        shown = zip(encoded.input_ids, encoded.trained, encoded.offsets, strict=True)
        for place, (token, trained, (begin, end)) in enumerate(shown):
            if place >= SHOWN_TOKENS:
                break
            text = encoded.text[max(begin, seen) : end] if token != unknown else unknown_name
            if pieces and begin < seen and pieces[-1][1] == trained and pieces[-1][3] == (place < limit):
                pieces[-1][0] += text
                pieces[-1][2].append(token)
            else:
                pieces.append([text, trained, [token], place < limit])
            seen = max(seen, end)
        return pieces

    def _lengths(self, request: Answer) -> Iterator[Answer]:
        choice = Choice(request["shape"], request["mapping"], request["fixes"])
        opened = usable(request["source"], choice, held_out=request["held_out"])
        rows, count, most = opened.file, 0, 0
        for count, size in rows.counting():
            most = _most_rows(count, size)
            yield {"progress": [0, count]}
        sampled = count > most
        chosen = set(random.Random(0).sample(range(1, count + 1), most)) if sampled else set()  # noqa: S311
        tally = _Tally(request["max_length"], count, sampled=sampled)
        encoder = self._encoder(request)
        gate = Gate(ends_of(encoder.tokenizer), request["train_on"], request["max_length"], encoder.unlike_prompts)
        said_at = time.monotonic()
        for _, row in opened.trained(rows.chosen(chosen) if sampled else None):
            try:
                if isinstance(row, Problem):
                    tally.leave_out(row)
                elif isinstance(row, Text):
                    for piece in self._encode(row, request).pieces(request["max_length"]):
                        tally.add(piece)
                else:
                    tally.add(self._encode(row, request, gate))
            except FtError as error:
                tally.leave_out(error.problems[0])
            if time.monotonic() - said_at > _SLICE_SECONDS:
                yield {"progress": [tally.done, min(most, count)]}
                said_at = time.monotonic()
        yield {**tally.result(), "gate": gate.report().to_json()}


def _most_rows(rows: int, size: int) -> int:
    """How many of a file's rows are counted: 20,000, or fewer large ones, so that it takes no more than a minute."""
    return max(FEWEST_ROWS, min(EXACT_ROWS, MOST_BYTES * rows // max(1, size)))


def _from_wire(row: Answer) -> TrainingRow:
    """A row as `finetune_core.data.tokens.client` sends it."""
    if "text" in row:
        return Text(row["number"], row["text"])
    messages = tuple(
        Message(**{**turn, "tool_calls": tuple(ToolCall(**call) for call in turn["tool_calls"])})
        for turn in row["messages"]
    )
    tools = tuple(row["tools"])
    return Conversation(row["number"], messages, completion_only=row["completion_only"], tools=tools)


class _Tally:
    """Row lengths gathered so far."""

    def __init__(self, max_length: int | None, rows: int, *, sampled: bool) -> None:
        self._limit = max_length
        self._rows, self._sampled = rows, sampled
        self._counts: list[int] = []
        self._truncated = self._without_trained = self._left_out = self._slow = 0
        self._problems: dict[Problem, None] = {}

    @property
    def done(self) -> int:
        return len(self._counts) + self._left_out

    def add(self, encoded: Encoded) -> None:
        limit = self._limit or len(encoded.input_ids)
        self._counts.append(len(encoded.input_ids))
        self._truncated += len(encoded.input_ids) > limit
        # The first token of a sequence is never predicted, so a mark on it teaches nothing.
        self._without_trained += not any(encoded.trained[1:limit])

    def leave_out(self, found: Problem) -> None:
        self._left_out += 1
        self._slow += found.kind == TOO_SLOW
        if self._slow >= _SLOW_ROWS or found.kind == UNKNOWN_TOKEN:
            # A template that takes so long for every row would be waited for all night, and a run with a token that the
            # model does not know never starts.
            raise FtError(found)
        if len(self._problems) < _TOLD_PROBLEMS:
            self._problems[found] = None

    def result(self) -> Answer:
        """The answer to a request for lengths. FtError when every row was left out."""
        if self._left_out and not self._counts:
            raise FtError(list(self._problems))
        return {
            "counts": self._counts,
            "truncated": self._truncated,
            "without_trained": self._without_trained,
            "rows": self._rows,
            "left_out": self._left_out,
            "problems": [asdict(found) for found in self._problems],
            "sampled": self._sampled,
        }


def serve(load: Callable[[], Asked], requests: int, send: Callable[[Answer], None]) -> None:
    """Answer requests from a file descriptor until it ends."""
    asked: Asked | None = None
    running: dict[int, Iterator[Answer]] = {}
    lines = _Lines(requests)
    while True:
        for line in lines.waiting(block=not running):
            request = json.loads(line)
            number = request["id"]
            if request["do"] == "cancel":
                running.pop(number, None)
                continue
            try:
                asked = asked or load()
            except FtError as error:
                send(_failure(number, error))
            else:
                running[number] = asked.answers(request)
        if lines.ended:
            return
        for number in list(running):
            _advance(number, running, send)


def _advance(number: int, running: dict[int, Iterator[Answer]], send: Callable[[Answer], None]) -> None:
    """Give the next slice of one request."""
    try:
        answer = next(running[number], None)
    except FtError as error:
        send(_failure(number, error))
        del running[number]
        return
    if answer is None:
        del running[number]
    else:
        send({"id": number, **answer, "last": "progress" not in answer})


def _failure(number: int, error: FtError) -> Answer:
    return {"id": number, "failed": True, "problems": [asdict(found) for found in error.problems], "last": True}


class _Lines:
    """Lines from a file descriptor, taken without waiting where there is other work to do."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._held = b""
        self.ended = False

    def waiting(self, *, block: bool) -> list[bytes]:
        """The complete lines that have come; with `block` at least one, unless the end has come."""
        while not self.ended:
            ready, _, _ = select.select([self._descriptor], [], [], None if block else 0)
            if not ready:
                break
            text = os.read(self._descriptor, 2**20)
            self.ended = not text
            *lines, self._held = (self._held + text).split(b"\n")
            if lines:
                return lines
        return []


def main() -> None:
    """Serve standard input and output; what libraries print goes to standard error."""
    folder = Path(sys.argv[1])
    if not is_trusted(folder):
        # Where transformers finds torch it imports it: 2 s and 200 MB that only a tokenizer of a model's own code uses.
        sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(answer: Answer) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    def load() -> Asked:
        tokenizer = load_tokenizer(folder)
        limit_memory(MEMORY)
        return Asked(tokenizer, embeddings_of(folder))

    try:
        serve(load, 0, send)
    except BrokenPipeError:
        # Whoever asked is gone, and nobody is left to hear of it.
        sys.exit(0)


if __name__ == "__main__":
    main()
