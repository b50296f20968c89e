from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from finetune_core.data.files.open import Row, open_rows
from finetune_core.data.rows import (
    CanonicalRow,
    Conversation,
    Message,
    Preference,
    PromptOnly,
    Text,
    ToolCall,
    UnpairedPreference,
)
from finetune_core.data.shapes.convert import convert
from finetune_core.data.shapes.recognise import recognise
from finetune_core.data.write import write_rows
from finetune_core.errors import FtError

USER, ANSWER = Message("user", "hi"), Message("assistant", "yo")
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize(
    "row",
    [
        Conversation(
            1, (Message("system", "s"), USER, ANSWER, USER, Message("assistant", "no", trained=False)), {"n": 1}
        ),
        Conversation(1, (USER, ANSWER), completion_only=True),
        Conversation(
            1,
            (
                USER,
                Message("assistant", "", reasoning="hm", tool_calls=(ToolCall("weather", {"city": "Oslo"}),)),
                Message("tool", "rain", name="weather"),
                ANSWER,
            ),
            tools=(TOOL,),
        ),
        Preference(1, (USER,), (ANSWER,), (Message("assistant", "bad"),)),
        UnpairedPreference(1, (USER,), (ANSWER,), label=False),
        PromptOnly(1, (USER,), {"answer_key": "4"}),
        Text(1, "once upon\n a time \u2028"),
    ],
)
def test_what_is_written_is_read_back_as_the_same_row(row: CanonicalRow, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert write_rows(path, [row]) == 1
    (found,) = open_rows(str(path)).rows()
    assert isinstance(found, Row)
    back = convert(found, recognise([found]))
    if isinstance(row, Preference | UnpairedPreference):
        assert back == row
    else:
        assert replace(back, number=1) == row  # type: ignore[type-var]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_is_replaced_only_when_that_is_wanted_and_never_half_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("mine")
    with pytest.raises(FtError, match="the file exists"):
        write_rows(path, [Text(1, "a")])

    def broken() -> list[CanonicalRow]:
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        write_rows(path, (row for _ in range(2) for row in broken()), replace=True)
    assert path.read_text() == "mine"
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]
    write_rows(path, [Text(1, "a")], replace=True)
    assert json.loads(path.read_text()) == {"text": "a"}


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(FtError, match="the rows cannot be written"):
        write_rows(tmp_path / "none" / "rows.jsonl", [Text(1, "a")])
