from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_core.data.assemble import RowSet, assemble, read_source, rows_hash
from finetune_core.data.rows import Text
from finetune_core.data.shapes.recognise import AUTOMATIC
from finetune_core.errors import FtError
from finetune_core.recipe.schema import Data

HI, YO = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}


def exchanges(path: Path, count: int, name: str = "Question", *more: dict[str, Any]) -> str:
    rows = [{"instruction": f"{name} {i}?", "output": f"Answer {i}."} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in (*rows, *more)))
    return str(path)


def assembled(source: str, **values: Any) -> RowSet:
    return assemble(Data(source=source, **values), seed=1)


def test_loading_gives_the_good_rows_and_all_problems(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"messages": [HI, YO], "n": i}) for i in range(5)]
    path.write_text("\n".join([*lines[:2], "{bad", lines[2], json.dumps({"messages": [HI]}), *lines[3:]]))
    source = read_source(str(path), AUTOMATIC)
    conversations, problems = source.used, source.problems
    assert [each.number for each in conversations] == [1, 2, 4, 6, 7]
    assert [found.where for found in problems] == ["rows.jsonl:3", "rows.jsonl:5 turn 1"]
    assert source.left_out == [(3, "unreadable-row"), (5, "no-assistant-end")]


def test_the_demo_rows_load_without_a_problem() -> None:
    for held_out in (False, True):
        source = read_source("demo", AUTOMATIC, held_out=held_out)
        assert len(source.used) >= 100
        assert not source.problems
        assert ("fact" in source.used[0].extra) == held_out


def test_the_record_tells_every_row_that_is_left_out_and_why(tmp_path: Path) -> None:
    bad = {"instruction": "Question?", "output": ""}
    source = exchanges(tmp_path / "rows.jsonl", 20, "Question", bad, {"instruction": "SECRET?", "output": "x"})
    rows = assembled(source, without="secret")
    (told,) = rows.record()["sources"]  # type: ignore[misc]
    assert told["left_out"] == {"missing-answer": 1, "filter-without": 1}
    assert told["left_out_rows"] == [[21, "missing-answer"], [22, "filter-without"]]
    assert (told["rows"], told["used"]) == (22, 20)
    assert len(rows.train) + len(rows.held_out) == 20
    assert [found.kind for found in rows.problems] == ["missing-answer"]


def test_the_hash_of_the_rows_depends_on_content_and_order_alone() -> None:
    one, two = Text(1, "a"), Text(2, "b")
    assert rows_hash([one, two]) == rows_hash([Text(1, "a", {"id": 7}), two])
    assert len({rows_hash([one, two]), rows_hash([two, one]), rows_hash([one]), rows_hash([Text(1, "c"), two])}) == 4


def test_filters_keep_and_leave_out_rows_by_their_text(tmp_path: Path) -> None:
    source = exchanges(tmp_path / "rows.jsonl", 30)
    rows = assembled(source, only="question 1", held_out_share=0.0)
    assert [row.number for row in rows.train] == [2, *range(11, 21)]
    with pytest.raises(FtError, match="the filters leave no row"):
        assembled(source, only="nowhere")


def test_rows_are_left_out_by_their_length_in_characters(tmp_path: Path) -> None:
    long = {"instruction": "Question?", "output": "x" * 500}
    source = exchanges(tmp_path / "rows.jsonl", 12, "Question", long)
    rows = assembled(source, min_characters=22, max_characters=400, held_out_share=0.0)
    # "Question 10?" and "Answer 10." are 22 characters, those with one digit 20.
    assert [row.number for row in rows.train] == [11, 12]
    assert rows.record()["sources"][0]["left_out"] == {"filter-short": 10, "filter-long": 1}  # type: ignore[index]
    with pytest.raises(FtError, match=r"none of the 13 rows passes data\.min_characters"):
        assembled(source, min_characters=1000)


def test_files_are_mixed_in_by_their_share_of_all_training_rows(tmp_path: Path) -> None:
    source = exchanges(tmp_path / "rows.jsonl", 80)
    general = exchanges(tmp_path / "general.jsonl", 50, "General")
    rows = assembled(source, mix={general: 0.2}, held_out_share=0.0)
    assert len(rows.train) == 100
    assert rows.train == assembled(source, mix={general: 0.2}, held_out_share=0.0).train
    mixed = rows.sources[1]
    assert (len(mixed.used), len(mixed.left_out), mixed.left_out[0][1]) == (20, 30, "not-drawn")
    more = assembled(source, mix={general: 0.9}, held_out_share=0.0)
    assert len(more.train) == 130


