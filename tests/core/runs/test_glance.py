from __future__ import annotations

import os
from typing import Any

import pytest

from finetune_core.runs import journal
from finetune_core.runs.directory import RunDir
from finetune_core.runs.identity import Identity
from finetune_core.runs.journal import Journal
from finetune_core.runs.status import Status, write_status
from finetune_core.runs.view import history, tail_view
from finetune_core.runs.view.run_view import RunView
from finetune_core.runs.view.tail_view import Glance, is_long

HEAD, END = 2_000, 4_000
Events = list[tuple[str, dict[str, Any]]]


@pytest.fixture(autouse=True)
def _short_journals_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_view, "SHORT", HEAD + END)
    monkeypatch.setattr(tail_view, "_HEAD", HEAD)
    monkeypatch.setattr(tail_view, "_END", END)
    monkeypatch.setattr(journal, "_CHUNK", 1_000)


def write(run: RunDir, *events: tuple[str, dict[str, Any]]) -> None:
    with Journal(run.events_file) as writer:
        for kind, fields in events:
            writer.write(kind, **fields)


def steps(first: int, last: int) -> Events:
    return [("step", {"step": number, "loss": number / 7, "epoch": number / 100}) for number in range(first, last + 1)]


def state(name: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    return "state", {"state": name, **fields}


def at_work(run: RunDir, name: str = "training", total: int | None = None) -> None:
    write_status(run, Status(run=run.name, state=name, total=total, trainer=Identity.current()))


def glance_of(run: RunDir) -> Glance:
    assert is_long(RunView(run))
    view = Glance(run)
    view.poll()
    return view


def whole_of(run: RunDir) -> RunView:
    view = RunView(run)
    view.poll()
    return view


def test_a_journal_read_in_a_moment_is_not_long(run: RunDir) -> None:
    write(run, *steps(1, 10))
    assert not is_long(RunView(run))


def test_a_glance_tells_the_present_as_the_whole_journal_does(run: RunDir) -> None:
    at_work(run)
    write(run, state("preparing"), ("plan", {"total_steps": 900}), state("training"), *steps(1, 500))
    found, whole = glance_of(run), whole_of(run)
    assert {**found.to_dict(), "eta_seconds": None} == {**whole.to_dict(), "eta_seconds": None}
    assert (found.state, found.total, found.started) == ("training", 900, whole.started)
    assert found.eta_seconds is not None


def test_a_glance_of_an_ended_run_tells_its_end(run: RunDir) -> None:
    write(run, state("preparing"), *steps(1, 500), ("verdict", {"better": True}), ("end", {"state": "done"}))
    found, whole = glance_of(run), whole_of(run)
    assert (found.state, found.verdict, found.ended) == ("done", whole.verdict, whole.ended)


def test_the_curves_and_lists_of_a_glance_are_those_of_the_end(run: RunDir) -> None:
    write(run, ("eval", {"step": 0, "loss": 9.0}), *steps(1, 500), ("eval", {"step": 500, "loss": 1.0}))
    found = glance_of(run)
    loss = found.series["loss"].steps
    assert loss == list(range(loss[0], 501))
    assert 10 < len(loss) < 100
    assert [event["step"] for event in found.evals] == found.series["eval_loss"].steps == [500]


def test_a_glance_reads_little_however_long_the_journal(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    write(run, *steps(1, 5_000))
    read: list[int] = []
    real = os.pread

    def pread(handle: int, size: int, offset: int) -> bytes:
        data = real(handle, size, offset)
        read.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", pread)
    assert glance_of(run).step == 5_000
    assert sum(read) < 2 * (HEAD + END) < run.events_file.stat().st_size / 10


def test_the_end_of_an_earlier_attempt_is_not_taken_for_the_runs(run: RunDir) -> None:
    at_work(run)
    write(run, state("preparing"), *steps(1, 3), ("end", {"state": "stopped"}))
    write(run, state("preparing", step=3), state("training"), *steps(4, 500))
    found = glance_of(run)
    assert (found.state, found.end, found.step) == ("training", None, 500)


def test_the_state_is_that_of_the_status_until_the_journal_tells_a_newer_one(run: RunDir) -> None:
    at_work(run, "evaluating")
    write(run, state("preparing"), *steps(1, 300), state("training"), *steps(301, 500))
    found = glance_of(run)
    assert found.state == "evaluating"
    write(run, state("paused"))
    found.poll()
    assert found.state == "paused"


def test_a_plan_in_between_is_known_by_the_status(run: RunDir) -> None:
    at_work(run, total=777)
    write(
        run, *(state("preparing", done=number) for number in range(100)), ("plan", {"total_steps": 777}), *steps(1, 90)
    )
    assert glance_of(run).total == 777


def test_a_glance_goes_on_as_the_run_does(run: RunDir) -> None:
    at_work(run)
    write(run, *steps(1, 500))
    found = glance_of(run)
    write(run, *steps(501, 503))
    assert found.poll()
    assert found.step == 503


def test_a_glance_begins_with_the_kept_history(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "WORTH", 1)
    at_work(run)
    write(run, state("preparing"), ("checkpoint", {"step": 200}), *steps(1, 250))
    assert history.keep(whole_of(run))
    write(run, *steps(251, 600))
    found = glance_of(run)
    points = found.series["loss"].steps
    assert points[:250] == list(range(1, 251))
    assert points[250] > 400
    assert len(found.checkpoints) == 1
