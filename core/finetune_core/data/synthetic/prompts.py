"""What the model is asked: a few new rows at a time, each time of another kind, chosen by a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from finetune_core.data.rows import Conversation
from finetune_core.data.synthetic.pending import as_turns
from finetune_core.text import one_line

EXAMPLES: Final = 3
TAKEN: Final = 12
TOPICS: Final = 40
_TAKEN_SHOWN: Final = 160
_WORDS_FROM: Final = 3

_PERSONAS: Final = (
    "a beginner who lacks the right words",
    "an expert who goes straight to the point",
    "somebody in a hurry, in short and incomplete sentences",
    "somebody who explains the whole background first",
    "somebody who is polite and unsure of what to ask for",
    "somebody who is frustrated because something failed",
    "somebody who writes carelessly, with typing mistakes and without capitals",
    "somebody who asks for one precise detail",
    "somebody who compares two possibilities",
    "somebody whose question rests on a small misunderstanding",
    "somebody who gives figures, names and dates",
    "somebody who sets a condition that the answer has to meet",
)
_DIFFICULTIES: Final = (
    "easy: an everyday case",
    "ordinary: what comes up in daily work",
    "hard: several things have to be considered together",
    "an edge case: unusual but possible",
    "a borderline case: what to answer when information is missing",
)

_SYSTEM: Final = """\
You write training examples for an assistant. You are given its task, examples of the real thing, and the kind of \
examples that is wanted. Write in the language and the exact style of the examples: what form the answers have, how \
long they are, what they never do. Every answer has to be correct; leave an example out rather than guess. Answer with \
JSON only."""
_FORM: Final = '[{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}]'


@dataclass(frozen=True)
class Batch:
    """What one request asks for: `count` rows, shown `examples`, a `kind` in words, and the system turn of the rows."""

    number: int
    count: int
    examples: tuple[Conversation, ...]
    kind: tuple[str, ...]
    taken: tuple[str, ...]
    system: str
    turns: int


def plan_batch(
    number: int,
    count: int,
    seed: int,
    examples: Sequence[Conversation],
    topics: Sequence[str],
    asked: Sequence[str],
) -> Batch:
    """The request of this number: the same for the same seed and rows, another kind for each number.

    `asked` are the questions that exist; a sample of them is shown, so that the model does not repeat them.
    """
    rng = random.Random(f"{seed}:{number}")  # noqa: S311 - a choice of examples, guards nothing
    shown = tuple(rng.sample(list(examples), min(EXAMPLES, len(examples))))
    model = shown[0]
    answer = next(turn.content for turn in reversed(model.messages) if turn.role == "assistant")
    words = max(round(len(answer.split()) * rng.uniform(0.5, 1.6)), _WORDS_FROM)
    kind = (
        f"topics: {'; '.join(rng.sample(list(topics), min(count, len(topics))))}" if topics else "topics: new ones",
        f"asked by {rng.choice(_PERSONAS)}",
        rng.choice(_DIFFICULTIES),
        f"the longest answer about {words} words, the others shorter",
    )
    taken = tuple(one_line(text, _TAKEN_SHOWN) for text in rng.sample(list(asked), min(TAKEN, len(asked))))
    system = next((turn.content for turn in model.messages if turn.role == "system"), "")
    return Batch(number, count, shown, kind, taken, system, sum(turn.role == "user" for turn in model.messages))


def rows_request(task: str, batch: Batch) -> list[dict[str, str]]:
    """The messages that ask for a batch."""
    turns = "one question and its answer" if batch.turns == 1 else f"{batch.turns} questions, each with its answer"
    parts = [
        f"The assistant's task:\n{task}",
        f"The assistant works under these instructions, which rows do not repeat:\n{batch.system}"
        if batch.system
        else "",
        "Real examples:\n" + "\n".join(_as_example(row) for row in batch.examples),
        "These questions exist already; do not ask them again in other words:\n" + _listed(batch.taken),
        f"Write {batch.count} new examples (set {batch.number}), no two alike in subject or wording:\n"
        + _listed(batch.kind),
        f"Each example holds {turns}. Answer with a JSON array and nothing else, in this form:\n{_FORM}",
    ]
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": "\n\n".join(filter(None, parts))}]


def topics_request(task: str, examples: Sequence[Conversation], seed: int) -> list[dict[str, str]]:
    """The messages that ask which topics there are, so that the rows spread over all of them."""
    rng = random.Random(f"{seed}:topics")  # noqa: S311 - a choice of examples, guards nothing
    shown = rng.sample(list(examples), min(2 * EXAMPLES, len(examples)))
    text = (
        f"The assistant's task:\n{task}\n\nReal examples:\n" + "\n".join(_as_example(row) for row in shown) + "\n\n"
        f"List {TOPICS} different topics that questions to this assistant can be about: the common ones first, then "
        "rarer ones. Each is a phrase of two to six words. Answer with a JSON array of strings and nothing else."
    )
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": text}]


def _as_example(row: Conversation) -> str:
    turns = [turn for turn in row.messages if turn.role != "system"]
    return json.dumps({"messages": as_turns(turns)}, ensure_ascii=False)


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) or "- (none yet)"
