"""Which of the known shapes the rows of a file have, inferred from what is in them, never from the file's name."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from finetune_core.data.files.open import HEAD_ROWS, Row
from finetune_core.data.rows import TrainableAs
from finetune_core.data.shapes.ambiguities import Answer, Question, as_settings, deeper, question_of
from finetune_core.data.shapes.columns import (
    ALPACA,
    MESSAGES,
    PREFERENCE,
    PROMPT_COMPLETION,
    PROMPT_ONLY,
    SHAREGPT,
    TEXT,
    UNPAIRED,
    Reading,
    Value,
    optional_parts,
    read,
)
from finetune_core.data.shapes.paths import root, value_at
from finetune_core.data.shapes.refusals import Refusal
from finetune_core.data.shapes.unused import Unused, unused_columns
from finetune_core.errors import FtError, Problem
from finetune_core.recipe.schema import Data
from finetune_core.text import counted, one_line, plural

KNOWN_SHAPES = (
    '{"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]}; '
    '{"instruction": ..., "input": ..., "output": ...}; '
    '{"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}]}; '
    '{"prompt": ..., "completion": ...}'
)
# For each shape the parts it needs (one set of them is enough) and those it may have besides.
PARTS: Final[dict[str, tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]]] = {
    MESSAGES: ((("messages",),), ("system", "tools", "label")),
    SHAREGPT: ((("conversations",),), ("system", "tools", "label")),
    ALPACA: ((("instruction", "output"),), ("input", "system", "history", "reasoning", "tools", "label")),
    PROMPT_COMPLETION: ((("prompt", "completion"),), ("system", "label")),
    PREFERENCE: ((("chosen", "rejected"), ("prompt", "pair")), ("prompt", "input", "system")),
    UNPAIRED: ((("prompt", "completion", "label"), ("messages", "label")), ("input", "system")),
    PROMPT_ONLY: ((("prompt",),), ("system",)),
    TEXT: ((("text",),), ()),
}
_TRAINABLE: Final[dict[str, TrainableAs]] = {PREFERENCE: "dpo", UNPAIRED: "kto", PROMPT_ONLY: "grpo", TEXT: "cpt"}
_KINDS: Final = {
    PREFERENCE: "preference pairs, for DPO",
    UNPAIRED: "answers with a good/bad label, for KTO",
    PROMPT_ONLY: "prompts without answers, for GRPO",
    TEXT: "raw text, for continued pre-training",
}


_MOST_OFFERED: Final = 3
_NO_ANSWERS: Final = frozenset(
    {"id", "uuid", "title", "source", "url", "context", "system", "category", "language", "task"}
)
_LIKELY_ANSWERS: Final = frozenset(
    "answers completions responses generations outputs canonical_solution sql query code solution reply pos".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Choice:
    """What a recipe says about the rows by hand; shape `auto` and an empty mapping leave it to what rows hold.

    `fixes` goes from kind of finding to what is done about it (see `finetune_core.data.shapes.turns.checked`).
    """

    shape: str = "auto"
    mapping: Mapping[str, str] = field(default_factory=dict)
    fixes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Data) -> Choice:
        """The choice in a recipe's section `data`."""
        return cls(data.shape, data.mapping, data.fixes)


AUTOMATIC: Final = Choice()


@dataclass(frozen=True)
class Shape:
    """A shape of rows: its name, how it was recognised, and which column plays which part (see `PARTS`).

    `question` is what a person should decide where the rows allow two readings; `by_hand` says that one did. The part
    `label` of rows with answers names a column that marks bad ones (0 or false), which are left out. `others` are
    columns besides that hold texts, where rows seem to have no answer; `unused` are those that nothing is trained on.
    """

    name: str
    evidence: str
    mapping: dict[str, str]
    question: Question | None = None
    by_hand: bool = False
    others: tuple[str, ...] = ()
    unused: tuple[Unused, ...] = ()

    @property
    def trainable_as(self) -> TrainableAs:
        """The kind of training these rows are for."""
        return _TRAINABLE.get(self.name, "sft")


def recognise(rows: Sequence[Row], choice: Choice = AUTOMATIC) -> Shape:
    """The shape most of these rows have, or the one chosen by hand; the first thousand are looked at.

    FtError when most have none that is known or can be trained on, or the choice does not fit the rows.
    """
    values = [row.value for row in rows[:HEAD_ROWS] if row.value is not None]
    if not values:
        raise FtError(_no_good_rows(rows))
    if choice.shape != "auto" or choice.mapping:
        return _chosen(values, choice)
    return _inferred(values, rows[0].source)


