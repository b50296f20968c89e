from __future__ import annotations

import hashlib
import json
import os
import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune_core.data.files import row_offsets
from finetune_core.data.files.base import Container
from finetune_core.data.files.open import Row, open_rows, parse, resolve_source
from finetune_core.data.files.row_offsets import Mark, line_counts, line_frames
from finetune_core.data.files.text_file import Layout, TextFile
from finetune_core.errors import FtError

GOOD = {"prompt": "a", "completion": "b"}


def written(folder: Path, content: str | bytes, name: str = "rows.jsonl") -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def values(rows: list[Row]) -> list[object]:
    return [row.value if row.problem is None else "bad" for row in rows]


def test_rows_are_numbered_by_row_and_by_line_and_blank_lines_count_as_lines_only(tmp_path: Path) -> None:
    rows = open_rows(written(tmp_path, '\ufeff\n{"a": 1}\n   \n\r\n{"a": 2}')).first(9)
    assert [(row.number, row.line, row.value) for row in rows] == [(1, 2, {"a": 1}), (2, 5, {"a": 2})]


BAD_LINES = {
    "not JSON": (b"{oops", "not JSON"),
    "cut off": (b'{"a": "b', "middle"),
    "not an object": (b"[1, 2]", "a list, not an object"),
    "null": (b"null", "null, not an object"),
    "a number": (b"12", "a number or true/false, not an object"),
    "not UTF-8": (b'{"a": "\xff"}', "not text"),
    "a NUL byte in a text": (b'{"a": "\x00"}', "not JSON"),
    "zero bytes": (b"\x00" * 512, "zero bytes"),
    "endless nesting": (b'{"a": ' + b"[" * 200_000, "nested too deeply"),
    "a huge integer": (b'{"a": ' + b"9" * 5000 + b"}", "number in the row cannot be read"),
    "infinity": (b'{"a": Infinity}', "number in the row cannot be read"),
}


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_bad_line_is_told_with_file_and_line_and_its_neighbours_stay_usable(tmp_path: Path, kind: str) -> None:
    line, words = BAD_LINES[kind]
    rows = open_rows(written(tmp_path, b'{"a": 1}\n' + line + b'\n{"a": 2}\n')).first(9)
    if kind == "cut off":
        rows = open_rows(written(tmp_path, b'{"a": 1}\n{"a": 2}\n' + line)).first(9)
        rows[1], rows[2] = rows[2], rows[1]
    assert [values(rows)[0], values(rows)[2]] == [{"a": 1}, {"a": 2}]
    found = rows[1].problem
    assert found is not None
    assert words in found.what
    assert found.where == f"rows.jsonl:{rows[1].line}"
    assert found.why
    assert found.remedy


def test_nan_stands_for_a_missing_value() -> None:
    assert parse(b'{"a": NaN}') == {"a": None}


def test_a_line_over_the_cap_is_skipped_and_the_next_one_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_offsets, "ROW_BYTES", 1000)
    rows = open_rows(written(tmp_path, '{"a": 1}\n{"a": "' + "x" * 2000 + '"}\n{"a": 2}\n')).first(9)
    assert values(rows) == [{"a": 1}, "bad", {"a": 2}]
    assert rows[1].problem is not None
    assert "too long" in rows[1].problem.what


