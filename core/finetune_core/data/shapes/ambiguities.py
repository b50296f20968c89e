"""Rows that can be read in two ways: what a person is asked, and what each answer sets in the recipe."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from finetune_core.data.shapes.columns import (
    ALPACA,
    ANSWER_SHAPES,
    MESSAGES,
    SHAREGPT,
    TEXT,
    Reading,
    Value,
    conversations,
    turn_keys,
)
from finetune_core.data.shapes.labels import grade, label_column
from finetune_core.errors import Problem
from finetune_core.text import one_line

# Columns beside a text that may be the answer to it.
_ANSWERS_TO_TEXT: Final = tuple(
    "label labels category class intent sentiment topic code target targets translation headline highlights summary"  # noqa: SIM905
    " answer output response completion solution reply".split()
)
_OPTIONS: Final = ("choices", "options", "endings", "candidates")
# Keys under which answers lie in objects, and how deep they are looked for.
_ANSWER_KEYS: Final = tuple(
    "content text response answer output completion message choices generation value".split()  # noqa: SIM905
)
_OF_MIXED: Final = "Of a file in data.mix take the column out instead: these settings are for data.source"
_DEEPEST: Final = 5
_WRITTEN_OUT: Final = ("### ", "[INST]", "<|im_start|>", "<|start_header_id|>", "<start_of_turn>")
_PART: Final = {MESSAGES: "messages", SHAREGPT: "conversations"}


@dataclass(frozen=True)
class Answer:
    """One way to read the rows: in words, and the fields `data.shape` and `data.mapping` that say so."""

    words: str
    shape: str
    mapping: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """What is to be decided. The first answer is the proposed one; nothing is trained until somebody decides."""

    text: str
    answers: tuple[Answer, ...]

    def to_json(self) -> dict[str, object]:
        """For programs: the question, and for each answer its words and what it sets."""
        answers = [{"words": one.words, "shape": one.shape, "mapping": dict(one.mapping)} for one in self.answers]
        return {"text": self.text, "answers": answers}


def to_decide(question: Question) -> Problem:
    """That nobody has decided yet how rows are read, with what says each answer."""
    ways = [f"{answer.words}: {as_settings(answer)}" for answer in question.answers]
    return Problem(
        f"to decide: {question.text}",
        "data.source",
        "the rows can be read in more than one way, and a guess could train on the wrong words",
        f"{'; or '.join(ways)}. {_OF_MIXED}",
        kind="to-decide",
        field="data.mapping",
    )


def as_settings(answer: Answer) -> str:
    """What sets an answer on the command line of `train` and `plan`."""
    parts = ", ".join(f"{part}: {json.dumps(column, ensure_ascii=False)}" for part, column in answer.mapping.items())
    return f"--set data.shape={answer.shape} --set {shlex.quote(f'data.mapping={{{parts}}}')}"


def question_of(reading: Reading, values: Sequence[Value], mapping: Mapping[str, str]) -> Question | None:
    """What a person should decide about rows recognised as this; None when only one reading fits."""
    if reading.name in ANSWER_SHAPES and (found := label_column(values, mapping.values())) is not None:
        return _graded(reading.name, *found, mapping)
    if reading.name == ALPACA and (several := _several(values, mapping)) is not None:
        return several
    first, columns = values[0], set(mapping.values())
    other = next((name for name in conversations(first) if name not in columns), None)
    if reading.name in _PART and other is not None:
        return _two_conversations(reading.name, mapping, other, first)
    return _of_text(values, mapping) if reading.name == TEXT else None


def _of_text(values: Sequence[Value], mapping: Mapping[str, str]) -> Question | None:
    """Whether raw text is meant: an answer may stand beside it, or prompts and answers be written out in it."""
    column = mapping["text"]
    answer = next((name for name in _ANSWERS_TO_TEXT if name != column and _is_filled(values, name)), None)
    if answer is not None:
        return Question(
            f"is `{answer}` the answer to `{one_line(column, 40)}`?",
            (
                Answer(f"no: every word of `{one_line(column, 40)}` is trained, `{answer}` is not used", TEXT, mapping),
                Answer(f"yes: `{answer}` is trained as the answer", ALPACA, {"instruction": column, "output": answer}),
            ),
        )
    if any(mark in str(value.get(column)) for value in values for mark in _WRITTEN_OUT):
        return Question(
            "the texts look like prompts with their answers written out; only as messages are answers alone trained",
            (Answer("go on: every word is trained, prompts too", TEXT, mapping),),
        )
    return None


def _is_filled(values: Sequence[Value], name: str) -> bool:
    """Whether a column holds something that can be an answer, in most rows."""
    filled = sum(isinstance(value.get(name), str | int | float) and value.get(name) != "" for value in values)
    return 2 * filled > len(values)


def _several(values: Sequence[Value], mapping: Mapping[str, str]) -> Question | None:
    """Which one of several answers of a row is trained, or how an answer that is no text is written."""
    column = mapping["output"]
    shown = one_line(column, 40)
    found = [value[column] for value in values if value.get(column) is not None]
    options = next((name for name in _OPTIONS if any(isinstance(value.get(name), list) for value in values)), None)
    if options is not None and found and all(_names_an_option(one) for one in found):
        return Question(
            f"`{shown}` names one of `{options}`: is it trained as it stands?",
            (Answer(f"yes: `{shown}` is trained, and `{options}` is not shown to the model", ALPACA, mapping),),
        )
    objects = next((one for one in found if isinstance(one, dict)), None)
    if objects is not None:
        path = deeper(objects, column)
        ways = [Answer(f"the text in `{path}`", ALPACA, {**mapping, "output": path})] if path else []
        whole = Answer("each object, written as JSON", ALPACA, mapping)
        return Question(f"`{shown}` holds objects: what is trained?", (*ways, whole))
    several = next((one for one in found if isinstance(one, list) and len(one) > 1 and not _is_parts(one)), None)
    if several is not None:
        path = deeper(several, column) or f"{column}[0]"
        return Question(
            f"`{shown}` holds several answers: which one is trained?",
            (Answer("the first one", ALPACA, {**mapping, "output": path}),),
        )
    return None


def _is_parts(value: list[object]) -> bool:
    """Whether a list holds the parts of one answer, each with its type."""
    return all(isinstance(part, dict) and "type" in part for part in value)


def _names_an_option(value: object) -> bool:
    return type(value) is int or (isinstance(value, str) and len(value.strip()) == 1)


def deeper(value: object, path: str, depth: int = 0) -> str | None:
    """The path to the first text within an object or a list that can be an answer; None where there is none."""
    if isinstance(value, str):
        return path if value.strip() else None
    if depth > _DEEPEST:
        return None
    if isinstance(value, list):
        return deeper(value[0], f"{path}[0]", depth + 1) if value else None
    if not isinstance(value, dict):
        return None
    for name in _ANSWER_KEYS:
        if name in value and (found := deeper(value[name], f"{path}.{name}", depth + 1)):
            return found
    return None


def _graded(name: str, column: str, bad: str, mapping: Mapping[str, str]) -> Question:
    shown = one_line(column, 40)
    answers = [Answer("no: every answer is a good one", name, mapping)]
    if grade(bad) is False:
        # A word says more than a number, which may count anything.
        place = 1 if bad.lstrip("-").replace(".", "").isdigit() else 0
        answers.insert(place, Answer(f"yes: rows with {bad} are left out", name, {**mapping, "label": column}))
    return Question(f"does {one_line(bad, 20)} in `{shown}` mark a bad answer?", tuple(answers))


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
