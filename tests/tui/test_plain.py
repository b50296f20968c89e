from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_core.errors import FtError
from finetune_core.files import write_atomic
from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Journal
from finetune_tui.commands import plain
from finetune_tui.commands.output import finite, table
from finetune_tui.commands.plain import Follower, verdict_table
from finetune_tui.commands.tail import EventTail, LineTail
from finetune_tui.run_words import loading_lines
from tests.tui.listed_runs import finished_events, make_run


def told(run: RunDir) -> list[str]:
    lines: list[str] = []
    Follower(run, lines.append).to_the_end()
    return lines


def state(name: str, phase: str = "") -> tuple[str, dict[str, Any]]:
    return "state", {"state": name, "phase": phase, "done": None, "total": None, "unit": None}


def test_every_phase_is_told_once_and_every_pause() -> None:
    phases = [state("training"), state("evaluating", "held-out loss"), state("training"),
              state("evaluating", "held-out loss"), state("training"), state("paused"), state("training")]  # fmt: skip
    run = make_run(events=[*phases, *finished_events(2)[-1:]], state="done")
    lines = [line for line in told(run) if line in {"training", "paused", "evaluating: held-out loss"}]
    assert lines == ["training", "evaluating: held-out loss", "paused", "training"]


def test_the_last_step_is_always_told() -> None:
    assert any(line.startswith("step 60/60  loss 0.09") for line in told(make_run(events=finished_events())))


def test_an_alarm_is_told() -> None:
    alarm = ("alarm", {"name": "loss", "text": "the loss is not a number \x1b[2J"})
    assert "! the loss is not a number ␛[2J" in told(make_run(events=[alarm, *finished_events(1)]))


def test_base_and_tuned_answers_stand_beside_each_other() -> None:
    sample = ("sample", {"step": 1, "path": "samples/step-000001.json", "count": 1, "source": "held_out"})
    run = make_run(events=[sample, *finished_events(1)])
    item = {"prompt": "Capital of Chad?", "reference": None, "base": "It is N'Djamena.", "current": '{"answer": "x"}'}
    content = {"step": 1, "source": "held_out", "items": [item]}
    write_atomic(run.samples / "step-000001.json", json.dumps(content))
    shown = "\n".join(told(run))
    assert "base:  It is N'Djamena." in shown
    assert 'tuned: {"answer": "x"}' in shown


def test_the_end_of_a_failed_run_tells_cause_remedy_and_last_lines() -> None:
    end = ("end", {"state": "failed", "cause": "out of memory", "remedy": "halve it", "last_lines": ["CUDA error"]})
    shown = "\n".join(told(make_run(events=[state("training"), end])))
    assert all(words in shown for words in ("cause: out of memory", "fix: halve it", "CUDA error"))


def test_a_resumed_run_is_followed_to_its_second_end() -> None:
    run = make_run(events=[state("training"), ("end", {"state": "stopped"}), state("preparing", "importing")])
    with Journal(run.events_file) as journal:
        for kind, fields in finished_events(3):
            journal.write(kind, **fields)
    assert any(line.startswith("done after") for line in told(run))


def test_the_present_of_a_long_run_is_told_before_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune_core.runs.view.tail_view.SHORT", 10)
    monkeypatch.setattr("finetune_tui.commands.plain._PIECE", 10)
    run = make_run(events=[state("preparing", "importing"), *finished_events()], state="done")
    lines = told(run)
    present = next(place for place, line in enumerate(lines) if line.startswith("now done: step 60/"))
    assert present < lines.index("preparing: importing")
    assert any(line.startswith("step 60/60") for line in lines)


def test_the_verdict_shows_only_what_was_measured() -> None:
    verdict = {"base": {"held_out_loss": 2.0}, "tuned": {"held_out_loss": 1.0}, "rows": 7, "words": "Better."}
    assert verdict_table(verdict).split() == [
        "7", "held-out", "rows", "base", "tuned", "held-out", "loss", "2.0000", "1.0000", "Better.",
    ]  # fmt: skip