def test_an_array_gives_its_elements_with_their_lines(tmp_path: Path) -> None:
    text = json.dumps([{"a": ']}\\"'}, {"b": {"c": [1]}}, {"d": "x,\ny"}], indent=2)
    rows = open_rows(written(tmp_path, "\ufeff \n" + text, "rows.json")).first(9)
    assert values(rows) == [{"a": ']}\\"'}, {"b": {"c": [1]}}, {"d": "x,\ny"}]
    assert [row.line for row in rows] == [3, 6, 13]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[{"a": 1}, {"a": }, {"a": 2}]', [{"a": 1}, "bad", {"a": 2}]),
        ('[{"a": 1}, 7, "x", {"a": 2}]', [{"a": 1}, "bad", {"a": 2}]),
        ('[{"a": 1}, {"a": 2}', [{"a": 1}, {"a": 2}, "bad"]),
        ('[{"a": 1}, {"a": "x', [{"a": 1}, "bad"]),
        ('[{"a": 1}] {"a": 2}', [{"a": 1}, "bad"]),
        ('[{"a": 1}, 5]', [{"a": 1}, "bad"]),
        ('[{"a": 1},\n{"a": "x},\n{"a": 2}]', [{"a": 1}, "bad", {"a": 2}]),
        ("[]", []),
        ("[", ["bad"]),
    ],
)
def test_damage_in_an_array_costs_the_damaged_element_only(tmp_path: Path, text: str, expected: list[object]) -> None:
    file = open_rows(written(tmp_path, text, "rows.json"))
    got = values(file.first(9))
    if text.startswith('[{"a": 1},\n{"a": "x}'):
        # The brace swallowed by the open string leaves the element open: the damage is told, and nothing is invented.
        assert got[0] == {"a": 1}
        assert "bad" in got
    else:
        assert got == expected
    assert file.count() == len(got)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.jsonl", "", "no rows"),
        ("rows.jsonl", " \n\t\n", "no rows"),
        ("rows.data", "a,b\n1,2\n", "no file of rows"),
        ("rows.jsonl", b"\x1f\x8b\x08", "gzip archive ends"),
        ("rows.jsonl", b"PAR1....", "table cannot be read"),
        ("rows.jsonl", '{"a": 1}'.encode("utf-16"), "UTF-16"),
        ("rows.json", '{"data": [{"a": 1}, {"a": 2}]}', "one JSON object"),
        ("rows.json", '{\n "data": [\n  {"a": 1}\n ]\n}', "one JSON object"),
        ("rows.jsonl", '{\n "a": 1,\n "b": 2\n}\n{\n "a": 2\n}', "one JSON object"),
    ],
)
def test_what_is_no_file_of_rows_is_refused_by_name(
    tmp_path: Path, name: str, content: str | bytes, words: str
) -> None:
    with pytest.raises(FtError, match=words) as caught:
        open_rows(written(tmp_path, content, name))
    assert caught.value.problems[0].remedy


def test_one_object_with_a_list_inside_is_told_where_its_rows_are(tmp_path: Path) -> None:
    with pytest.raises(FtError) as caught:
        open_rows(written(tmp_path, '{"version": 1, "data": [{"a": 1}, {"a": 2}]}', "rows.json"))
    assert "`data`" in caught.value.problems[0].why
    assert "2 rows" in caught.value.problems[0].why


def test_json_lines_under_the_name_json_are_read_as_lines(tmp_path: Path) -> None:
    rows = open_rows(written(tmp_path, '{"a": 1}\n{"a": 2}\n', "rows.json"))
    assert values(rows.first(9)) == [{"a": 1}, {"a": 2}]


def test_missing_folders_pipes_and_forbidden_files_are_told_plainly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    for source, words in (
        (tmp_path / "none.jsonl", "no such file"),
        (tmp_path, "folder"),
        (pipe, "no ordinary file"),
        ("", "no file of rows is chosen"),
        ("a\0b.jsonl", "no file of rows is chosen"),
    ):
        with pytest.raises(FtError, match=words):
            open_rows(str(source))


def test_demo_names_the_rows_that_ship() -> None:
    assert resolve_source("demo").name != resolve_source("demo", held_out=True).name


def test_hostile_file_names_are_made_visible_in_messages(tmp_path: Path) -> None:
    row = open_rows(written(tmp_path, "{", "a\x1b]52;c;x\x07.jsonl")).first(1)[0]
    assert row.problem is not None
    assert "\x1b" not in row.problem.where


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_a_page_from_the_middle_is_the_same_before_and_after_the_file_was_counted(tmp_path: Path, name: str) -> None:
    objects = [{"n": i, "t": "x" * (i % 50)} for i in range(2000)]
    text = json.dumps(objects, indent=1) if name.endswith("json") else "\n".join(map(json.dumps, objects))
    file = open_rows(written(tmp_path, text, name))
    before = file.first(3, start=1500)
    assert file.count() == 2000
    assert file.first(3, start=1500) == before
    assert [row.value for row in before] == objects[1499:1502]
    assert [row.value for row in file.chosen({3, 700, 1999})] == [objects[2], objects[699], objects[1998]]


def test_a_file_that_grew_is_read_anew(tmp_path: Path) -> None:
    source = written(tmp_path, "".join(f'{{"n": {i}}}\n' for i in range(1000)))
    file = open_rows(source)
    assert file.first(1, start=900)[0].value == {"n": 899}
    Path(source).write_text("".join(f'{{"longer": {i}}}\n' for i in range(1200)))
    assert file.first(1, start=1100)[0].value == {"longer": 1099}


