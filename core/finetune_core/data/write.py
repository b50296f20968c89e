"""Canonical rows written back as JSON Lines that any of these tools reads again."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from finetune_core.data.rows import (
    CanonicalRow,
    Conversation,
    Message,
    Preference,
    PromptOnly,
    Text,
    UnpairedPreference,
    turn_value,
)
from finetune_core.errors import problem
from finetune_core.files import PRIVATE_MODE, sync_folder
from finetune_core.text import one_line


def row_value(row: CanonicalRow) -> dict[str, object]:
    """The row as an object: `messages` (and `tools`), `prompt` and `completion`, `chosen` and `rejected`, or `text`.

    Its other columns come along where their names are free.
    """
    match row:
        case Conversation(completion_only=True):
            prompt, completion = row.messages
            value: dict[str, object] = {"prompt": prompt.content, "completion": completion.content}
        case Conversation():
            value = {"messages": _turns(row.messages), **({"tools": list(row.tools)} if row.tools else {})}
        case Preference():
            value = {"prompt": _turns(row.prompt), "chosen": _turns(row.chosen), "rejected": _turns(row.rejected)}
        case UnpairedPreference():
            value = {"prompt": _turns(row.prompt), "completion": _turns(row.completion), "label": row.label}
        case PromptOnly():
            value = {"prompt": _turns(row.prompt)}
        case Text():
            value = {"text": row.text}
    return value | {name: item for name, item in row.extra.items() if name not in value}


def write_rows(path: Path, rows: Iterable[CanonicalRow], *, replace: bool = False) -> int:
    """Write rows as JSON Lines, whole or not at all; gives their number.

    FtError when the file exists and is not to be replaced, or cannot be written.
    """
    if path.exists() and not replace:
        raise problem(
            "the file exists",
            where=one_line(str(path), 300),
            why="it would be replaced",
            remedy="choose another name, or add --force",
        )
    try:
        return _write(path, rows)
    except OSError as error:
        raise problem(
            "the rows cannot be written",
            where=one_line(str(path), 300),
            why=error.strerror or type(error).__name__,
            remedy="check the folder, its rights and its free space",
        ) from error


def _write(path: Path, rows: Iterable[CanonicalRow]) -> int:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    count = 0
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            for row in rows:
                stream.write(json.dumps(row_value(row), ensure_ascii=False, default=str) + "\n")
                count += 1
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(PRIVATE_MODE)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return count


def _turns(messages: Iterable[Message]) -> list[dict[str, object]]:
    return [_turn(message) for message in messages]


def _turn(message: Message) -> dict[str, object]:
    left_out = message.role == "assistant" and not message.trained
    return {**turn_value(message), **({"weight": 0} if left_out else {})}
