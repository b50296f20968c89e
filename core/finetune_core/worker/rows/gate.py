"""Looks at rows as the model gets them, apart from how their mask was made: is what the rows say trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from finetune_core.data.rows import Conversation, Message, Text, TrainingRow
from finetune_core.data.stats import percentiles
from finetune_core.data.tokens.gate_report import GateCheck, GateReport
from finetune_core.errors import FtError
from finetune_core.models.json_file import read_json
from finetune_core.text import one_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from finetune_core.worker.rows.tokenise import Encoded, UnlikePrompt

    Unlike = Callable[[Conversation, Encoded], Iterator[UnlikePrompt]]

_EXAMPLES: Final = 5
_COMPARED: Final = 1000
# Words of a question that also stand in an answer say nothing about the mask.
_TELLING: Final = 12
_OTHER_MODEL: Final = "choose a model with another chat template, or set model.chat_template"
_THINKING: Final = (
    "write the reasoning into the rows, ask the result with thinking switched off, or choose another template"
)
_CHECKS: Final = (
    GateCheck("turns-written", "every turn is written", blocking=True, remedy=_OTHER_MODEL),
    GateCheck("answers-learnt", "every answer that is to be trained is trained", blocking=True, remedy=_OTHER_MODEL),
    GateCheck("nothing-else-learnt", "nothing but answers is trained", blocking=True, remedy=_OTHER_MODEL),
    GateCheck(
        "context-kept", "what stands before an answer is what it will be asked with", blocking=True, remedy=_OTHER_MODEL
    ),
    GateCheck("stop-learnt", "the model learns where an answer ends", blocking=True, remedy=_OTHER_MODEL),
    GateCheck(
        "stop-known",
        "other programs stop at the token that ends an answer",
        blocking=False,
        remedy="a whole model's result names it; with an adapter, give it to generate() as eos_token_id",
    ),
    GateCheck("answer-opened", "an answer begins as the prompt for it opens it", blocking=False, remedy=_THINKING),
    GateCheck(
        "earlier-turns-alike",
        "earlier turns stand as they will be asked with",
        blocking=False,
        remedy="the template is trained in its form for training, which writes earlier answers as they were given; "
        "rows with a single answer avoid the difference",
    ),
    GateCheck(
        "reasoning-written",
        "the reasoning of a last answer is written",
        blocking=False,
        remedy="choose a model or template that writes it; as it is, only the answer is trained",
    ),
    GateCheck(
        "something-learnt",
        "every row has something left to learn within max_length",
        blocking=False,
        remedy="raise data.max_length",
    ),
    GateCheck("end-kept", "no row loses its end at max_length", blocking=False, remedy="raise data.max_length"),
)


_CHECK_OF: Final = {
    "rewritten": "context-kept",
    "opened": "answer-opened",
    "joined": "answer-opened",
    "formed": "earlier-turns-alike",
}


class Gate:
    """Takes rows with their tokens one by one; `report` says what came of it.

    `max_length`, where rows are cut, may be set until `report` is asked: it may follow from the rows.
    `ends` are the tokens at which programs stop by themselves: those of the tokenizer and the generation config.
    `unlike` gives the answers of a row that will be asked with something else (`Encoder.unlike_prompts`): asked for
    the first 1000 rows and for each further form of conversation, since it takes as long again as the tokens.
    """

    def __init__(self, ends: set[int], train_on: str, max_length: int | None, unlike: Unlike | None = None) -> None:
        self._ends = ends
        self._unlike = unlike
        self._compared = 0
        self._forms: set[tuple[object, ...]] = set()
        self._all = train_on == "all"
        self.max_length = max_length
        self._lengths: list[int] = []
        # Of each row its number, and the place of its first trained token that is predicted from something.
        self._numbers: list[int] = []
        self._firsts: list[int] = []
        self._untrained: list[tuple[int, str]] = []
        self._counts = dict.fromkeys((check.name for check in _CHECKS), 0)
        self._examples: dict[str, list[tuple[int, str]]] = {check.name: [] for check in _CHECKS}

    def look(self, row: TrainingRow, encoded: Encoded) -> None:
        """Check one row."""
        if isinstance(row, Text):
            return
        if not row.completion_only:
            self._check_written(row, encoded)
        if not self._all:
            self._check_mask(row, encoded)
            self._check_reasoning(row, encoded)
            self._check_prompts(row, encoded)
        self._check_stop(row, encoded)
        self._note_length(row, encoded)

    def report(self) -> GateReport:
        """What the rows so far say, cut at `max_length`."""
        found = {name: (self._counts[name], self._examples[name]) for name in self._counts} | self._cut()
        checks = tuple(
            replace(check, rows=found[check.name][0], examples=tuple(found[check.name][1])) for check in _CHECKS
        )
        most, every = percentiles(self._lengths, (0.99, 1)) or (0, 0)
        return GateReport(
            len(self._lengths),
            checks,
            keep_all=every,
            keep_most=most,
            tokens=self._tokens(self.max_length),
            tokens_most=self._tokens(most),
            tokens_all=sum(self._lengths),
            compared=self._compared,
        )

    def _tokens(self, limit: int | None) -> int:
        """Tokens of all rows when they are cut at a length."""
        return sum(self._lengths) if limit is None else sum(min(length, limit) for length in self._lengths)

    def _fail(self, name: str, row: Conversation, excerpt: str) -> None:
        self._counts[name] += 1
        if len(self._examples[name]) < _EXAMPLES:
            self._examples[name].append((row.number, one_line(excerpt, 120)))

    def _check_written(self, row: Conversation, encoded: Encoded) -> None:
        place = 0
        for turn in row.messages:
            found = [(begin, form) for form in _forms(turn) if (begin := encoded.text.find(form, place)) >= 0]
            if not found:
                self._fail("turns-written", row, f"{turn.role}: {_words(turn)}")
                return
            begin, form = min(found)
            # A system turn may be moved into the first question, behind its words.
            place = begin + len(form) if turn.role != "system" else 0

    def _check_mask(self, row: Conversation, encoded: Encoded) -> None:
        texts = stretches(encoded, trained=True)
        answers = [turn for turn in row.messages if turn.role == "assistant" and turn.trained]
        lost = next((turn for turn in answers if _words(turn) not in texts), None)
        if lost is not None:
            self._fail("answers-learnt", row, _words(lost))
        allowed = "\n".join(f"{turn.content}\n{turn.reasoning}" for turn in answers)
        others = [_words(turn) for turn in row.messages if turn.role != "assistant" or not turn.trained]
        leaked = next(
            (text for text in others if len(text) >= _TELLING and text in texts and text not in allowed), None
        )
        if leaked is not None:
            self._fail("nothing-else-learnt", row, leaked)

    def _check_reasoning(self, row: Conversation, encoded: Encoded) -> None:
        last = row.messages[-1]
        if last.trained and last.reasoning.strip() and last.reasoning.strip() not in encoded.text:
            self._fail("reasoning-written", row, last.reasoning)

    def _check_prompts(self, row: Conversation, encoded: Encoded) -> None:
        form = (row.completion_only, bool(row.tools), *((turn.role, bool(turn.reasoning)) for turn in row.messages))
        if self._unlike is None or (self._compared >= _COMPARED and form in self._forms):
            return
        self._forms.add(form)
        self._compared += 1
        try:
            found = list(self._unlike(row, encoded))
        except FtError as error:
            self._fail("answer-opened", row, f"its prompt cannot be written: {error.problems[0].why}")
            return
        # Templates leave the reasoning of earlier turns out by design.
        thoughtful = any(turn.reasoning for turn in row.messages)
        failed: dict[str, UnlikePrompt] = {}
        for one in found:
            name = _CHECK_OF[one.how]
            failed.setdefault("answer-opened" if thoughtful and name == "context-kept" else name, one)
        for name, one in failed.items():
            self._fail(name, row, f"turn {one.turn + 1}: {one.words}")

    def _check_stop(self, row: Conversation, encoded: Encoded) -> None:
        if not row.messages[-1].trained or True not in encoded.trained:
            return
        spoken = [place for place, one in enumerate(encoded.trained) if one and _text_at(encoded, place).strip()]
        if not spoken:
            return
        last = spoken[-1]
        token = _text_at(encoded, last)
        if encoded.input_ids[last] not in self._ends:
            # What still carries words of the answer ends nothing.
            known = token not in _words(row.messages[-1])[-len(token) :]
            self._fail("stop-known" if known else "stop-learnt", row, f"the last trained token is {token!r}")

    def _note_length(self, row: Conversation, encoded: Encoded) -> None:
        trained = encoded.trained
        self._lengths.append(len(trained))
        self._numbers.append(row.number)
        self._firsts.append(trained.index(True, 1) if True in trained[1:] else len(trained))
        if self._firsts[-1] == len(trained) and len(self._untrained) < _EXAMPLES:
            self._untrained.append((row.number, one_line(row.messages[-1].content, 120)))

    def _cut(self) -> dict[str, tuple[int, list[tuple[int, str]]]]:
        """Rows that lose their end where they are cut, and those with nothing to learn before it; with examples."""
        limit = self.max_length
        rows = list(zip(self._numbers, self._lengths, self._firsts, strict=True))
        ends = [(number, f"{length} tokens") for number, length, _ in rows if limit is not None and length > limit]
        behind = f"its first trained token lies behind token {limit}"
        excerpts = dict(self._untrained)
        nothing = [
            (number, excerpts.get(number, behind))
            for number, length, first in rows
            if first >= (length if limit is None else min(length, limit))
        ]
        return {"end-kept": (len(ends), ends[:_EXAMPLES]), "something-learnt": (len(nothing), nothing[:_EXAMPLES])}


def _text_at(encoded: Encoded, place: int) -> str:
    begin, end = encoded.offsets[place]
    return encoded.text[begin:end]


def stretches(encoded: Encoded, *, trained: bool) -> str:
    """The text of the tokens that are trained, or of the others; a newline between stretches."""
    parts: list[str] = []
    places = zip(encoded.trained, encoded.offsets, strict=True)
    for counts, run in groupby(places, key=lambda place: place[0]):
        if counts == trained:
            spans = [span for _, span in run]
            parts.append(encoded.text[spans[0][0] : spans[-1][1]])
    return "\n".join(parts)


def ends_of(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens at which programs stop by themselves: the tokenizer's, and those a generation config names."""
    try:
        named = read_json(Path(tokenizer.name_or_path) / "generation_config.json").get("eos_token_id")
    except FtError:
        named = None
    config = named if isinstance(named, list) else [named]
    return {token for token in (tokenizer.eos_token_id, *config) if isinstance(token, int)}


def _forms(turn: Message) -> set[str]:
    """How a turn may be written: as it is; a tool's answer also within a text of JSON, or as JSON written anew."""
    words = _words(turn)
    if turn.role != "tool":
        return {words}
    forms = {words, json.dumps(words)[1:-1], json.dumps(words, ensure_ascii=False)[1:-1]}
    with suppress(ValueError, RecursionError):
        held = json.loads(words)
        forms |= {json.dumps(held), json.dumps(held, ensure_ascii=False)}
    return forms


def _words(turn: Message) -> str:
    """What has to be found of a turn: its words, or the name of the function it calls first."""
    if turn.content.strip() or not turn.tool_calls:
        # Thoughts written into an answer are set anew by many templates, and left out of earlier turns by design.
        return turn.content.rpartition("</think>")[2].strip() or turn.content.strip()
    return turn.tool_calls[0].name
