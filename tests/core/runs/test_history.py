from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune_core.errors import FtError
from finetune_core.paths import cache_root
from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Journal
from finetune_core.runs.upkeep.lifecycle import delete
from finetune_core.runs.view import history
from finetune_core.runs.view.run_view import RunView

ALL = 10**9
NOW = 4e9

Events = list[tuple[str, dict[str, Any]]]

_WHOLE = st.integers(0, 40)
_FIGURE = st.floats() | st.integers(-5, 5)
_GPU = st.fixed_dictionaries({"index": st.integers(0, 1), "memory_used": _FIGURE, "utilisation": _FIGURE})
_EVENTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("step"),
            st.fixed_dictionaries(
                {"step": _WHOLE, "loss": _FIGURE},
                optional={"epoch": _FIGURE, "tokens": _WHOLE, "grad_norm": _FIGURE, "gpus": st.lists(_GPU, max_size=2)},
            ),
        ),
        st.tuples(
            st.just("state"),
            st.fixed_dictionaries(
                {"state": st.sampled_from(["preparing", "training", "paused", "evaluating", "saving"])},
                optional={"phase": st.sampled_from(["", "starting", "loading"]), "step": _WHOLE},
            ),
        ),
        st.tuples(
            st.sampled_from(["eval", "sample", "checkpoint", "probe"]),
            st.fixed_dictionaries({"step": _WHOLE, "loss": _FIGURE, "path": st.text(max_size=3)}),
        ),
        st.tuples(
            st.sampled_from(["alarm", "control"]), st.fixed_dictionaries({"text": st.just("half a pair: \ud83d")})
        ),
        st.tuples(st.just("plan"), st.fixed_dictionaries({"total_steps": _WHOLE, "price_per_hour": _FIGURE})),
        st.tuples(st.just("verdict"), st.fixed_dictionaries({"better": st.booleans()})),
        st.tuples(st.just("result"), st.fixed_dictionaries({"kind": st.just("adapter"), "bytes": _WHOLE})),
        st.tuples(st.just("end"), st.fixed_dictionaries({"state": st.sampled_from(["done", "stopped", "failed"])})),
    ),
    max_size=25,
)


@pytest.fixture(autouse=True)
def _short_journals_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "WORTH", 1)
    monkeypatch.setattr(history, "_WORTH_BEHIND", 1)


def write(run: RunDir, events: Events) -> None:
    with Journal(run.events_file) as journal:
        for kind, fields in events:
            journal.write(kind, **fields)


def steps(first: int, last: int) -> Events:
    return [("step", {"step": number, "loss": number / 7}) for number in range(first, last + 1)]


def view_of(run: RunDir) -> RunView:
    view = RunView(run)
    view.poll()
    return view


def kept(run: RunDir) -> RunView:
    """A view that has read everything and kept its history."""
    view = view_of(run)
    assert history.keep(view)
    return view


def from_the_beginning(run: RunDir) -> RunView:
    history.forget(run)
    return view_of(run)


def told(view: RunView) -> str:
    """All that a view tells, NaN included, but for what depends on the present moment."""
    known = {**view.to_dict(), "cost": view.cost(NOW), "eta_seconds": None}
    more = [view.worked_seconds(NOW), view.result_is_earlier, view.plan, [*view._pace]]
    return json.dumps([known, more, view.snapshot(ALL, ALL)])


