"""The full scan: every row parsed in its own process, good rows counted around bad ones, and kept by content."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from finetune_core.data.files import chunks, row_offsets, text_file
from finetune_core.data.files.open import open_rows
from finetune_core.data.scan import parallel, parts, process
from finetune_core.data.scan.scan import Progress, Scan, cached, scan
from finetune_core.errors import FtError

BROKEN = [
    (b"{oops", "not JSON"),
    (b'{"a": "b', "not JSON"),
    (b"[1, 2]", "a list"),
    (b"\x00" * 300, "zero bytes"),
    (b'{"a": "caf\xe9"}', "not text"),
    (b'{"a": "\x00"}', "not JSON"),
    (b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deeply"),
    (b'{"a": ' + b"9" * 5000 + b"}", "number"),
    (b'{"a": 1, "a": 2}', "repeated"),
    (b'{"a": {"b": 1, "b": 2}, "b": 1}', "repeated"),
    (b'{"a": Infinity}', "number"),
]


def written(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def scanned(source: str) -> Scan:
    """In this process, as the other one does it."""
    return process.scan_all(open_rows(source), lambda *_: None)


def agrees(source: str, found: Scan) -> None:
    """The scan says what reading row by row says."""
    rows = list(open_rows(source).rows())
    bad = [(row.number, row.line, row.problem) for row in rows if row.problem is not None]
    assert (found.rows, found.bad) == (len(rows), len(bad))
    assert [(bad.number, bad.line, bad.problem) for bad in found.problems] == bad[:100]


def short_stretches(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Files of a few rows in many parts."""
    monkeypatch.setattr(chunks, "STRETCH", size)
    monkeypatch.setattr(chunks, "_NEAR", size // 4 + 1)
    monkeypatch.setattr(chunks, "_FAR", size // 2 + 1)


@pytest.mark.parametrize("size", [7, 64, 1000, 10**6])
def test_broken_rows_are_told_with_row_line_byte_and_reason_wherever_ranges_end(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "RANGE", size)
    # Ranges of a few bytes are many: the long rows are left out.
    kept = [item for item in BROKEN if len(item[0]) < 1000 or size > 7]
    lines = [b"\xef\xbb\xbf" + b'{"first": 1}', b"", b"  \t"]
    for broken, _ in kept:
        lines += [broken, b'{"good": "\\ud83d\\ude00", "other": NaN}', b""]
    source = written(tmp_path / "rows.jsonl", b"\n".join(lines) + b'{"cut": "')
    found = scanned(source)
    agrees(source, found)
    assert [words in bad.problem.what for bad, (_, words) in zip(found.problems, kept, strict=False)] == [True] * len(
        kept
    )
    assert "middle" in found.problems[-1].problem.what
    data = Path(source).read_bytes()
    for bad, (broken, _) in zip(found.problems, kept, strict=False):
        assert bad.offset is not None
        assert data[bad.offset :].startswith(broken)
    assert found.columns == {"first": 1, "good": len(kept), "other": len(kept)}


def test_a_line_of_many_megabytes_is_a_bad_row_among_good_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "RANGE", 2**16)
    monkeypatch.setattr(row_offsets, "ROW_BYTES", 2**20)
    # Another process would not know of the smaller cap.
    monkeypatch.setattr(parallel, "_SMALL", 2**30)
    source = written(tmp_path / "rows.jsonl", b'{"a": 1}\n{"a": "' + b"x" * 5 * 2**20 + b'"}\n{"a": 2}\n')
    found = scanned(source)
    assert (found.rows, found.bad, found.columns) == (3, 1, {"a": 2})
    assert (found.problems[0].number, found.problems[0].line, found.problems[0].offset) == (2, 2, 9)


@pytest.mark.parametrize("kind", ["json", "csv", "txt", "jsonl.gz", "parquet", "shards"])
def test_every_container_is_scanned_as_it_is_read(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    short_stretches(monkeypatch, 100)
    rows = [{"n": f"{n:05d}", "t": "x" * n} for n in range(50)]
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows) + b"{bad\n"
    source = str(tmp_path / f"rows.{kind}")
    if kind == "parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist([*rows, {"n": None}]), source)
    elif kind == "shards":
        Path(source).mkdir()
        for name in ("a.jsonl", "b.jsonl"):
            written(Path(source) / name, lines)
    else:
        data = {
            "json": json.dumps(rows)[:-1].encode() + b", 7]",
            "csv": b"n,t\n" + b"".join(f"{row['n']},{row['t']}\n".encode() for row in rows) + b"bad\n",
            "txt": b"\n\n".join(row["t"].encode() or b"-" for row in rows) + b"\n\n\x00\n",
            "jsonl.gz": gzip.compress(lines),
        }[kind]
        written(Path(source), data)
    found = scanned(source)
    agrees(source, found)
    assert (
        found.columns == {"text": 50} if kind == "txt" else {"n": found.rows - found.bad, "t": found.rows - found.bad}
    )


def test_a_scan_is_done_by_a_process_and_kept_until_the_content_changes(tmp_path: Path) -> None:
    line = b'{"prompt": "' + b"x" * 1000 + b'", "completion": "b"}\n'
    source = written(tmp_path / "rows.jsonl", line * 20_000 + b"oops\n")
    file = open_rows(source)
    assert cached(file) is None
    told: list[Progress] = []
    found = scan(source, told.append, file=file)
    assert found is not None
    assert (found.rows, found.bad, found.columns) == (20_001, 1, {"prompt": 20_000, "completion": 20_000})
    assert told
    assert told[0].size == file.size
    assert cached(open_rows(source)) == found
    os.utime(source, ns=(1, 1))
    assert cached(open_rows(source)) is None


def test_after_a_scan_any_row_is_gone_to_without_reading_those_before(tmp_path: Path) -> None:
    source = written(tmp_path / "rows.jsonl", b'{"a": "' + b"x" * 1000 + b'"}\n' * 1)
    Path(source).write_bytes(b"".join(b'{"n": %d, "a": "%s"}\n' % (n, b"x" * 1000) for n in range(30_000)))
    scan(source)
    file = open_rows(source)
    assert cached(file) is not None
    read: list[int] = []
    kept = text_file.line_frames

    def watched(stream: Any, start: row_offsets.Mark) -> Any:
        read.append(start.number)
        return kept(stream, start)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_file, "line_frames", watched)
        assert file.first(1, start=29_000)[0].value == {"n": 28_999, "a": "x" * 1000}
    assert read[0] > 20_000


def test_a_scan_can_be_left(tmp_path: Path) -> None:
    source = written(tmp_path / "rows.jsonl", b'{"a": 1}\n' * 2_000_000)
    assert scan(source, cancel=lambda: True) is None
    assert cached(open_rows(source)) is None


def test_a_source_that_cannot_be_opened_is_told_as_such_by_the_process_too(tmp_path: Path) -> None:
    source = written(tmp_path / "rows.jsonl", b'{"a": 1}\n')
    file = open_rows(source)
    Path(source).unlink()
    with pytest.raises(FtError, match="no such file"):
        scan(source, file=file)