def test_paths_in_the_loading_lines_are_quoted_as_python() -> None:
    lines = loading_lines("/runs/it's", {"kind": "adapter", "base": "a'); import os #"})
    assert len(lines) == 3
    compile("\n".join(lines), "lines", "exec")
    assert '"/runs/it\'s"' in lines[2]
    assert 'import os #")' in lines[1]
    compile("\n".join(loading_lines("/x", {"kind": "model", "base": "y"})), "lines", "exec")


def test_the_base_is_loaded_in_the_revision_the_adapter_was_trained_on() -> None:
    result = {"kind": "adapter", "base": "org/name", "revision": "c0ffee'"}
    assert "from_pretrained('org/name', revision=\"c0ffee'\")" in loading_lines("/x", result)[1]
    assert "revision" not in loading_lines("/x", {**result, "revision": None})[1]


def test_numbers_that_json_lacks_become_null() -> None:
    assert finite({"a": float("nan"), "b": [float("inf"), 1.5], 3: "x"}) == {"a": None, "b": [None, 1.5], "3": "x"}


def test_a_table_has_columns_as_wide_as_their_longest_cell() -> None:
    assert table(("a", "b"), [("long", "x")]) == "a     b\nlong  x"


def test_a_log_is_given_from_its_end_and_then_as_it_grows(tmp_path: Path) -> None:
    file = tmp_path / "log"
    tail = LineTail(file, 2)
    assert tail.read() == []
    file.write_bytes(b"1\n2\n3\nhal")
    tail = LineTail(file, 2)
    assert tail.read() == ["2", "3"]
    with file.open("ab") as stream:
        stream.write(b"f\n\xff\n")
    assert tail.read() == ["half", "\ufffd"]
    assert tail.read() == []


def test_events_are_given_from_the_end_and_then_as_they_come(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    assert EventTail(file, 2).read() == []
    with Journal(file) as journal:
        for _ in range(3):
            journal.write("alarm", text="x" * 300_000)
        tail = EventTail(file, 2)
        assert [json.loads(line)["seq"] for line in tail.read()] == [2, 3]
        assert tail.read() == []
        journal.write("end", state="done")
        assert [json.loads(line)["seq"] for line in tail.read()] == [4]


def test_a_log_without_line_ends_does_not_fill_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "log"
    tail = LineTail(file, 5)
    shown = []
    for _ in range(20):
        with file.open("ab") as stream:
            stream.write(b"x" * 200_000)
        shown += tail.read()
    assert shown
    assert max(len(line) for line in shown) <= 4000
    assert len(tail._rest) <= 2 * 256 * 1024


def test_a_long_log_never_begins_in_the_middle_of_a_line(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("".join(f"line {number}\n" for number in range(40_000)))
    lines = LineTail(file, 10**6).read()
    assert all(line.startswith("line ") for line in lines)
    assert lines[-1] == "line 39999"


def test_events_with_values_of_other_kinds_are_told_as_far_as_they_go() -> None:
    events: list[tuple[str, dict[str, Any]]] = [
        ("state", {"state": "training", "total": 9}),
        ("checkpoint", {"step": 1, "bytes": {}}),
        ("eval", {"step": 1, "loss": [1]}),
        ("sample", {"step": 1, "path": "samples/missing.json"}),
        ("verdict", {"base": [1], "tuned": {"valid_json": 10**400, "exact": "x"}, "words": "so so"}),
        ("result", {"path": "result", "bytes": "many"}),
        ("end", {"state": "failed", "last_lines": 7}),
    ]
    text = "\n".join(told(make_run(events=events, state="failed")))
    for words in ("training (None/9 )", "step 1: 0 B", "[1]", "samples cannot be read", "so so", "failed after"):
        assert words in text


def test_a_run_in_a_state_of_another_version_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "_START_SECONDS", 0.0)
    run = make_run(state="dreaming\x1b[2J")
    with pytest.raises(FtError, match="state is not known here"):
        told(run)


def test_a_run_that_ends_while_it_is_followed_is_told_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "_START_SECONDS", 0.0)
    assert any(line.startswith("done after") for line in told(make_run(events=finished_events(), state="done")))
