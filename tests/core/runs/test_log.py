from __future__ import annotations

from pathlib import Path

from finetune_core.runs.log import last_lines


def test_the_last_lines_are_given_without_the_blank_ones(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("one\n\ntwo\n  \nthree\n")
    assert last_lines(log, 2) == ["two", "three"]
    assert last_lines(log, 10, start=len("one\n\n")) == ["two", "three"]


def test_of_a_progress_bar_only_its_last_state_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_bytes(b"loading: 0%\rloading: 50%\rloading: 100%\r\nready\n")
    assert last_lines(log, 5) == ["loading: 100%", "ready"]


def test_control_characters_long_lines_and_broken_utf_8_are_made_harmless(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_bytes(b"\x1b]52;c;AAAA\x07 \xff\n" + b"x" * 5000 + b"\n")
    first, second = last_lines(log, 5)
    assert "\x1b" not in first
    assert len(second) == 500


def test_only_the_end_of_a_huge_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with log.open("wb") as stream:
        stream.truncate(10**10)
        stream.seek(0, 2)
        stream.write(b"\nthe end\n")
    assert last_lines(log, 1) == ["the end"]


def test_no_log_has_no_lines(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "absent.log", 5) == []
