from __future__ import annotations

import errno
import json
import math
import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_core.runs.journal import Journal, Tail, number, parse_line


def write_events(path: Path, count: int) -> bytes:
    with Journal(path) as journal:
        for step in range(1, count + 1):
            journal.write("step", step=step, loss=step / 3)
    return path.read_bytes()


def steps_of(path: Path) -> list[int]:
    return [event["step"] for event in Tail(path).read()]


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """A disk on which no file can grow beyond `size` bytes: the kernel writes what fits, then refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_event_carries_version_sequence_both_clocks_and_kind_first(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with Journal(path) as journal:
        assert journal.write("step", step=1) == 1
        assert journal.write("eval", loss=0.5) == 2
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert list(first) == ["v", "seq", "t", "mono", "kind", "step", "crc"]
    assert (first["v"], first["seq"], second["seq"], second["kind"]) == (1, 1, 2, "eval")


def test_each_event_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: writes.append(bytes(data)) or real(handle, data))
    write_events(tmp_path / "events.jsonl", 3)
    assert [line.count(b"\n") for line in writes] == [1, 1, 1]


def test_the_journal_is_private(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write_events(path, 1)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        Journal(tmp_path / "events.jsonl")


def test_numbers_json_has_no_word_for_come_back_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with Journal(path) as journal:
        journal.write("step", loss=math.nan, deep={"list": [math.inf, -math.inf]})
    (event,) = Tail(path).read()
    assert event["loss"] == "NaN"
    assert event["deep"]["list"] == ["Infinity", "-Infinity"]
    assert math.isnan(number(event["loss"]) or 0)
    assert number(event["deep"]["list"][1]) == -math.inf


@pytest.mark.parametrize("value", [None, True, "12", "nan", [], {}, 10**400])
def test_what_is_not_a_number_is_none(value: object) -> None:
    assert number(value) is None


def test_values_of_other_libraries_are_written_as_numbers_or_text(tmp_path: Path) -> None:
    class Scalar:
        def item(self) -> float:
            return math.nan

    path = tmp_path / "events.jsonl"
    with Journal(path) as journal:
        journal.write("step", loss=Scalar(), path=Path("a/b"), table={(1, 2): "odd key"})
    (event,) = Tail(path).read()
    assert (event["loss"], event["path"], event["table"]) == ("NaN", "a/b", {"(1, 2)": "odd key"})


def test_a_field_named_as_the_envelope_does_not_overwrite_it(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with Journal(path) as journal:
        journal.write("result", kind="adapter", seq=99)
    (event,) = Tail(path).read()
    assert (event["kind"], event["seq"]) == ("result", 1)
    assert (event["result_kind"], event["result_seq"]) == ("adapter", 99)


def test_a_journal_cut_at_every_byte_loses_only_the_cut_event(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    whole = write_events(path, 4)
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        complete = sum(end <= cut for end in ends)
        assert steps_of(path) == list(range(1, complete + 1))

        # A line that lacks nothing but its newline is a whole event, and the writer gives it back.
        rescued = complete + (cut + 1 in ends)
        with Journal(path) as journal:
            assert journal.write("step", step=100) == rescued + 1
            journal.write("step", step=101)
        assert steps_of(path) == [*range(1, rescued + 1), 100, 101]


@given(garbage=st.binary(max_size=80), cut=st.integers(0, 400))
@settings(deadline=None, max_examples=150)
def test_no_garbage_between_two_writers_loses_an_event_of_either(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes, cut: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "events.jsonl"
    whole = write_events(path, 3)
    path.write_bytes(whole + whole[: cut % len(whole)].split(b"\n")[-1] + garbage)
    with Journal(path) as journal:
        journal.write("step", step=4)
    # Garbage may happen to complete the torn event: that is one event more, and nobody's loss.
    steps = [event.get("step") for event in Tail(path).read()]
    assert (steps[:3], steps[-1]) == ([1, 2, 3], 4)


def test_a_torn_event_that_garbage_happens_to_complete_hides_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    whole = write_events(path, 3)
    path.write_bytes(whole + whole[: whole.index(b',"step":')] + b"}")
    with Journal(path) as journal:
        journal.write("step", step=4)
    assert [event.get("step") for event in Tail(path).read()] == [1, 2, 3, None, 4]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(fields=st.dictionaries(st.text(st.characters(codec="ascii", categories=["Ll"]), min_size=8), _JSON, max_size=4))
@settings(deadline=None, max_examples=150)
def test_whatever_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, fields: dict[str, object]) -> None:
    path = tmp_path_factory.mktemp("journal") / "events.jsonl"
    with Journal(path) as journal:
        journal.write("step", **fields)
        journal.write("step", last=True)
    first, last = Tail(path).read()
    assert last["last"] is True

    def plain(value: object) -> object:
        if isinstance(value, float) and not math.isfinite(value):
            return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list) else value

    assert {name: first[name] for name in fields} == plain(fields)


@given(data=st.binary(max_size=400))
@settings(deadline=None)
def test_a_line_of_anything_is_an_event_or_nothing(data: bytes) -> None:
    event = parse_line(data)
    assert event is None or isinstance(event["kind"], str)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\0" * 50,
        b"null",
        b"[1]",
        b'"text"',
        b"{}",
        b'{"v":1,"seq":1}',
        b'{"v":1,"seq":"1","kind":"step"}',
        b'{"v":1,"seq":true,"kind":"step"}',
        b'{"v":2,"seq":1,"kind":"step"}',
        b'{"v":1,"seq":1,"kind":7}',
        b'{"v":1,"seq":-1,"kind":"step"}',
        b'{"v":1,"seq":' + b"9" * 5000 + b',"kind":"step"}',
        b'{"v":1,"x":' + b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_garbage_and_events_of_newer_versions_are_passed_over(line: bytes) -> None:
    assert parse_line(line) is None


def test_zeros_left_by_a_power_cut_do_not_hide_the_event_behind_them() -> None:
    assert (parse_line(b"\0\0\0" + b'{"v":1,"seq":3,"kind":"step"}') or {})["seq"] == 3


def test_an_event_glued_to_a_torn_one_is_read() -> None:
    assert (parse_line(b'{"v":1,"seq":2,"ki{"v":1,"seq":3,"kind":"step"}') or {})["seq"] == 3


def test_lone_surrogates_in_model_output_do_not_lose_the_event(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with Journal(path) as journal:
        journal.write("alarm", text="half a pair: \ud83d")
    assert Tail(path).read()[0]["text"] == "half a pair: \ud83d"


def test_a_full_disk_leaves_no_torn_line_and_loses_nothing_once_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    whole = write_events(path, 2)
    with Journal(path) as journal:
        with room_for(len(whole) + 40):
            journal.write("step", step=3)
            journal.write("step", step=4)
            assert "cannot be written" in (journal.problem or "")
            assert path.read_bytes() == whole
            assert not journal.flush()
        journal.write("step", step=5)
        assert journal.problem is None
    assert steps_of(path) == [1, 2, 3, 4, 5]
    assert [event["seq"] for event in Tail(path).read()] == [1, 2, 3, 4, 5]


def test_a_disk_that_stays_full_costs_only_the_oldest_waiting_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune_core.runs.journal._BACKLOG", 2)
    path = tmp_path / "events.jsonl"
    with Journal(path) as journal:
        with room_for(10):
            for step in range(1, 6):
                journal.write("step", step=step)
        assert journal.lost == 3
        assert journal.flush()
    assert steps_of(path) == [4, 5]


def test_what_cannot_be_cut_off_is_ended_before_the_next_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, size: int) -> None:
        raise OSError(5, "Input/output error")

    path = tmp_path / "events.jsonl"
    whole = write_events(path, 1)
    with Journal(path) as journal:
        monkeypatch.setattr(os, "ftruncate", refuse)
        with room_for(len(whole) + 20):
            journal.write("step", step=2)
        journal.write("step", step=3)
    assert steps_of(path) == [1, 2, 3]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE])
@pytest.mark.parametrize("call", ["write", "write after half a line", "fsync", "fstat"])
def test_a_failing_disk_neither_stops_the_writer_nor_tears_a_line_nor_loses_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    real = os.write

    def fail(handle: int, *data: bytes) -> int:
        if "half" in call:
            real(handle, data[0][: len(data[0]) // 2])
        raise OSError(number, os.strerror(number))

    path = tmp_path / "events.jsonl"
    whole = write_events(path, 2)
    with Journal(path) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(os, call.split(maxsplit=1)[0], fail)
            journal.write("checkpoint", step=3)
            journal.write("step", step=4)
        assert os.strerror(number) in (journal.problem or "")
        assert path.read_bytes() == whole
        journal.write("step", step=5)
        assert journal.problem is None
    assert [(event["seq"], event["step"]) for event in Tail(path).read()] == [(n, n) for n in range(1, 6)]


def test_closing_with_a_full_disk_and_closing_twice_raise_nothing() -> None:
    journal = Journal(Path("/dev/full"))
    journal.write("end", state="done")
    assert "No space left" in (journal.problem or "")
    journal.close()
    journal.close()


def test_events_of_several_threads_stay_whole_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with Journal(path) as journal:
        threads = [
            threading.Thread(target=lambda: [journal.write("step", text="x" * 500) for _ in range(100)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [event["seq"] for event in Tail(path).read()] == list(range(1, 401))


@pytest.mark.parametrize("size", [10, 64 * 1024, 64 * 1024 + 1, 300_000])
def test_the_sequence_goes_on_behind_events_of_any_length(tmp_path: Path, size: int) -> None:
    path = tmp_path / "events.jsonl"
    with Journal(path) as journal:
        journal.write("alarm", text="short")
        journal.write("alarm", text="x" * size)
    for expected in (3, 4):
        with Journal(path) as journal:
            assert journal.write("alarm", text="next") == expected


def test_the_sequence_goes_on_behind_a_long_torn_tail(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(write_events(path, 7) + b"\0" * 200_000)
    with Journal(path) as journal:
        assert journal.write("step", step=8) == 8
    assert steps_of(path) == list(range(1, 9))


def test_a_reader_gets_each_event_once_as_the_file_grows(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = Tail(path)
    assert tail.read() == []
    assert not tail.changed()
    with Journal(path) as journal:
        for step in range(5):
            journal.write("step", step=step)
            assert tail.changed()
            assert [event["step"] for event in tail.read()] == [step]
            assert not tail.changed()
            assert tail.read() == []


def test_a_reader_waits_for_the_end_of_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    whole = write_events(path, 2)
    tail = Tail(path)
    got: list[int] = []
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        got += [event["step"] for event in tail.read()]
    assert got == [1, 2]


def test_a_reader_starts_again_when_the_file_shrinks_or_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    whole = write_events(path, 3)
    tail = Tail(path)
    assert len(tail.read()) == 3
    path.write_bytes(whole[: whole.index(b"\n") + 1])
    assert [event["step"] for event in tail.read()] == [1]
    assert tail.turns == 1
    (tmp_path / "other").write_bytes(whole)
    (tmp_path / "other").replace(path)
    assert tail.changed()
    assert len(tail.read()) == 3
    assert tail.turns == 2


def test_a_reader_with_a_limit_takes_a_long_journal_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune_core.runs.journal._CHUNK", 1000)
    path = tmp_path / "events.jsonl"
    write_events(path, 200)
    tail = Tail(path)
    pieces = [tail.read(2000)]
    assert tail.behind
    while tail.behind:
        pieces.append(tail.read(2000))
    assert max(map(len, pieces)) < 60
    assert [event["step"] for piece in pieces for event in piece] == list(range(1, 201))


def test_a_limit_bounds_what_is_read_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(write_events(path, 100) * 50)
    read: list[int] = []
    real = os.pread

    def pread(handle: int, size: int, offset: int) -> bytes:
        data = real(handle, size, offset)
        read.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", pread)
    tail = Tail(path)
    assert tail.read(100_000)
    assert tail.behind
    assert sum(read) <= 200_000 < path.stat().st_size


def test_a_disk_that_fails_under_the_reader_is_read_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    write_events(path, 3)
    tail = Tail(path)

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    for call in ("pread", "fstat"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            assert tail.read() == []
    assert tail.changed()
    assert [event["step"] for event in tail.read()] == [1, 2, 3]


def test_a_reader_keeps_what_it_has_when_the_file_vanishes_and_begins_anew_when_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    whole = write_events(path, 3)
    tail = Tail(path)
    assert len(tail.read()) == 3
    path.rename(tmp_path / "away")
    assert not tail.changed()
    assert tail.read() == []
    assert tail.turns == 0
    path.write_bytes(whole)
    assert tail.changed()
    assert len(tail.read()) == 3
    assert tail.turns == 1


def test_blocks_of_zeros_anywhere_hide_no_event(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    whole = write_events(path, 3)
    for place in [0, *(end + 1 for end, byte in enumerate(whole) if byte == ord("\n"))]:
        for zeros in (b"\0" * 4096, b"\0" * 4096 + b"\n", b"\0\n" * 2048):
            path.write_bytes(whole[:place] + zeros + whole[place:])
            with Journal(path) as journal:
                assert journal.write("step", step=4) == 4
            assert steps_of(path) == [1, 2, 3, 4]


def test_a_reader_can_begin_in_the_middle_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    whole = write_events(path, 3)
    assert [event["step"] for event in Tail(path, start=whole.index(b"\n") - 5).read()] == [2, 3]


def test_a_line_without_end_is_passed_over_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune_core.runs.journal._CHUNK", 1000)
    monkeypatch.setattr("finetune_core.runs.journal._LONGEST_LINE", 5000)
    path = tmp_path / "events.jsonl"
    whole = write_events(path, 2)
    first, second, _ = whole.split(b"\n")
    path.write_bytes(first + b"\n" + b"x" * 23_456 + b"\n" + second + b"\n")
    assert steps_of(path) == [1, 2]


def faults_of(path: Path) -> list[str]:
    tail = Tail(path)
    tail.read()
    return tail.faults.words()


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_a_whole_journal_has_no_faults(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write_events(path, 20)
    assert faults_of(path) == []


def test_every_flipped_digit_of_a_line_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write_events(path, 3)
    first, line, last = lines_of(path)
    for place, letter in enumerate(line):
        if chr(letter).isdigit():
            path.write_bytes(first + line[:place] + b"%d" % ((letter - 48 + 5) % 10) + line[place + 1 :] + last)
            assert faults_of(path) != [], line[place - 10 : place + 1]


def test_lines_that_are_gone_leave_a_gap_wherever_they_were(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write_events(path, 6)
    lines = lines_of(path)
    path.write_bytes(b"".join(lines[:2] + lines[4:]))
    assert faults_of(path) == ["2 events are missing after event 2"]
    path.write_bytes(b"".join(lines[1:]))
    assert faults_of(path) == ["1 event is missing after event 0"]
    path.write_bytes(b"".join([*lines, lines[2]]))
    assert faults_of(path) == ["1 event came twice or out of order"]


def test_a_line_that_a_kill_cut_short_is_no_fault_wherever_it_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write_events(path, 3)
    first, second, third = lines_of(path)
    for cut in range(len(second) - 1):
        path.write_bytes(first + second[:cut] + b"\n" + second + third)
        assert faults_of(path) == [], cut


@pytest.mark.parametrize("garbage", [b"\xff\xfe garbage\n", b"[1,2]\n", b"hello\n"])
def test_a_line_that_no_writer_wrote_is_said(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "events.jsonl"
    write_events(path, 2)
    first, second = lines_of(path)
    path.write_bytes(first + garbage + second)
    assert faults_of(path) == ["1 line cannot be read"]


def test_a_journal_that_was_cut_goes_on_behind_what_is_known_to_have_been_written(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write_events(path, 9)
    path.write_bytes(b"".join(lines_of(path)[:4]))
    with Journal(path, after=9) as journal:
        assert journal.write("step", step=1) == 10
    assert faults_of(path) == ["5 events are missing after event 4"]


def test_lines_of_earlier_versions_without_a_checksum_are_believed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"v":1,"seq":1,"t":1.0,"mono":1.0,"kind":"step","step":1}\n')
    assert [event["step"] for event in Tail(path).read()] == [1]
    assert faults_of(path) == []


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to(path.name)])
def test_what_is_no_file_is_neither_waited_for_nor_written_to(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "events.jsonl"
    make(path)
    assert Tail(path).read() == []
    with pytest.raises(OSError, match=r".+"):
        Journal(path)
