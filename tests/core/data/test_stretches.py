"""Text files in stretches: what is seen of them is what reading row by row sees, wherever they are cut."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from finetune_core.data.files import chunks, row_offsets
from finetune_core.data.files.chunks import Rest, Stretch
from finetune_core.data.files.open import open_rows
from finetune_core.data.files.text_file import TextFile
from finetune_core.data.scan import process
from finetune_core.data.scan.parallel import Seen, look_in_parts
from finetune_core.data.scan.parts import Part

GOOD = [
    {"id": 1, "messages": [{"role": "user", "content": "a, b"}, {"role": "assistant", "content": "[x] {y"}]},
    {"id": 2, "messages": [], "more": {"id": 3}},
    {"id": 12345678901234567890123, "a": 'say "hi"\n, }, {"id": 7'},
    {"messages": [{"id": 1}, {"id": 2}], "id": 4.5},
    {},
]
JSON_FAULTS = [
    "7", '"}, {"', "null", '{"id": 1, "id": 2}', '{"id": NaN}', '{"id": 01}', "{oops}", '{"a": [1,]}', ",",
    '{"a": "x\ny"}',
]  # fmt: skip
JSON_DAMAGE = ['{"a": [1}', '{"a": "cut', '{"id": 1}, ] {"id": 2}', '{"a": {{"b": 1}']
CSV_LINES = [
    "a,b", '"a","b"', '"a ""x"" y",b', '"two\nlines, and\n\nmore",b', 'x,"ends\n"', "", "   ", '" ",', ",", "only",
    "a,b,c", "a\r,b", "a,b\r", '"a\rb",c', "\r",
    '"open,b', 'mid"dle,b', '"bad"tail,b', "nul\0,b", "lone\rreturn,b", '"",""', "caf\xe9,b", "\ufeffa,b",
]  # fmt: skip


def short(monkeypatch: pytest.MonkeyPatch, size: int, most: int = 10**6) -> None:
    monkeypatch.setattr(chunks, "STRETCH", size)
    monkeypatch.setattr(chunks, "_NEAR", max(size // 4, 2))
    monkeypatch.setattr(chunks, "_FAR", max(size // 2, 4))
    monkeypatch.setattr(chunks, "_MOST", most)


def both(part: Part) -> tuple[list[object], int]:
    return list(part.values()), part.scan().rows


def agrees(source: str) -> list[Seen[tuple[list[object], int]]]:
    """Numbers, lines, bytes, reasons and columns of the scan, and the values, are those of reading row by row."""
    file = open_rows(source)
    assert isinstance(file, TextFile)
    with chunks.open_source(file.path, file.container.compression) as stream:
        wanted = [(one.mark, one.fault or file.parsed(stream.pread(one.size, one.mark.offset)))
                  for one in open_rows(source).frames(stream)]  # type: ignore[attr-defined]  # fmt: skip
    found = process.scan_all(file, lambda *_: None)
    told = [(bad.number, bad.line, bad.offset, bad.problem.what, bad.problem.why) for bad in found.problems]
    bad = [(mark.number, mark.line, mark.offset, one.what, one.why)
           for mark, one in wanted if not isinstance(one, dict)]  # fmt: skip
    assert told == bad[:100]
    assert (found.rows, found.bad) == (len(wanted), len(bad))
    good = [one for _, one in wanted if isinstance(one, dict)]
    names = [name for row in good for name in row]
    assert found.columns == {name: names.count(name) for name in names}
    marks = {(mark.number, mark.line, mark.offset) for mark, _ in wanted}
    if file.container.kind == "json":
        assert {mark[0] for mark in found.files[0].marks} <= {mark[0] for mark in marks}
    again = open_rows(source)
    assert isinstance(again, TextFile)
    for mark in found.files[0].marks:
        again.remember(row_offsets.Mark(*mark))
    if wanted:
        rows = again.first(3, start=max(len(wanted) - 2, 1))
        assert [(row.number, row.line) for row in rows] == [(mark.number, mark.line) for mark, _ in wanted[-3:]]
    seen = list(look_in_parts(open_rows(source), both, 1))
    values = [value for one in seen for value in one.found[0]]
    assert repr(values) == repr([one for _, one in wanted])
    return seen


def a_list(chance: random.Random, faults: list[str]) -> str:
    between = chance.choice([",", ", ", ",\n  ", "\n,\n"])
    rows = [
        json.dumps(chance.choice(GOOD), indent=chance.choice([None, None, 2])) for _ in range(chance.randint(0, 40))
    ]
    for fault in chance.sample(faults, chance.randint(0, min(2, len(faults)))):
        rows.insert(chance.randint(0, len(rows)), fault)
    return (
        chance.choice(["[", "\n [ "])
        + between.join(['{"id": 0}', *rows])
        + chance.choice(["]", " ]\n\n", "", "] 7", ",]"])
    )


@pytest.mark.parametrize("seed", range(120))
def test_a_list_is_seen_as_row_by_row_wherever_it_is_cut_and_whatever_is_broken_in_it(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    short(monkeypatch, chance.choice([5, 30, 100, 400]), chance.choice([60, 10**6]))
    data = a_list(chance, JSON_FAULTS + (JSON_DAMAGE if seed % 3 == 0 else [])).encode()
    path = tmp_path / "rows.json"
    path.write_bytes(data if seed % 2 else gzip.compress(data))
    agrees(str(path))


def test_what_is_no_row_between_rows_is_told_once_however_long_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short(monkeypatch, 20)
    for size in range(1, 60):
        rows = '[{"id": 0}' + ', {"id": 1}' * 12 + ", " + "7" * size + ', {"id": 2}, "{", {"id": 3}]'
        (tmp_path / "rows.json").write_text(rows)
        agrees(str(tmp_path / "rows.json"))


@pytest.mark.parametrize("seed", range(120))
def test_a_table_is_seen_as_row_by_row_wherever_it_is_cut_and_whatever_is_broken_in_it(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    short(monkeypatch, chance.choice([5, 30, 100, 400]), chance.choice([60, 10**6]))
    kinds = CSV_LINES[:5] if seed % 4 == 0 else CSV_LINES
    end = chance.choice(["\n", "\r\n"])
    text = end.join(["x,y", "first,row", *chance.choices(kinds, k=chance.randint(1, 60))]) + chance.choice(["", end])
    data = text.encode("latin-1" if "\xe9" in text and "\ufeff" not in text else "utf-8")
    mark = chance.choice([",", "\t"])
    path = tmp_path / f"rows.{'csv' if mark == ',' else 'tsv'}"
    data = data.replace(b",", mark.encode())
    path.write_bytes(data if seed % 2 else gzip.compress(data))
    agrees(str(path))


@pytest.mark.parametrize("name", ["rows.txt", "rows.jsonl.gz", "notes.md"])
@pytest.mark.parametrize("size", [5, 40, 1000])
def test_lines_and_paragraphs_are_seen_as_row_by_row_wherever_they_are_cut(
    tmp_path: Path, name: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    short(monkeypatch, size)
    chance = random.Random(size)
    lines = ['{"a": 1}', '{"a": 2, "b": "x y z"}', "{oops", "", " "]
    text = "\n".join(['{"a": 0}', *chance.choices(lines, k=60)])
    text = text.replace("{", "(") if "jsonl" not in name else text
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    agrees(str(tmp_path / name))


def test_sound_lists_and_tables_are_parsed_many_rows_at_once_and_never_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short(monkeypatch, 4000)
    rows = [
        {"id": n, "messages": [{"role": "user", "content": "a}, {b"}, {"role": "x", "content": "y"}]}
        for n in range(300)
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "indented.json").write_text(json.dumps(rows, indent=4))
    (tmp_path / "rows.csv").write_text("x,y\n" + '"a, ""b""\nc\n\n","d"\n' * 2000)
    for name in ("rows.json", "indented.json", "rows.csv"):
        file = open_rows(str(tmp_path / name))
        monkeypatch.setattr(TextFile, "find", None)
        seen = list(look_in_parts(file, both, 1))
        monkeypatch.undo()
        short(monkeypatch, 4000)
        assert len(seen) > 4
        assert sum(one.found[1] for one in seen) == (2000 if name == "rows.csv" else 300)


def test_an_archive_that_is_cut_off_keeps_its_rows_and_tells_where_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short(monkeypatch, 50_000)
    chance = random.Random(3)
    line = "".join(json.dumps({"a": chance.random()}) + "\n" for _ in range(40000))
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(line.encode())[:-3000])
    seen = agrees(str(tmp_path / "rows.jsonl.gz"))
    assert isinstance(seen[-1].part, Rest)
    assert isinstance(seen[0].part, Stretch)
    assert isinstance(seen[-1].found[0][-1], row_offsets.Fault)


def test_a_row_longer_than_any_stretch_is_read_to_its_end_and_those_behind_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short(monkeypatch, 100, 1000)
    rows = [{"id": 1}, {"id": 2}, {"id": 3, "text": "x" * 5000}, *({"id": n} for n in range(100))]
    for name, data in (
        ("rows.json", json.dumps(rows).encode()),
        ("rows.json.gz", gzip.compress(json.dumps(rows).encode())),
    ):
        (tmp_path / name).write_bytes(data)
        seen = agrees(str(tmp_path / name))
        assert isinstance(seen[-1].part, Rest)
