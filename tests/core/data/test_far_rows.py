"""Rows far behind in large files: gone to at once where a scan has come, and waited for where it has not."""

from __future__ import annotations

import gzip
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from finetune_core.data.files import row_offsets, text_file
from finetune_core.data.files.open import open_rows
from finetune_core.data.scan import row_index
from finetune_core.data.scan.row_index import FarRows
from finetune_core.data.scan.scan import scan


def lines(path: Path, count: int) -> str:
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as stream:
        for number in range(1, count + 1):
            stream.write(b'{"n": %d, "text": "%s"}\n' % (number, b"x" * 1000))
    return str(path)


def far(source: str) -> FarRows:
    return FarRows(source, open_rows(source))


@pytest.fixture
def begun_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows that reading begins at."""
    begun: list[int] = []
    kept = text_file.line_frames

    def watched(stream: Any, start: row_offsets.Mark) -> Any:
        begun.append(start.number)
        return kept(stream, start)

    monkeypatch.setattr(text_file, "line_frames", watched)
    return begun


@pytest.mark.parametrize("shards", [1, 3])
def test_rows_a_scan_has_seen_are_gone_to_while_it_runs_and_all_of_them_when_it_is_done(
    tmp_path: Path, shards: int, begun_at: list[int]
) -> None:
    for shard in range(shards):
        source = lines(tmp_path / "rows" / f"{shard}.jsonl", 30_000 // shards)
    rows = far(str(tmp_path / "rows") if shards > 1 else source)
    assert (rows.count, rows.known_to) == (None, 5000)
    told: list[int] = []

    def look(seen: int) -> None:
        told.append(seen)
        assert rows.count is None
        assert rows.known_to >= seen
        assert rows.wait_for(seen)
        begun_at.clear()
        assert [row.number for row in rows.rows(seen, 1)] == [seen]
        assert min(begun_at[-1:]) >= (seen - 1) % (30_000 // shards) + 1 - 5000

    rows.find_all(look)
    assert told
    assert (rows.count, rows.known_to) == (30_000, 30_000)
    begun_at.clear()
    assert [row.value and row.value["n"] for row in rows.rows(29_000, 2)] == [
        v - (shards - 1) * 10_000 for v in (29_000, 29_001)
    ]
    assert begun_at[-1] > 30_000 // shards - 5000
    assert [row.number for row in rows.rows(10**9, 3)] == [29_998, 29_999, 30_000]


def test_a_second_visit_and_a_parquet_file_know_their_rows_at_once(tmp_path: Path) -> None:
    source = lines(tmp_path / "rows.jsonl", 20)
    rows = far(source)
    rows.find_all()
    assert rows.count == 20
    scan(source)
    assert far(source).count == 20
    pyarrow.parquet.write_table(pa.table({"text": ["a"] * 70}), tmp_path / "rows.parquet")
    assert far(str(tmp_path / "rows.parquet")).count == 70
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(b'{"a": 1}\n' * 900))
    packed = far(str(tmp_path / "rows.jsonl.gz"))
    packed.find_all()
    assert packed.count == 900


def test_a_row_the_scan_has_not_come_to_is_waited_for_until_one_gives_up_or_the_scan_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = lines(tmp_path / "rows.jsonl", 10)
    found, going, end = scan(source), threading.Event(), threading.Event()
    monkeypatch.setattr(row_index, "cached", lambda _file: None)
    monkeypatch.setattr(row_index, "_SMALL", 0)

    def slow(_source: str, tell: Any, *_: Any, **__: Any) -> Any:
        tell(row_index.Progress(100, 200, 7000, 0))
        going.set()
        assert end.wait(30)
        return found

    monkeypatch.setattr(row_index, "scan", slow)
    rows = far(source)
    assert rows.wait_for(10**6)
    finding = threading.Thread(target=rows.find_all)
    finding.start()
    assert going.wait(30)
    told: list[int] = []
    assert not rows.wait_for(12_001, told.append, lambda: len(told) > 0)
    assert told == [7000]
    assert rows.wait_for(12_000, told.append)
    assert told == [7000]
    assert rows.wait_for(12_001, lambda _seen: end.set())
    finding.join()
    assert rows.count == 10


def test_a_scan_that_is_left_lets_those_who_wait_go_and_the_count_stay_open(tmp_path: Path) -> None:
    rows = far(lines(tmp_path / "rows.jsonl", 20_000))
    rows.find_all(cancel=lambda: True)
    assert rows.count is None
    assert rows.wait_for(20_000)
    assert [row.number for row in rows.rows(20_000, 5)] == [20_000]