def test_a_file_whose_name_is_not_utf_8_can_be_mixed_in(tmp_path: Path) -> None:
    base = exchanges(tmp_path / "base.jsonl", 40)
    other = exchanges(tmp_path / "m\udccc.jsonl", 40, "Other")
    rows = assembled(base, mix={other: 0.5})
    assert any("Other" in row.messages[0].content for row in rows.train)


def test_what_is_mixed_in_is_never_held_out(tmp_path: Path) -> None:
    source, general = exchanges(tmp_path / "rows.jsonl", 40), exchanges(tmp_path / "general.jsonl", 40, "General")
    rows = assembled(source, mix={general: 0.5}, held_out_share=0.5)
    assert not any("General" in row.messages[0].content for row in rows.held_out if not isinstance(row, Text))


def test_fixes_leave_out_and_mend_only_what_they_name(tmp_path: Path) -> None:
    rows = (
        {"instruction": "Question 3?", "output": "Answer 3."},
        {"instruction": "Who?", "output": "I'm sorry, but I can't say that."},
        {"instruction": "Where?", "output": "There.<|im_end|>"},
        {"messages": [HI, HI, YO]},
    )
    source = exchanges(tmp_path / "rows.jsonl", 20, "Question", *rows)
    untouched = assembled(source, held_out_share=0.0)
    assert len(untouched.train) == 23
    fixes = {"exact-duplicate": "drop", "refusal": "drop", "template-tokens": "trim", "role-order": "merge"}
    mended = assembled(source, held_out_share=0.0, fixes=fixes)
    assert mended.sources[0].left_out[-2:] == [(21, "exact-duplicate"), (22, "refusal")]
    last = mended.train[-1]
    assert not isinstance(last, Text)
    assert last.messages[-1].content == "There."
    with pytest.raises(FtError, match="did you mean `refusal`"):
        assembled(source, fixes={"refusals": "drop"})


def test_rows_that_are_nearly_equal_are_never_parted(tmp_path: Path) -> None:
    words = [f"word{i}" for i in range(60)]
    texts = [" ".join([*words[:30], f"change{i}", *words[31:]]) + "." for i in range(4)]
    near = [{"instruction": f"Near {i}?", "output": text} for i, text in enumerate(texts)]
    source = exchanges(tmp_path / "rows.jsonl", 40, "Question", *near)
    for seed in range(12):
        rows = assemble(Data(source=source, held_out_share=0.3), seed)
        held_out = {row.number for row in rows.held_out} & {41, 42, 43, 44}
        assert len(held_out) in (0, 4)


def test_held_out_rows_that_are_learnt_too_are_told_and_left_out_where_that_is_wanted(tmp_path: Path) -> None:
    source = exchanges(tmp_path / "rows.jsonl", 20)
    held_out = exchanges(tmp_path / "held_out.jsonl", 3, "Other", {"instruction": "Question 4?", "output": "Answer 4."})
    rows = assembled(source, held_out=held_out)
    assert rows.record()["leaks"] == {"leakage-exact": [4]}
    assert len(rows.held_out) == 4
    dropped = assembled(source, held_out=held_out, fixes={"leakage-exact": "drop"})
    assert [row.number for row in dropped.held_out] == [1, 2, 3]
    assert dropped.sources[-1].left_out == [(4, "leakage-exact")]
    assert dropped.record()["leaks"] == {}
    with pytest.raises(FtError, match="no held-out row is left"):
        assembled(source, held_out=source, fixes={"leakage-exact": "drop"})


def test_what_is_held_out_is_not_mixed_in_from_another_file(tmp_path: Path) -> None:
    source = exchanges(tmp_path / "rows.jsonl", 40)
    general = exchanges(tmp_path / "general.jsonl", 40)
    rows = assembled(source, mix={general: 0.4}, held_out_share=0.25)
    held_out = {row.number for row in rows.held_out}
    assert {number for number, kind in rows.sources[1].left_out if kind == "leakage-exact"} == held_out
    assert not held_out & {row.number for row in rows.train[30:]}
    kept = assembled(source, mix={general: 0.4}, held_out_share=0.25, fixes={"leakage-exact": "keep"})
    assert "leakage-exact" not in kept.sources[1].record()["left_out"]  # type: ignore[operator]
