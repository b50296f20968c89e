"""Rows that wait for a person: one JSON line each, in messages form, marked with where it comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from finetune_core.data.files.open import Row
from finetune_core.data.rows import Conversation, Message
from finetune_core.data.shapes.columns import MESSAGES
from finetune_core.data.shapes.convert import convert
from finetune_core.data.shapes.recognise import Shape, recognise
from finetune_core.data.synthetic.append import whole_lines
from finetune_core.errors import FtError, Problem, problem
from finetune_core.text import one_line

PENDING: Final = ".pending.jsonl"
_NO_ROW: Final = "no conversation"
_SHAPE: Final = Shape(MESSAGES, "", {"messages": "messages"})


@dataclass(frozen=True)
class Origin:
    """Where a synthetic row comes from: model, endpoint's host, local time (ISO 8601), number of the request."""

    generator: str
    endpoint: str
    at: str
    batch: int

    @classmethod
    def now(cls, generator: str, endpoint: str, batch: int) -> Origin:
        """The origin of a row that is made at this moment."""
        return cls(generator, endpoint, datetime.now().astimezone().isoformat(timespec="seconds"), batch)


@dataclass(frozen=True)
class PendingRow:
    """A row of a pending file. `id` follows from what its messages say; `number` counts the file's rows from 1."""

    id: str
    number: int
    row: Conversation
    origin: Origin


def pending_file(path: Path) -> Path:
    """The path, if it is named as a file of waiting rows; FtError with the right name otherwise."""
    if path.name.endswith(PENDING) and path.name != PENDING:
        return path
    stem = path.name.removesuffix(".jsonl").removesuffix(".json") or "synthetic"
    raise problem(
        "this is no file of waiting rows",
        where=one_line(str(path), 300),
        why=f"such a file is named NAME{PENDING}, so that it is not taken for rows that somebody has looked at",
        remedy=f"name it {one_line(str(path.with_name(stem + PENDING)), 300)}",
    )


def beside(path: Path, suffix: str) -> Path:
    """The file beside one of waiting rows: `rows.pending.jsonl`, `.accepted.jsonl` -> `rows.accepted.jsonl`."""
    return path.with_name(path.name.removesuffix(PENDING) + suffix)


def as_conversation(value: dict[str, object], number: int = 1) -> Conversation | str:
    """A row of any shape that can be trained on as a conversation; or in few words why it is none. Never raises."""
    row = Row(number, None, value, None, "row")
    try:
        found = convert(row, _SHAPE if "messages" in value else recognise([row]))
    except FtError:
        return _NO_ROW
    if isinstance(found, Problem):
        return one_line(found.what, 80)
    if not isinstance(found, Conversation):
        return _NO_ROW
    if found.tools or any(turn.tool_calls or turn.role == "tool" for turn in found.messages):
        return "it calls tools, which was not asked for"
    if not any(turn.role == "user" and turn.content.strip() for turn in found.messages):
        return "the question is empty"
    return found


def line_of(messages: Sequence[Message], origin: Origin, *, edited: bool = False) -> bytes:
    """The row as it stands in a file, without the newline."""
    marks = {"generator": origin.generator, "endpoint": origin.endpoint, "at": origin.at, "batch": origin.batch}
    value = {"messages": as_turns(messages), "synthetic": marks | ({"edited": True} if edited else {})}
    return json.dumps(value, ensure_ascii=False).encode()


def as_turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    """The messages as a file holds them."""
    return [{"role": turn.role, "content": turn.content} for turn in messages]


def identity(messages: Sequence[Message]) -> str:
    """A name for what these messages say: 16 hexadecimal digits."""
    text = json.dumps(as_turns(messages), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_pending(path: Path) -> tuple[list[PendingRow], list[Problem]]:
    """The waiting rows of a file, and what is wrong with lines that hold none. FtError when it cannot be read."""
    return parse_lines(whole_lines(path), path)


def parse_lines(lines: Sequence[bytes], path: Path) -> tuple[list[PendingRow], list[Problem]]:
    """The rows in these lines of `path`; a row that says what an earlier one says is left out."""
    rows: dict[str, PendingRow] = {}
    problems: list[Problem] = []
    for number, line in enumerate(lines, 1):
        found = _parse(line, len(rows) + 1) if line.strip() else None
        if isinstance(found, str):
            where = f"{one_line(path.name, 80)}:{number}"
            problems.append(Problem("the line holds no synthetic row", where, found, "mend the line, or remove it"))
        elif found is not None:
            rows.setdefault(found.id, found)
    return list(rows.values()), problems


def _parse(line: bytes, number: int) -> PendingRow | str:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return "it is not JSON"
    if not isinstance(value, dict):
        return "it is no object"
    row, origin = as_conversation(value, number), _origin(value.get("synthetic"))
    if isinstance(row, str):
        return row
    return PendingRow(identity(row.messages), number, row, origin) if origin else "it is not marked as synthetic"


def _origin(value: object) -> Origin | None:
    if not isinstance(value, dict):
        return None
    generator, endpoint, at, batch = (value.get(name) for name in ("generator", "endpoint", "at", "batch"))
    if not (generator and endpoint and at):
        return None
    return Origin(str(generator), str(endpoint), str(at), batch if type(batch) is int else 0)
