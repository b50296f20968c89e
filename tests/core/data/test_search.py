from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune_core.data.files.open import open_rows
from finetune_core.data.scan import search as module
from finetune_core.data.scan.search import find_row


@pytest.fixture(params=[2_000, 7], ids=["near", "in a process"])
def reach(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many rows are looked at before a process is started."""
    monkeypatch.setattr(module, "_AT_ONCE", request.param)
    return int(request.param)


def rows_file(path: Path, count: int = 60) -> str:
    lines = [json.dumps({"deep": [{"text": f"Row {n}"}], "number": n * 1000}) for n in range(1, count + 1)]
    lines[9] = "{broken Row 50"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.mark.parametrize(
    ("text", "start", "found"),
    [
        ("ROW 42", 1, 42),
        ("row 42", 42, 42),
        ("row 4", 5, 40),
        ("row 4", 50, 4),
        ("row 50", 1, 50),
        ("59000", 1, 59),
        ("deep", 1, None),
        ("row 61", 30, None),
    ],
)
def test_the_next_row_with_a_text_is_found_from_anywhere_round_the_end(
    text: str, start: int, found: int | None, tmp_path: Path, reach: int
) -> None:
    del reach
    source = rows_file(tmp_path / "rows.jsonl")
    assert find_row(open_rows(source), source, text, start) == found


def test_a_long_search_says_how_far_it_is_and_can_be_left(tmp_path: Path) -> None:
    source = rows_file(tmp_path / "rows.jsonl", 12_000)
    told: list[int] = []
    assert find_row(open_rows(source), source, "row 11999", 1, told.append) == 11_999
    assert told == [5_000, 10_000]
    assert find_row(open_rows(source), source, "row 11999", 1, cancel=lambda: True) is None
