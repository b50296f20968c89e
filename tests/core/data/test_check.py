"""The look at every row: by parts and processes it finds exactly what one look from the first row to the last finds."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest

from finetune_core.data.checks import check as module
from finetune_core.data.checks.check import check
from finetune_core.data.checks.findings.checker import Checker
from finetune_core.data.files import chunks
from finetune_core.data.files.open import open_rows
from finetune_core.data.scan import parallel, parts
from finetune_core.data.shapes.convert import convert
from finetune_core.data.shapes.recognise import AUTOMATIC, Choice, recognise
from finetune_core.errors import FtError, Problem

KINDS = [
    "jsonl", "jsonl.gz", "json", "indented.json", "json.gz", "csv", "csv.gz", "parquet", "arrow", "txt", "shards",
]  # fmt: skip
ODD = [
    {"instruction": "Who?", "output": "As an AI language model, I cannot say."},
    {"instruction": "Write to [INSERT NAME]", "output": "Yours, ada@lovelace.org"},
    {"instruction": "", "output": "nothing was asked"},
    {"instruction": "What is it?", "output": ""},
    {"instruction": "a, \"b\"\n\n- c", "output": "x <|im_end|> y"},
]  # fmt: skip


def rows(seed: int, count: int = 400) -> list[dict[str, str]]:
    """Rows with every tenth an odd one, some the same again, some nearly."""
    chance = random.Random(seed)
    made: list[dict[str, str]] = []
    for number in range(count):
        if number % 10 == 3:
            made.append(chance.choice(ODD))
        elif number % 10 == 7 and made:
            made.append(dict(chance.choice(made)))
        else:
            words = [
                chance.choice(["the", "model", "learns", "from", "what", "it", "is", "shown", "and", "東京", "café"])
                for _ in range(60)
            ]
            made.append({"instruction": f"Question {number}?", "output": " ".join(words) + "."})
            if number % 10 == 8:
                made.append({"instruction": f"question {number}", "output": " ".join(words[:-1]) + " end."})
    return made


def written(folder: Path, kind: str) -> str:
    path, made = folder / f"rows.{kind}", rows(1)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made) + "{bad\n"
    if kind in ("parquet", "arrow"):
        table = pa.Table.from_pylist(made)
        if kind == "parquet":
            pyarrow.parquet.write_table(table, path, row_group_size=90)
        else:
            with pa.ipc.new_stream(path, table.schema) as stream:
                stream.write_table(table, max_chunksize=70)
    elif kind == "shards":
        path.mkdir()
        for number in range(3):
            text = "".join(json.dumps(row) + "\n" for row in rows(number % 2, 150)) + "[1]\n"
            (path / f"part-{number}.jsonl").write_text(text)
    elif kind.startswith("csv"):
        with (folder / "table").open("w", newline="") as stream:
            table_of = csv.writer(stream)
            table_of.writerows([["instruction", "output"], *([row["instruction"], row["output"]] for row in made)])
            stream.write("one cell\n")
        path.write_bytes((folder / "table").read_bytes())
    elif "json" in kind and "jsonl" not in kind:
        path.write_text(json.dumps([*made, 7, made[0]], indent=2 if "indented" in kind else None))
    elif kind == "txt":
        path.write_text("\n\n".join(row["output"] or "-" for row in made))
    else:
        path.write_text(lines)
    if kind.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    return str(path)


def at_one_go(source: str, choice: Choice) -> tuple[int, int, list[dict[str, object]], list[list[int]]]:
    """What one checker finds that is given row after row."""
    file, checker, count, usable = open_rows(source), Checker(), 0, 0
    shape = recognise(file.head(), choice)
    for row in file.rows():
        count += 1
        converted = convert(row, shape, choice.fixes)
        if isinstance(converted, Problem):
            checker.add_problem(row.number, converted)
        else:
            usable += 1
            checker.add(converted)
    found = checker.findings()
    return count, usable, [one.to_json() for one in found], [list(one.rows) for one in found]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some hundred rows in many parts."""
    for name, size in (("STRETCH", 4000), ("_NEAR", 1000), ("_FAR", 3000)):
        monkeypatch.setattr(chunks, name, size)
    monkeypatch.setattr(parts, "RANGE", 5000)
    monkeypatch.setattr(module, "_TABLE_ROWS", 50)
    monkeypatch.setattr(parallel, "_SMALL", 0)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("kind", KINDS)
def test_rows_looked_at_in_parts_by_two_processes_give_what_one_look_from_first_to_last_gives(
    tmp_path: Path, kind: str
) -> None:
    source, choice = written(tmp_path, kind), Choice(fixes={"missing-answer": "drop", "role-order": "merge"})
    told: list[int] = []
    report = check(source, choice, progress=told.append, processes=2)
    found = [one.to_json() for one in report.findings], [list(one.rows) for one in report.findings]
    assert (report.rows, report.usable, *found) == at_one_go(source, choice)
    assert len(found[0]) > 3
    assert len(told) > 4
    assert told == sorted(told)
    assert told[-1] == report.rows


@pytest.mark.usefixtures("small_parts")
def test_a_look_in_parts_tells_leaks_and_may_be_left_early(tmp_path: Path) -> None:
    source = written(tmp_path, "json")
    held = tmp_path / "held.jsonl"
    held.write_text("".join(json.dumps(row) + "\n" for row in rows(1)[:30]))
    whole = check(source, AUTOMATIC, held_out=str(held), processes=2)
    assert (whole.findings[0].kind.name, whole.findings[0].count) == ("leakage-exact", check(str(held)).usable)
    left = check(source, AUTOMATIC, cancel=lambda: True, processes=2)
    assert 0 < left.rows < whole.rows


def ended(_part: object) -> None:
    """What a process does that the system ends."""
    os._exit(9)


@pytest.mark.usefixtures("small_parts")
def test_a_process_that_is_ended_from_outside_is_told_and_hides_no_rows(tmp_path: Path) -> None:
    with pytest.raises(FtError, match="a process that parsed them was ended"):
        list(parallel.look_in_parts(open_rows(written(tmp_path, "jsonl")), ended, 1, 2))
