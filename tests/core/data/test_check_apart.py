from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune_core.data.checks import process as module
from finetune_core.data.checks.process import check_apart
from finetune_core.data.shapes.recognise import AUTOMATIC, Choice
from finetune_core.errors import FtError

REFUSING = {"instruction": "Who?", "output": "As an AI language model, I cannot say."}


def rows_file(path: Path, *more: dict[str, str]) -> str:
    rows = [{"instruction": f"Question {i}?", "output": f"Answer {i}."} for i in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in (*rows, *more)))
    return str(path)


def test_all_rows_are_looked_at_in_another_process_and_the_findings_come_back_whole(tmp_path: Path) -> None:
    told: list[int] = []
    source = rows_file(tmp_path / "rows.jsonl", REFUSING, {"instruction": "a", "output": ""})
    report = check_apart(source, AUTOMATIC, told.append)
    assert report is not None
    assert (report.rows, report.usable, report.errors, told[-1]) == (22, 21, 1, 22)
    found = {finding.kind.name: finding for finding in report.findings}
    assert set(found) == {"missing-answer", "refusal", "few-rows"}
    assert (found["refusal"].count, found["refusal"].examples[0].row) == (1, 21)
    assert not found["few-rows"].of_rows


def test_a_second_visit_needs_no_process_until_content_or_choice_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.jsonl"
    source = rows_file(path, REFUSING)
    first = check_apart(source, AUTOMATIC)
    asked: list[object] = []
    monkeypatch.setattr(module, "run_child", lambda *found: asked.append(found))
    again = check_apart(source, AUTOMATIC)
    assert first is not None
    assert again is not None
    assert [one.to_json() for one in again.findings] == [one.to_json() for one in first.findings]
    assert not asked
    assert check_apart(source, Choice(fixes={"refusal": "drop"})) is None
    path.write_text(path.read_text() + json.dumps(REFUSING) + "\n")
    assert check_apart(source, AUTOMATIC) is None
    assert len(asked) == 2


def test_what_is_given_up_gives_nothing_and_what_cannot_be_opened_is_told(tmp_path: Path) -> None:
    assert check_apart(rows_file(tmp_path / "rows.jsonl"), AUTOMATIC, cancel=lambda: True) is None
    with pytest.raises(FtError, match="no such file"):
        check_apart(str(tmp_path / "none.jsonl"), AUTOMATIC)
    with pytest.raises(FtError, match="make no shape"):
        check_apart(rows_file(tmp_path / "rows.jsonl"), Choice(mapping={"x": "y"}))
