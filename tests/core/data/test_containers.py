"""Rows in every container: told by content, read alike, gone to by number, refused with the way out."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune_core.data.files import row_offsets, streams, text_offsets
from finetune_core.data.files.base import Row
from finetune_core.data.files.open import open_rows
from finetune_core.data.files.row_offsets import Mark
from finetune_core.errors import FtError

ROWS = [{"prompt": f"question {n}", "completion": "00000" if n % 7 else 'a "quoted",\ncell'} for n in range(700)]


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def as_table(rows: list[dict[str, Any]], delimiter: str) -> bytes:
    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if set(text) & {delimiter, '"', "\n"} else text

    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    return "".join(delimiter.join(map(cell, line)) + "\r\n" for line in lines).encode()


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, "zstd", asbytes=True))


def written(path: Path, data: bytes) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(data)
    return path


def parquet(path: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


def saved(path: Path, rows: list[dict[str, Any]], shards: int = 1) -> Path:
    """As `datasets` writes it with save_to_disk."""
    path.mkdir(parents=True)
    names = [f"data-{n:05d}-of-{shards:05d}.arrow" for n in range(shards)]
    for n, name in enumerate(names):
        table = pa.Table.from_pylist(rows[n::shards])
        with pa.OSFile(str(path / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=100)
    (path / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (path / "dataset_info.json").write_text("{}")
    return path


def made(folder: Path, kind: str) -> Path:
    """The same rows in one of the containers."""
    if kind == "parquet":
        return parquet(folder / "rows.parquet", ROWS, row_group_size=300)
    if kind == "saved":
        return saved(folder / "saved", ROWS)
    if kind == "shards":
        for n in range(3):
            written(folder / "set" / f"train-{n:05d}-of-00003.jsonl", as_lines(ROWS[n * 250 : n * 250 + 250]))
        written(folder / "set" / "README.md", b"# About\n\nnot rows")
        written(folder / "set" / ".gitattributes", b"x")
        written(folder / "set" / "dataset_info.json", b"{}")
        return folder / "set"
    name, _, packed = kind.partition("+")
    text = {
        "jsonl": as_lines(ROWS),
        "json": json.dumps(ROWS, indent=1).encode(),
        "csv": as_table(ROWS, ","),
        "tsv": as_table(ROWS, "\t"),
    }[name]
    data = {"": text, "gzip": gzip.compress(text), "zstd": zstd(text)}[packed]
    return written(folder / f"rows.{name}", data)


KINDS = [f"{text}{packed}" for text in ("jsonl", "json", "csv", "tsv") for packed in ("", "+gzip", "+zstd")]
KINDS += ["parquet", "saved", "shards"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_come_from_every_container_and_any_of_them_can_be_gone_to(tmp_path: Path, kind: str) -> None:
    file = open_rows(str(made(tmp_path, kind)))
    assert [row.value for row in file.rows()] == ROWS
    assert [row.number for row in file.rows()] == list(range(1, 701))
    assert [row.value for row in file.first(2, start=650)] == ROWS[649:651]
    assert [row.value for row in file.chosen({1, 300, 699})] == [ROWS[0], ROWS[299], ROWS[698]]
    assert [row.value for row in file.head()] == ROWS
    told: list[int] = []
    assert file.count(progress=lambda seen, _size: told.append(seen)) == 700
    assert told[-1] == file.size
    assert [row.value for row in file.first(2, start=650)] == ROWS[649:651]
    assert file.first(1, start=701) == []


def test_a_container_is_said_in_words(tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    for n in range(2):
        written(packed / f"part-{n}.jsonl.gz", gzip.compress(as_lines(ROWS[:3])))
    assert open_rows(str(packed)).container.words == "2 shards of gzip JSON Lines"
    assert open_rows(str(made(tmp_path, "tsv"))).container.words == "TSV"


def test_packing_is_told_by_content_and_not_by_name(tmp_path: Path) -> None:
    assert open_rows(str(written(tmp_path / "a.jsonl", gzip.compress(as_lines(ROWS))))).count() == 700
    assert open_rows(str(written(tmp_path / "b.jsonl.gz", as_lines(ROWS)))).container.compression == ""
    assert open_rows(str(written(tmp_path / "c.txt", as_lines(ROWS)))).container.kind == "jsonl"
    assert open_rows(str(written(tmp_path / "d.csv", json.dumps(ROWS).encode()))).container.kind == "json"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_by_content_and_cells_stay_text(tmp_path: Path, delimiter: str) -> None:
    rows = [{"id": "00000", "text": "a, b; c | d", "n": "1e5"}, {"id": "", "text": "NaN", "n": "true"}]
    file = open_rows(str(written(tmp_path / "rows.csv", b"\xef\xbb\xbf" + as_table(rows, delimiter))))
    assert [row.value for row in file.rows()] == rows


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"only one", "1 cells, but the header has 2"),
        (b"a,b,c", "3 cells, but the header has 2"),
        (b'"never closed,b', "quotation mark"),
        (b'"closed" too early,b', "quotation mark"),
        (b"caf\xe9,b", "not text"),
        (b"a\x00,b", "zero bytes"),
    ],
)
def test_a_bad_record_of_a_table_costs_only_itself(tmp_path: Path, line: bytes, words: str) -> None:
    data = b'x,y\n"two\nlines",2\n' + line + b"\n3,4\n"
    file = open_rows(str(written(tmp_path / "rows.csv", data)))
    rows = list(file.rows())
    assert [row.value for row in rows] == [{"x": "two\nlines", "y": "2"}, None, {"x": "3", "y": "4"}]
    assert file.count() == 3
    found = rows[1].problem
    assert found is not None
    assert words in f"{found.what} {found.why}"
    assert found.where == "rows.csv:4"


def test_a_tsv_without_quoting_keeps_its_quotation_marks(tmp_path: Path) -> None:
    file = open_rows(str(written(tmp_path / "rows.tsv", b'x\ty\n"Hello", he said\tb\n"c"\td\n')))
    assert [row.value for row in file.rows()] == [{"x": '"Hello", he said', "y": "b"}, {"x": "c", "y": "d"}]


def test_a_text_gives_its_paragraphs_or_else_its_lines(tmp_path: Path) -> None:
    parted = open_rows(str(written(tmp_path / "a.md", b"\n# One\r\nmore\r\n\r\n \nTwo\n")))
    assert [(row.value, row.line) for row in parted.rows()] == [({"text": "# One\nmore"}, 2), ({"text": "Two"}, 6)]
    lines = open_rows(str(written(tmp_path / "b.txt", b"one\n[INST] two [/INST]\n\n")))
    assert [row.value for row in lines.rows()] == [{"text": "one"}, {"text": "[INST] two [/INST]"}]


def test_what_json_has_no_type_for_becomes_text(tmp_path: Path) -> None:
    when = datetime(2024, 5, 1, 12, tzinfo=UTC)
    row = {"when": when, "price": Decimal("1.50"), "raw": b"text", "image": {"bytes": b"\xff\xd8"}, "x": float("nan")}
    value = open_rows(str(parquet(tmp_path / "rows.parquet", [row]))).first(1)[0].value
    assert value == {
        "when": str(when), "price": "1.50", "raw": "text", "image": {"bytes": {"bytes": 2}}, "x": None
    }  # fmt: skip
    assert json.loads(json.dumps(value)) == value


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_an_archive_that_was_cut_off_gives_its_rows_and_then_the_damage(tmp_path: Path, pack: Any) -> None:
    noise = [{"n": n, "text": hex(hash(str(n) * 3))} for n in range(20_000)]
    data = pack(as_lines(noise))
    file = open_rows(str(written(tmp_path / "rows.jsonl", data[: len(data) // 2])))
    rows = list(file.rows())
    assert rows[0].value == noise[0]
    assert file.count() == len(rows)
    last = rows[-1].problem
    assert last is not None
    assert "archive" in last.what


def test_a_parquet_file_with_a_damaged_part_gives_the_others(tmp_path: Path) -> None:
    path = parquet(tmp_path / "rows.parquet", ROWS, row_group_size=100, use_dictionary=False, compression="zstd")
    place = pyarrow.parquet.ParquetFile(path).metadata.row_group(3).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[place : place + 200] = bytes(200)
    file = open_rows(str(written(path, bytes(data))))
    rows = list(file.rows())
    assert [row.number for row in rows] == list(range(1, 701))
    assert [row.value for row in rows[:300] + rows[400:]] == ROWS[:300] + ROWS[400:]
    assert rows[350].problem is not None
    assert rows[350].where == "rows.parquet row 351"


def test_shards_are_sorted_as_people_count_and_rows_name_their_shard(tmp_path: Path) -> None:
    for n in (1, 2, 10):
        written(tmp_path / "set" / f"part-{n}.jsonl", as_lines([{"n": n}, {"n": n}]))
    rows = list(open_rows(str(tmp_path / "set")).rows())
    assert [row.value for row in rows] == [{"n": n} for n in (1, 1, 2, 2, 10, 10)]
    assert (rows[5].number, rows[5].where) == (6, "part-10.jsonl:2")
    tables = tmp_path / "tables"
    for n in range(2):
        parquet(tables / f"{n}.parquet", ROWS[:3])
    assert open_rows(str(tables)).first(1, start=5)[0].where == "1.parquet row 2"


def test_of_several_splits_train_is_read_and_said(tmp_path: Path) -> None:
    for name in ("train", "test"):
        written(tmp_path / "set" / f"{name}.jsonl", as_lines([{"split": name}]))
        saved(tmp_path / "dict" / name, [{"split": name}])
    (tmp_path / "dict" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    for folder in ("set", "dict"):
        file = open_rows(str(tmp_path / folder))
        assert [row.value for row in file.rows()] == [{"split": "train"}]
        assert "split train" in file.container.words


def test_folders_that_are_not_one_set_of_rows_are_refused_with_the_way_out(tmp_path: Path) -> None:
    written(tmp_path / "mixed" / "a.csv", b"x,y\n1,2\n")
    written(tmp_path / "mixed" / "b.jsonl", b'{"x": 1}\n')
    written(tmp_path / "gap" / "train-00000-of-00003.jsonl", b'{"x": 1}\n')
    written(tmp_path / "gap" / "train-00002-of-00003.jsonl", b'{"x": 1}\n')
    written(tmp_path / "splits" / "test.jsonl", b'{"x": 1}\n')
    written(tmp_path / "splits" / "validation.jsonl", b'{"x": 1}\n')
    written(tmp_path / "outer" / "data" / "a.jsonl", b'{"x": 1}\n')
    saved(tmp_path / "lost", ROWS, shards=2)
    (tmp_path / "lost" / "data-00001-of-00002.arrow").unlink()
    saved(tmp_path / "notrain" / "test", ROWS)
    (tmp_path / "notrain" / "dataset_dict.json").write_text('{"splits": ["test"]}')
    for name, words in {
        "mixed": "different kinds",
        "gap": "train-00001-of-00003",
        "splits": "several splits",
        "outer": "choose one of them",
        "lost": "data-00001-of-00002.arrow",
        "notrain": "one of them: test",
    }.items():
        with pytest.raises(FtError, match=words):
            open_rows(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.csv", b"x,x\n1,2\n", "repeated"),
        ("a.csv", b"x,y\n", "holds no rows"),
        ("a.csv", b"x,y\r1,2\r", "carriage return"),
        ("a.csv", "x,y\n1,2\n".encode("utf-16"), "UTF-16"),
        ("a.csv", "x,y\n1,2\n".encode("utf-16-le") * 9, "UTF-16"),
        ("a.csv", b"caf\xe9,y\n1,2\n", "header cannot be read"),
        ("a.xlsx", b"PK\x03\x04", "spreadsheet"),
        ("a.jsonl.gz", gzip.compress(b"PAR1", mtime=0), "inside the gzip archive"),
        ("a.tar.gz", gzip.compress(b"x" * 257 + b"ustar", mtime=0), "tar archive"),
        ("a.parquet", b"PAR1 cut off", "table cannot be read"),
        ("a.arrow", b"ARROW1 cut off", "table cannot be read"),
        ("a.json", b'{"a": {"q": "x"}, "b": {"q": "y"}}', "dict of records"),
        ("a.json", b'{"q": ["x", "y"], "r": ["x", "y"]}', "columns of equal length"),
    ],
)
def test_what_holds_no_rows_is_refused_by_name(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    with pytest.raises(FtError, match=words) as caught:
        open_rows(str(written(tmp_path / name, data)))
    assert caught.value.problems[0].remedy


def test_a_packed_file_is_read_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for _ in range(20):
            stream.write((b'{"prompt": "' + b"a" * 2000 + b'"}\n') * 1000)
        stream.write(b"x" * 30 * 2**20 + b'\n{"last": 1}\n')
    monkeypatch.setattr(row_offsets, "ROW_BYTES", 2**20)
    monkeypatch.setattr(streams, "_KEPT", 3 * 2**20)
    tracemalloc.start()
    rows = open_rows(str(path)).first(2, start=20_001)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [row.value for row in rows] == [None, {"last": 1}]
    assert peak < 12 * 2**20


CELLS = st.text(st.sampled_from('ab",;\n\r\té'), max_size=6)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5), st.sampled_from([",", ";"]), st.integers(1, 40))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_is_read_back_wherever_blocks_end(
    tmp_path: Path, cells: list[tuple[str, str]], delimiter: str, block: int
) -> None:
    rows = [{"first": a.replace("\r", "") + "x", "second": b.replace("\r", "")} for a, b in cells]
    with pytest.MonkeyPatch.context() as patch, written(tmp_path / "t.csv", as_table(rows, delimiter)).open("rb") as at:
        patch.setattr(text_offsets, "BLOCK", block)
        first, *places = text_offsets.csv_frames(at, Mark(1, 1, 0), delimiter)
        read = []
        for place in places:
            at.seek(place.mark.offset)
            assert place.fault is None
            read.append(text_offsets.parse_record(at.read(place.size), ["first", "second"], delimiter))
    assert read == rows
    assert first.mark == Mark(1, 1, 0)


PIECES = st.lists(
    st.sampled_from([b'"', b",", b"\n", b"\r", b"a", b"\t", b"\x00", b"\xff", b'""', b"\n\n", b";", b" "])
)


@given(PIECES, st.sampled_from(["t.csv", "t.tsv", "t.txt", "t.csv.gz"]))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_make_the_reader_of_tables_and_texts_crash(tmp_path: Path, pieces: list[bytes], name: str) -> None:
    data = b"x,y\n" + b"".join(pieces)
    try:
        file = open_rows(str(written(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data)))
    except FtError:
        return
    rows: list[Row] = list(file.rows())
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    assert all((row.value is None) != (row.problem is None) for row in rows)
    assert file.count() == len(rows)


@pytest.mark.parametrize("members", [1, 3])
def test_a_gzip_file_that_is_cut_off_gives_the_rows_before_the_cut(members: int, tmp_path: Path) -> None:
    rows = "".join(json.dumps({"text": f"row {number} {number * 7919 % 1000}"}) + "\n" for number in range(900))
    step = len(rows) // members + 1
    parts = [rows[start : start + step].encode() for start in range(0, len(rows), step)]
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(b"".join(gzip.compress(part, mtime=0) for part in parts) + b"\0" * 100)
    assert [row.number for row in open_rows(str(path)).rows() if row.problem is None] == list(range(1, 901))
    path.write_bytes(path.read_bytes()[:-160])
    found = list(open_rows(str(path)).rows())
    assert 500 < sum(row.problem is None for row in found) < 900
    assert found[-1].problem is not None
    assert "the gzip archive ends in the middle" in found[-1].problem.what
    assert [row.value for row in found[:500]] == [json.loads(line) for line in rows.splitlines()[:500]]


@pytest.mark.parametrize("end", [2**30, -7])
def test_a_value_that_lies_outside_of_an_arrow_file_costs_its_rows_only(tmp_path: Path, end: int) -> None:
    # pyarrow itself follows such a value out of its memory.
    sink = pa.BufferOutputStream()
    table = pa.table({"prompt": ["a", "bb", "ccc", "dddd"], "completion": ["e"] * 4})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    offsets = b"".join(n.to_bytes(4, "little", signed=True) for n in (0, 1, 3))
    wrong = b"".join(n.to_bytes(4, "little", signed=True) for n in (0, 1, end))
    data = sink.getvalue().to_pybytes()
    assert data.count(offsets) == 1
    file = open_rows(str(written(tmp_path / "rows.arrow", data.replace(offsets, wrong))))
    rows = list(file.rows())
    assert [row.value and row.value["prompt"] for row in rows] == ["a", None, "ccc", "dddd"]
    assert rows[1].problem is not None
    assert "cannot be read" in rows[1].problem.what
    assert file.count() == 4


@pytest.mark.parametrize("pack", [lambda data: gzip.compress(data, 1), zstd])
def test_the_last_row_of_an_archive_is_read_over_the_ends_of_blocks(tmp_path: Path, pack: Any) -> None:
    # Without a line end behind it, its end is known only once there is nothing more to unpack.
    text = "x" * (3 * row_offsets.BLOCK)
    path = written(tmp_path / "rows.jsonl.packed", pack(as_lines([{"text": "first"}, {"text": text}]).rstrip()))
    assert [row.value and row.value["text"] for row in open_rows(str(path)).rows()] == ["first", text]
    members = written(tmp_path / "members.jsonl.packed", pack(b'{"a":') + pack(b"1}"))
    assert [row.value for row in open_rows(str(members)).rows()] == [{"a": 1}]


def test_more_between_the_rows_of_a_packed_list_than_is_kept_of_it_is_told(tmp_path: Path) -> None:
    data = b'[{"a": 1},' + b" " * (streams._KEPT + row_offsets.BLOCK) + b'{"a": 2}]'
    rows = list(open_rows(str(written(tmp_path / "rows.json.gz", gzip.compress(data, 1)))).rows())
    assert [row.value for row in rows] == [{"a": 1}, None, {"a": 2}]
