"""Rows that can be read in two ways: what a person is asked, and what each answer sets in the recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from finetune_core.data.shapes.columns import (
    ANSWER_SHAPES,
    MESSAGES,
    SHAREGPT,
    TEXT,
    Reading,
    Value,
    conversations,
    turn_keys,
)
from finetune_core.text import one_line

_GRADES: Final = ("label", "score", "rating")
_PART: Final = {MESSAGES: "messages", SHAREGPT: "conversations"}


@dataclass(frozen=True)
class Answer:
    """One way to read the rows: in words, and the fields `data.shape` and `data.mapping` that say so."""

    words: str
    shape: str
    mapping: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """What is to be decided. The first answer is the proposed one, which holds as long as nobody decides."""

    text: str
    answers: tuple[Answer, ...]

    def to_json(self) -> dict[str, object]:
        """For programs: the question, and for each answer its words and what it sets."""
        answers = [{"words": one.words, "shape": one.shape, "mapping": dict(one.mapping)} for one in self.answers]
        return {"text": self.text, "answers": answers}


def question_of(reading: Reading, values: Sequence[Value], mapping: Mapping[str, str]) -> Question | None:
    """What a person should decide about rows recognised as this; None when only one reading fits."""
    grade = next((name for name in _GRADES if _is_grade(values, name)), None)
    if reading.name in ANSWER_SHAPES and grade is not None:
        return _graded(reading.name, grade, mapping)
    first, columns = values[0], set(mapping.values())
    other = next((name for name in conversations(first) if name not in columns), None)
    if reading.name in _PART and other is not None:
        return _two_conversations(reading.name, mapping, other, first)
    if reading.name == TEXT and any("### " in str(value.get(mapping["text"])) for value in values):
        return Question(
            "the texts look like prompts with their answers written out; only as messages are answers alone trained",
            (Answer("go on: every word is trained, prompts too", TEXT, mapping),),
        )
    return None


def _is_grade(values: Sequence[Value], name: str) -> bool:
    found = {value[name] for value in values if type(value.get(name)) is int}
    return found == {0, 1}


def _graded(name: str, grade: str, mapping: Mapping[str, str]) -> Question:
    return Question(
        f"does 0 in `{grade}` mark a bad answer?",
        (
            Answer("no: every answer is a good one", name, mapping),
            Answer("yes: rows with 0 are left out", name, {**mapping, "label": grade}),
        ),
    )


def _two_conversations(name: str, mapping: Mapping[str, str], other: str, first: Value) -> Question:
    part = _PART[name]
    keys = turn_keys(first[other]) or ("", "")
    shape = MESSAGES if keys[0] == "role" else SHAREGPT
    rest = {key: column for key, column in mapping.items() if key != part}
    return Question(
        f"which of `{one_line(mapping[part], 40)}` and `{other}` holds the conversation?",
        (
            Answer(f"`{one_line(mapping[part], 40)}`", name, mapping),
            Answer(f"`{other}`", shape, {**rest, _PART[shape]: other}),
        ),
    )