@given(before=_EVENTS, after=_EVENTS, torn=st.binary(max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_a_view_from_history_and_tail_is_the_view_of_the_whole_journal(
    run: RunDir, before: Events, after: Events, torn: bytes
) -> None:
    run.events_file.unlink(missing_ok=True)
    history.forget(run)
    write(run, [("state", {"state": "created"}), *before])
    with run.events_file.open("ab") as stream:
        stream.write(torn)
    first = kept(run)
    write(run, after)
    view = RunView(run)
    view.recall()
    assert view.covered == first.covered - 1, "it began anew instead of where the history ends"
    view.poll()
    first.poll()
    assert told(view) == told(first) == told(from_the_beginning(run))


def test_a_view_that_recalls_reads_only_what_came_after(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    write(run, steps(1, 50))
    first = kept(run)
    write(run, steps(51, 52))
    places: list[int] = []
    real = os.pread

    def pread(handle: int, size: int, offset: int) -> bytes:
        places.append(offset)
        return real(handle, size, offset)

    view = RunView(run)
    view.recall()
    monkeypatch.setattr(os, "pread", pread)
    view.poll()
    assert min(places) == first.covered - 1
    assert view.series["loss"].steps == list(range(1, 53))


def test_long_curves_are_thinned_with_every_spike_and_the_file_stays_small(run: RunDir) -> None:
    view = RunView(run)
    spikes = {1_234: 99.0, 70_001: -99.0}
    gpus = [{"index": index, "memory_used": 1 / 3, "utilisation": 1 / 7, "temperature": 1 / 9, "power_watts": 1 / 11}
            for index in range(8)]  # fmt: skip
    for number in range(1, 90_001):
        value = math.nan if number == 50_000 else spikes.get(number, 1 + number % 3 / 7)
        view._fold({"kind": "step", "step": number, "seq": number, "t": 1.0, "loss": value, "grad_norm": value,
                    "gpus": gpus if number % 10 == 0 else []})  # fmt: skip
    write(run, [("alarm", {"text": "the end"})])
    view._poll_journal(None)
    assert history.keep(view)
    assert history.file_of(run).stat().st_size < 2_000_000
    again = RunView(run)
    again.recall()
    loss = again.series["loss"]
    points = dict(zip(loss.steps, loss.values, strict=True))
    assert {step: points.get(step) for step in spikes} == spikes
    assert math.isnan(points[50_000])
    assert loss.steps == sorted(set(loss.steps))
    assert set(again.series) == set(view.series)


@pytest.mark.parametrize("length", [10, 3_000])
def test_rare_events_without_number_or_measure_never_make_the_file_large(run: RunDir, length: int) -> None:
    count = 3_000_000 // length
    write(run, [("alarm", {"text": f"{number} " + "x" * length}) for number in range(min(count, 5_000))])
    view = kept(run)
    assert history.file_of(run).stat().st_size < 2_000_000
    again = RunView(run)
    again.recall()
    assert again.alarms == view.alarms[-len(again.alarms) :]
    assert len(again.alarms) >= 100


def test_one_event_too_large_for_a_history_keeps_none_and_harms_nothing(run: RunDir) -> None:
    write(run, [("alarm", {"text": "x" * 3_000_000})])
    view = view_of(run)
    assert not history.keep(view)
    assert not history.file_of(run).exists()
    assert len(view_of(run).alarms) == 1


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)


def _of_another_program(path: Path) -> None:
    head, _, body = path.read_bytes().partition(b"\n")
    path.write_bytes(json.dumps({**json.loads(head), "program": "0.0.0-other"}).encode() + b"\n" + body)


def _elsewhere(path: Path) -> None:
    head, _, body = path.read_bytes().partition(b"\n")
    path.write_bytes(json.dumps({**json.loads(head), "offset": 0}).encode() + b"\n" + body)


@pytest.mark.parametrize(
    "damage",
    [
        _cut_short,
        _flip,
        _of_another_program,
        _elsewhere,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: path.write_bytes(b"\0" * 5_000),
        lambda path: path.write_bytes(b"null\nnull"),
        lambda path: path.write_bytes(b"x" * 5_000_000),
    ],
)
def test_a_damaged_or_foreign_history_is_passed_over(run: RunDir, damage: Callable[[Path], object]) -> None:
    write(run, steps(1, 20))
    kept(run)
    damage(history.file_of(run))
    view = RunView(run)
    view.recall()
    assert view.covered == 0
    view.poll()
    assert view.series["loss"].steps == list(range(1, 21))


def test_a_history_that_is_whole_and_makes_no_sense_is_passed_over(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(run, steps(1, 20))
    with monkeypatch.context() as patch:
        patch.setattr(RunView, "snapshot", lambda *_: {"figures": {"step": 4}})
        kept(run)
    view = view_of(run)
    assert (view.step, len(view.series["loss"].steps)) == (20, 20)


def test_the_history_of_a_replaced_or_shortened_journal_is_passed_over(run: RunDir) -> None:
    write(run, steps(1, 20))
    whole = run.events_file.read_bytes()
    kept(run)
    run.events_file.write_bytes(whole[: whole.index(b'"step":15')])
    assert view_of(run).series["loss"].steps == list(range(1, 15))
    run.events_file.unlink()
    write(run, steps(1, 40))
    view = RunView(run)
    view.recall()
    assert view.covered == 0


def test_a_journal_replaced_under_the_reader_is_not_kept_as_what_was_read(run: RunDir) -> None:
    write(run, steps(1, 20))
    view = view_of(run)
    run.events_file.unlink()
    write(run, steps(1, 40))
    history.keep(view)
    assert history.load(run) is None


def test_a_journal_that_shrinks_after_its_history_was_recalled_is_read_anew(run: RunDir) -> None:
    write(run, steps(1, 20))
    whole = run.events_file.read_bytes()
    kept(run)
    view = view_of(run)
    run.events_file.write_bytes(whole[: whole.index(b'"step":15')])
    view.poll()
    assert view.series["loss"].steps == list(range(1, 15))
    assert view.kept == 0


def test_a_resumed_run_goes_back_behind_the_end_of_its_history(run: RunDir) -> None:
    write(run, [*steps(1, 20), ("checkpoint", {"step": 10}), ("checkpoint", {"step": 20})])
    kept(run)
    write(run, [("state", {"state": "preparing", "step": 10}), *steps(11, 12)])
    view = view_of(run)
    assert view.series["loss"].steps == list(range(1, 13))
    assert [event["step"] for event in view.checkpoints] == [10]


def test_a_short_journal_has_no_history_and_a_long_one_a_new_one_now_and_then(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(json.dumps({"v": 1, "seq": 1, "t": 1e9, "mono": 1e5, "kind": "step", "step": 1, "loss": 1 / 7}))
    monkeypatch.setattr(history, "WORTH", size * 100)
    write(run, steps(1, 20))
    view = view_of(run)
    assert not history.keep(view)
    write(run, steps(21, 200))
    view.poll()
    assert history.keep(view)
    assert not history.keep(view), "nothing has come since"
    write(run, steps(201, 210))
    view.poll()
    assert not history.keep(view), "too little has come since"


def test_a_view_that_is_behind_keeps_its_history_more_seldom(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_WORTH_BEHIND", 10**9)
    write(run, steps(1, 100))
    view = RunView(run)
    view.poll(1)
    monkeypatch.setattr("finetune_core.runs.journal._CHUNK", 1000)
    run.events_file.write_bytes(run.events_file.read_bytes() * 2)
    view.poll(1000)
    assert view.behind
    assert not history.keep(view)
    view.poll()
    assert history.keep(view)


def test_a_cache_that_cannot_be_written_harms_nothing(run: RunDir) -> None:
    write(run, steps(1, 20))
    view = view_of(run)
    (cache_root() / "histories").rmdir()
    (cache_root() / "histories").write_text("in the way")
    assert not history.keep(view)
    assert len(view_of(run).series["loss"].steps) == 20


def test_a_home_that_cannot_be_used_harms_nothing(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    write(run, steps(1, 20))
    monkeypatch.setenv("FT_TUI_HOME", "/dev/null/home")
    with pytest.raises(FtError):
        history.file_of(run)
    assert not history.keep(view_of(run))


def test_the_history_is_private_and_goes_with_its_run(run: RunDir) -> None:
    write(run, steps(1, 20))
    kept(run)
    path = history.file_of(run)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    delete(run)
    assert not path.exists()


def test_only_the_newest_histories_are_kept(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_KEPT", 3)
    write(run, steps(1, 20))
    folder = history.file_of(run).parent
    for number in range(5):
        (folder / f"{number}.json").write_text("old")
        os.utime(folder / f"{number}.json", (number, number))
    kept(run)
    assert {path.name for path in folder.iterdir()} == {history.file_of(run).name, "4.json", "3.json"}