def test_counting_can_be_left_and_tells_how_far_it_is(tmp_path: Path) -> None:
    file = open_rows(written(tmp_path, '{"a": 1}\n' * 300_000))
    told: list[tuple[int, int]] = []
    assert file.count(progress=lambda done, size: told.append((done, size))) == 300_000
    assert told[-1] == (file.size, file.size)
    assert file.count(cancel=lambda: True) < 300_000


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    file = open_rows(written(tmp_path, '{"a": 1}\n'))
    assert file.sha256() == hashlib.sha256(b'{"a": 1}\n').hexdigest()


def test_several_threads_read_one_file_at_once(tmp_path: Path) -> None:
    file = open_rows(written(tmp_path, "".join(f'{{"n": {i}}}\n' for i in range(5000))))
    got: list[list[object]] = []
    readers = [threading.Thread(target=lambda: got.append(values(file.first(5, 4000)))) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert got == [[{"n": i} for i in range(3999, 4004)]] * 4


@pytest.mark.parametrize("name", ["huge.jsonl", "huge.json"])
def test_the_first_page_of_a_huge_file_comes_in_little_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as stream:
        stream.write(b"[" if name.endswith("json") else b"")
        stream.write((b'{"prompt": "a", "completion": "b"}' + (b",\n" if name.endswith("json") else b"\n")) * 1000)
        stream.truncate(10 * 2**30)
    tracemalloc.start()
    rows = open_rows(str(path)).first(100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert values(rows) == [GOOD] * 100
    assert peak < 8 * 2**20


def test_one_endless_line_is_passed_over_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "endless.jsonl"
    with path.open("wb") as stream:
        stream.write(b'{"a": 1}\n')
        stream.truncate(200 * 2**20)
    tracemalloc.start()
    rows = list(open_rows(str(path)).rows())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert values(rows) == [{"a": 1}, "bad"]
    assert peak < 8 * 2**20


PIECES = st.lists(
    st.sampled_from(
        [b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"\n", b" ", b"\r", b"\x00", b'{"a":1}', b"1", b"\xff"]
    )
)


@given(PIECES, st.sampled_from(["rows.jsonl", "rows.json"]), st.sampled_from([b"", b"[", b'{"a":1}\n']))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_make_the_reader_crash(tmp_path: Path, pieces: list[bytes], name: str, start: bytes) -> None:
    source = written(tmp_path, start + b"".join(pieces), name)
    try:
        file = open_rows(source)
    except FtError:
        return
    rows = list(file.rows())
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    assert all((row.value is None) != (row.problem is None) for row in rows)
    assert file.count() == len(rows)


OBJECTS = st.lists(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=8,
        ),
        max_size=4,
    ),
    max_size=6,
)


@given(OBJECTS, st.booleans(), st.sampled_from([None, 1]), st.integers(1, 40))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_written_is_read_back_wherever_blocks_end(
    tmp_path: Path, objects: list[dict[str, object]], ascii_only: bool, indent: int | None, block: int
) -> None:
    text = json.dumps(objects, ensure_ascii=ascii_only, indent=indent)
    lines = "".join(json.dumps(item, ensure_ascii=ascii_only) + "\n" for item in objects)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_offsets, "BLOCK", block)
        array = TextFile(Path(written(tmp_path, text, "rows.json")), Layout(Container("json"), Mark(1, 1, 1)))
        assert [row.value for row in array.rows()] == objects
        by_line = TextFile(Path(written(tmp_path, lines)), Layout(Container("jsonl"), Mark(1, 1, 0)))
        assert [row.value for row in by_line.rows()] == objects


@given(st.lists(st.sampled_from([b"x", b" ", b"\n", b"\r", b"\t", b"\n\n", b"\n \n", b"\v"])), st.integers(1, 8))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fast_counting_agrees_with_reading(tmp_path: Path, pieces: list[bytes], block: int) -> None:
    path = Path(written(tmp_path, b"".join(pieces)))
    with pytest.MonkeyPatch.context() as patch, path.open("rb") as stream:
        patch.setattr(row_offsets, "BLOCK", block)
        *_, (counted, seen) = line_counts(stream, Mark(1, 1, 0))
        assert counted == len(list(line_frames(stream, Mark(1, 1, 0))))
        assert seen == path.stat().st_size


@pytest.mark.parametrize("name", ["x" * 5000, "wide 東京 " * 900, "./" + "x" * 300])
def test_a_name_no_file_can_have_is_told_plainly(name: str) -> None:
    with pytest.raises(FtError, match="cannot be opened"):
        open_rows(name)