def training_refusal(shape: Shape) -> Problem | None:
    """Why rows of this shape cannot be trained on by this version, with the way out; None when they can."""
    if shape.trainable_as in ("sft", "cpt"):
        return None
    remedies = {
        PREFERENCE: _chosen_answers(shape),
        UNPAIRED: "to learn the good answers only, set data.shape to "
        + ("messages" if "messages" in shape.mapping else "prompt-completion")
        + "; rows labelled false are then left out",
        PROMPT_ONLY: _other_answers(shape),
    }
    why = "this version trains on answers and on text"
    return Problem(f"the rows are {_KINDS[shape.name]}", "data.source", why, remedies[shape.name], kind="not-offered")


def _other_answers(shape: Shape) -> str:
    """What may hold the answers of rows that seem to be prompts alone."""
    prompt = shape.mapping.get("prompt", "")
    ways = [as_settings(Answer("", ALPACA, {"instruction": prompt, "output": path})) for path in shape.others]
    if not ways:
        return "add the answers in a column `completion`; or name the column that holds them in data.mapping"
    return f"if one of these is the answer: {'; or '.join(ways[:_MOST_OFFERED])}"


def _filled(values: Sequence[Value], taken: Iterable[str]) -> tuple[str, ...]:
    """Columns and paths besides that hold a text in most rows, the likeliest answer first."""
    used, found = set(taken), Counter[str]()
    for value in values:
        for name, held in value.items():
            path = deeper(held, name) if name not in used and not _is_id(name) else None
            if path is not None:
                found[path] += 1
    likely = [path for path, count in found.items() if 2 * count > len(values)]
    return tuple(sorted(likely, key=lambda path: root(path) not in _LIKELY_ANSWERS))


def _is_id(name: str) -> bool:
    return name.lower() in _NO_ANSWERS or name.lower().endswith(("_id", "_url"))


def _chosen_answers(shape: Shape) -> str:
    good, prompt, pair = (shape.mapping.get(part) for part in ("chosen", "prompt", "pair"))
    if pair is not None and prompt is not None:
        first = as_settings(Answer("", ALPACA, {"instruction": prompt, "output": f"{pair}[0]"}))
        return f"where both answers are right, or the first is the better one: {first}"
    if good is None:
        return "to learn the better answers only, write each row as messages: the prompt, then the better answer"
    if prompt is None:
        return f"to learn the better answers only, set data.shape to messages and data.mapping to {{messages: {good}}}"
    mapping = f"{{prompt: {prompt}, completion: {good}}}"
    return f"to learn the better answers only, set data.shape to prompt-completion and data.mapping to {mapping}"


# Inferred from what rows hold


def _inferred(values: Sequence[Value], source: str) -> Shape:
    found = [read(value) for value in values]
    names = Counter(kind.name for kind in found if kind is not None)
    if not names:
        raise FtError(_unknown(values, source))
    name, count = names.most_common(1)[0]
    for kind in found:
        if isinstance(kind, Refusal) and kind.name == name:
            what = f"{count} of {counted(len(values), 'row')} looked at {plural(count, 'is', 'are')} {kind.name}"
            raise FtError(Problem(what, source, kind.why, kind.remedy, kind=kind.kind))
    readings = [kind for kind in found if isinstance(kind, Reading) and kind.name == name]
    reading = Counter(readings).most_common(1)[0][0]
    needed, more = dict(reading.mapping), optional_parts(reading, list(values))
    evidence = _evidence(name, needed, more, readings.count(reading), len(values))
    mapping = needed | more
    others = _filled(values, needed.values()) if name == PROMPT_ONLY else ()
    unused = unused_columns(values, mapping, PARTS[name][1])
    return Shape(name, evidence, mapping, question_of(reading, values, mapping), others=others, unused=unused)


def _evidence(name: str, needed: Mapping[str, str], more: Mapping[str, str], count: int, total: int) -> str:
    words = f"all {count} rows" if count == total else f"{count} of {total} rows"
    words = "the one row looked at holds" if total == 1 else f"{words} looked at hold"
    words += f" {_columns(needed)}"
    words += f", some also {_columns(more)}" if more else ""
    words += f": {_KINDS[name]}" if name in _KINDS else ""
    return words if count == total else f"{words}; the others do not fit and would be left out"


def _columns(mapping: Mapping[str, str]) -> str:
    return " and ".join(f"`{one_line(column, 40)}`" for column in mapping.values())


# Chosen by hand


def _chosen(values: Sequence[Value], choice: Choice) -> Shape:
    name = choice.shape if choice.shape != "auto" else _name_of(choice.mapping)
    sets, optional = PARTS[name]
    known = {part for needed in sets for part in needed} | set(optional)
    seen = Counter(column for value in values for column in value)
    problems = [_unknown_part(part, name, known) for part in choice.mapping if part not in known]
    problems += [
        _no_column(part, column, seen)
        for part, column in choice.mapping.items()
        if column not in seen and not any(value_at(value, column) is not None for value in values)
    ]
    # A column called `label` may mark anything: it is taken for that only where it is asked for.
    mapping = {**{part: part for part in known if part in seen and _is_plain(part, name)}, **choice.mapping}
    if not any(set(needed) <= set(mapping) for needed in sets) and not problems:
        mapping = {**_read_as(values, name), **choice.mapping}
        missing = [part for part in sets[0] if part not in mapping]
        problems += [_no_part(part, name, seen) for part in missing]
    if problems:
        raise FtError(problems)
    unused = unused_columns(values, mapping, PARTS[name][1])
    return Shape(name, f"chosen by hand: {_columns(mapping)}", mapping, by_hand=True, unused=unused)


def _is_plain(part: str, name: str) -> bool:
    return part != "label" or name == UNPAIRED


def _read_as(values: Sequence[Value], name: str) -> dict[str, str]:
    """The columns rows of this shape would have, where any row is read as one."""
    found = next((kind for kind in map(read, values) if isinstance(kind, Reading) and kind.name == name), None)
    return dict(found.mapping) if found is not None else {}


def _name_of(mapping: Mapping[str, str]) -> str:
    """The first shape whose needed parts the mapping names."""
    for name, (sets, _) in PARTS.items():
        if any(set(needed) <= set(mapping) for needed in sets):
            return name
    fits = next((name for name, (sets, _) in PARTS.items() if any(set(mapping) & set(needed) for needed in sets)), None)
    if fits is not None:
        return fits
    parts = ", ".join(sorted({part for sets, _ in PARTS.values() for needed in sets for part in needed}))
    raise FtError(
        Problem(
            f"the parts {', '.join(one_line(part, 30) for part in mapping)} make no shape",
            "data.mapping",
            "a mapping goes from part to column",
            f"name parts such as {parts}",
        )
    )


def _unknown_part(part: str, name: str, known: set[str]) -> Problem:
    near = difflib.get_close_matches(part, known, 1)
    remedy = f"did you mean `{near[0]}`?" if near else f"use one of: {', '.join(sorted(known))}"
    return Problem(f"`{one_line(part, 40)}` is no part of the shape {name}", "data.mapping", "parts are fixed", remedy)


def _no_column(part: str, column: str, seen: Mapping[str, int]) -> Problem:
    near = difflib.get_close_matches(column, seen, 1)
    remedy = f"did you mean `{one_line(near[0], 40)}`?" if near else f"columns seen: {_seen(seen)}"
    what = f"no row has the column `{one_line(column, 40)}`"
    return Problem(what, "data.mapping", f"it is mapped to {part}", remedy)


def _no_part(part: str, name: str, seen: Mapping[str, int]) -> Problem:
    what = f"nothing says which column is the {part}"
    return Problem(what, "data.mapping", f"the shape {name} needs it", f"name a column; columns seen: {_seen(seen)}")


def _seen(counts: Mapping[str, int]) -> str:
    return ", ".join(f"`{one_line(name, 30)}` ({count})" for name, count in Counter(counts).most_common(8)) or "none"


def _no_good_rows(rows: Sequence[Row]) -> list[Problem]:
    problems = [row.problem for row in rows[:5] if row.problem is not None]
    where = rows[0].source if rows else "data.source"
    why = f"{problems[0].where}: {problems[0].what}: {problems[0].why}" if problems else "the file holds none"
    remedy = problems[0].remedy if problems else f"write rows in one of: {KNOWN_SHAPES}"
    return [*problems, Problem("no row of the file can be read", where, why, remedy, kind="unreadable")]


def _unknown(values: Sequence[Value], source: str) -> Problem:
    counts = Counter(column for value in values for column in value)
    texts = _longest_texts(values)
    remedy = f"rename the columns to one of: {KNOWN_SHAPES}"
    if len(texts) == 2:
        guess = f"{{instruction: {one_line(texts[0], 30)}, output: {one_line(texts[1], 30)}}}"
        remedy = f"say which column is what, such as data.mapping: {guess}; or {remedy}"
    what = "the shape of the rows is not known"
    return Problem(what, source, f"columns seen: {_seen(counts)}", remedy, kind="unknown-shape")


def _longest_texts(values: Sequence[Value]) -> list[str]:
    """The two columns with the most text, in the order of the file: question and answer more likely than an id."""
    sizes = Counter[str]()
    for value in values:
        sizes.update({name: len(text) for name, text in value.items() if isinstance(text, str)})
    longest = {name for name, _ in sizes.most_common(2)}
    return [name for name in sizes if name in longest]
