from __future__ import annotations

import json
import math
import re
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from finetune_core.errors import FtError
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.runs.identity import Identity
from finetune_core.runs.journal import Journal, Tail
from finetune_core.runs.status import Status, read_status, write_status
from finetune_core.runs.view.run_view import RunView

GPU = {
    "index": 0,
    "uuid": "GPU-1",
    "memory_used": 10,
    "memory_total": 20,
    "utilisation": 90,
    "temperature": 60,
    "power_watts": 300.5,
}


def write(run: RunDir, *events: tuple[str, dict[str, Any]]) -> None:
    with Journal(run.events_file) as journal:
        for kind, fields in events:
            journal.write(kind, **fields)


def step(number: int, **fields: Any) -> tuple[str, dict[str, Any]]:
    return "step", {"step": number, "loss": number / 10, "tokens": number * 100, "epoch": number / 100, **fields}


def state(name: str, phase: str = "", **fields: Any) -> tuple[str, dict[str, Any]]:
    return "state", {"state": name, "phase": phase, "done": None, "total": None, "unit": None, **fields}


def view_of(run: RunDir) -> RunView:
    view = RunView(run)
    view.poll()
    return view


def at_work(run: RunDir, name: str = "training") -> None:
    write_status(run, Status(run=run.name, state=name, trainer=Identity.current()))


def test_a_new_run_shows_its_recipe_and_plan_and_no_history(run: RunDir) -> None:
    view = view_of(run)
    assert view.state == "created"
    assert view.recipe == Recipe()
    assert view.plan == {"total_steps": 3}
    assert (view.step, view.total, view.loss, view.eta_seconds, view.series) == (0, None, None, None, {})


def test_nothing_new_is_no_change_and_anything_new_is_one(run: RunDir) -> None:
    view = RunView(run)
    assert view.poll()
    assert not view.poll()
    write(run, step(1))
    assert view.poll()
    assert not view.poll()
    at_work(run)
    assert view.poll()
    assert not view.poll()
    run.plan_file.write_text('{"total_steps": 4}')
    assert view.poll()
    assert view.plan["total_steps"] == 4


def test_steps_become_curves(run: RunDir) -> None:
    memory = {"allocated": 1, "reserved": 7, "peak": 9, "rss": 3}
    write(
        run,
        step(1, learning_rate=0.1, grad_norm=2.0, tokens_per_s=50.0, memory=memory, gpus=[GPU]),
        step(2, learning_rate=0.2, grad_norm="NaN", tokens_per_s=60, memory={"rss": 4}, gpus=[{**GPU, "index": 1}]),
    )
    view = view_of(run)
    curves = {name: (series.steps, series.values) for name, series in view.series.items()}
    assert curves["loss"] == ([1, 2], [0.1, 0.2])
    assert curves["learning_rate"] == ([1, 2], [0.1, 0.2])
    assert curves["tokens_per_s"] == ([1, 2], [50.0, 60.0])
    assert curves["memory_bytes"] == ([1, 2], [7.0, 4.0])
    assert curves["gpu_memory_bytes:0"] == ([1], [10.0])
    assert curves["gpu_power:1"] == ([2], [300.5])
    assert curves["gpu_utilisation:0"] == ([1], [90.0])
    assert curves["gpu_temperature:0"] == ([1], [60.0])
    assert curves["grad_norm"][1][0] == 2.0
    assert math.isnan(curves["grad_norm"][1][1])
    assert view.gpus == [{**GPU, "index": 1}]
    assert (view.step, view.tokens, view.epoch, view.loss) == (2, 200, 0.02, 0.2)


def test_readings_a_device_does_not_give_are_gaps_in_nothing(run: RunDir) -> None:
    write(run, step(1, gpus=[{**GPU, "power_watts": None}], grad_norm=None, memory=None))
    view = view_of(run)
    assert "gpu_power:0" not in view.series
    assert "grad_norm" not in view.series


def test_the_plan_of_the_trainer_overlays_the_prediction(run: RunDir) -> None:
    write(run, ("plan", {"total_steps": 40, "memory_total": 1000, "device": "cpu"}))
    view = view_of(run)
    assert (view.total, view.memory_total) == (40, 1000)
    assert view.plan == {"total_steps": 40, "memory_total": 1000, "device": "cpu"}


def test_events_are_sorted_into_their_lists(run: RunDir) -> None:
    write(
        run,
        ("eval", {"step": 0, "loss": 3.5, "rows": 9, "seconds": 1.0}),
        ("sample", {"step": 0, "path": "samples/0.json", "count": 4, "source": "held_out"}),
        ("checkpoint", {"step": 2, "path": "checkpoints/step-000002", "bytes": 9, "seconds": 0.1}),
        ("control", {"id": "x", "request": "stop", "ok": True, "text": ""}),
        ("alarm", {"name": "loss", "text": "is 0"}),
        ("verdict", {"better": True, "words": "Better"}),
        ("result", {"path": "result", "bytes": 5, "kind": "adapter", "base": "demo"}),
        ("end", {"state": "done", "cause": None}),
    )
    view = view_of(run)
    assert [len(events) for events in (view.evals, view.samples, view.checkpoints, view.controls, view.alarms)] == [
        1
    ] * 5
    assert (view.series["eval_loss"].steps, view.series["eval_loss"].values) == ([0], [3.5])
    assert view.verdict is not None
    assert view.verdict["words"] == "Better"
    assert view.result is not None
    assert (view.result["kind"], view.result["path"]) == ("adapter", "result")
    assert view.state == "done"


def test_progress_within_a_phase_is_one_state(run: RunDir) -> None:
    write(run, *(state("preparing", "tokenising", done=done, total=9) for done in range(10)), state("training"))
    view = view_of(run)
    assert [(event["state"], event["done"]) for event in view.states] == [
        ("created", None),
        ("preparing", 9),
        ("training", None),
    ]


@pytest.mark.parametrize("name", ["preparing", "training", "evaluating", "saving", "paused"])
def test_the_state_is_the_journals_as_long_as_someone_is_alive(run: RunDir, name: str) -> None:
    at_work(run, "preparing")
    write(run, state(name))
    assert view_of(run).state == name


def test_a_run_whose_processes_died_without_a_word_has_crashed(run: RunDir) -> None:
    write_status(run, Status(state="training"))
    write(run, state("training"), step(1))
    assert view_of(run).state == "crashed"


def test_a_crashed_run_has_a_cause_a_remedy_and_the_time_of_its_last_sign_of_life(run: RunDir) -> None:
    write_status(run, Status(state="training", started=1000.0))
    write(run, state("training"), step(1))
    known = view_of(run).to_dict()
    assert "processes are gone without a word" in known["cause"]
    assert f"begin it again: `ft-tui resume {run.name}`" in known["remedy"]
    status = read_status(run)
    assert status is not None
    assert known["ended"] == status.updated
    with Journal(run.events_file) as journal:
        journal.write("checkpoint", step=1, path="checkpoints/step-000001", bytes=1, seconds=0.1)
    assert f"`ft-tui resume {run.name}`" in view_of(run).to_dict()["remedy"]


def test_a_run_at_work_has_neither_cause_nor_remedy_nor_end(run: RunDir) -> None:
    at_work(run)
    view = view_of(run)
    assert (view.cause, view.remedy, view.ended) == (None, None, None)


def test_a_run_that_lost_its_status_is_not_taken_for_a_new_one(run: RunDir) -> None:
    write(run, state("training"), step(1))
    run.status_file.unlink()
    assert view_of(run).state == "crashed"


def test_a_death_is_noticed_without_any_file_changing(run: RunDir) -> None:
    at_work(run)
    view = view_of(run)
    assert view.state == "training"
    view.status = view.status.changed(trainer=Identity.current().model_copy(update={"start_time": 1}))
    assert view.poll()
    assert view.state == "crashed"


def test_a_run_that_ends_while_it_is_looked_at_has_not_crashed(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work(run)
    view = view_of(run)

    def end_and_die(status: Status) -> bool:
        if Tail(run.events_file).read()[-1]["kind"] != "end":
            write(run, ("end", {"state": "done"}))
            write_status(run, Status(state="done"))
        return False

    monkeypatch.setattr("finetune_core.runs.status.is_live", end_and_die)
    assert view.poll()
    assert view.state == "done"


def test_a_heartbeat_alone_is_no_change(run: RunDir) -> None:
    at_work(run)
    view = view_of(run)
    at_work(run)
    assert not view.poll()


def test_the_last_end_counts(run: RunDir) -> None:
    write(run, ("end", {"state": "stopped", "cause": "terminated"}), ("end", {"state": "stopped", "cause": "asked"}))
    assert view_of(run).to_dict()["cause"] == "asked"


def test_a_resumed_run_forgets_what_it_does_again_and_keeps_the_rest(run: RunDir) -> None:
    at_work(run)
    write(
        run,
        state("preparing", "starting"),
        ("eval", {"step": 0, "loss": 3.0}),
        *(step(number) for number in range(1, 8)),
        ("checkpoint", {"step": 4}),
        ("sample", {"step": 4, "path": "a"}),
        ("eval", {"step": 6, "loss": 1.0}),
        ("sample", {"step": 6, "path": "b"}),
        ("end", {"state": "failed", "cause": "killed"}),
    )
    view = view_of(run)
    started = view.started
    assert view.state == "failed"
    write(run, state("preparing", "starting"), state("preparing", "resuming from step 4", step=4))
    assert view.poll()
    assert (view.state, view.end, view.step, view.started) == ("preparing", None, 4, started)
    assert view.series["loss"].steps == [1, 2, 3, 4]
    assert view.series["eval_loss"].steps == [0]
    assert [event["path"] for event in view.samples] == ["a"]
    assert len(view.checkpoints) == 1
    write(run, step(5, loss=9.0))
    view.poll()
    assert (view.series["loss"].steps, view.series["loss"].values[-1]) == ([1, 2, 3, 4, 5], 9.0)


def test_overlapping_steps_replace_the_earlier_ones_even_without_a_word(run: RunDir) -> None:
    write(run, *(step(number) for number in range(1, 6)), step(3, loss=7.0), step(4, loss=8.0))
    view = view_of(run)
    assert view.series["loss"].steps == [1, 2, 3, 4]
    assert view.series["loss"].values[2:] == [7.0, 8.0]


def test_the_time_left_follows_the_pace_and_leaves_a_pause_out(run: RunDir) -> None:
    at_work(run)
    events = [
        {"kind": "plan", "total_steps": 20},
        {"kind": "state", "state": "preparing", "phase": "loading", "mono": 0.0},
        {"kind": "state", "state": "training", "phase": "", "mono": 50.0},
        *({"kind": "step", "step": number, "mono": 100.0 + 2 * number} for number in range(1, 6)),
    ]
    lines = [json.dumps({"v": 1, "seq": seq, "t": 1.0, **event}) for seq, event in enumerate(events, 2)]
    run.events_file.write_text("\n".join(lines) + "\n")
    view = view_of(run)
    assert view.eta_seconds == pytest.approx(15 * 2.0)

    more = [
        {"kind": "state", "state": "paused", "phase": "", "mono": 112.0},
        {"kind": "state", "state": "training", "phase": "", "mono": 9000.0},
        *({"kind": "step", "step": number, "mono": 9000.0 + 3 * number} for number in range(6, 9)),
    ]
    lines = [json.dumps({"v": 1, "seq": seq, "t": 1.0, **event}) for seq, event in enumerate(more, 20)]
    with run.events_file.open("a") as stream:
        stream.write("\n".join(lines) + "\n")
    view.poll()
    assert view.eta_seconds == pytest.approx(12 * 3.0)


def timed(run: RunDir, *events: tuple[float, str, dict[str, Any]]) -> None:
    lines = [json.dumps({"v": 1, "seq": seq, "t": t, "mono": t, "kind": kind, **fields})
             for seq, (t, kind, fields) in enumerate(events, 1)]  # fmt: skip
    run.events_file.write_text("\n".join(lines) + "\n")


def test_the_time_worked_leaves_out_pauses_and_what_lies_between_an_end_and_a_new_start(run: RunDir) -> None:
    at_work(run)
    first = [
        (1000.0, *state("created")),
        (1010.0, *state("preparing", "starting")),
        (1020.0, *state("training")),
        (1030.0, *step(1)),
        (1040.0, *state("paused")),
        (2040.0, *state("training")),
        (2050.0, "end", {"state": "stopped"}),
    ]
    timed(run, *first)
    assert view_of(run).worked_seconds(9000.0) == pytest.approx(30 + 10)
    second = [*first, (5000.0, *state("preparing", "starting")), (5005.0, *state("preparing", "importing"))]
    timed(run, *second)
    assert view_of(run).worked_seconds(5007.0) == pytest.approx(40 + 7)
    killed = [*second, (5020.0, *state("preparing", "starting")), (5030.0, *state("training")), (5031.0, *step(2))]
    timed(run, *killed, (8000.0, *state("preparing", "starting")), (8001.0, "end", {"state": "failed"}))
    assert view_of(run).worked_seconds(9000.0) == pytest.approx(40 + 5 + 11 + 1)


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_jump_of_the_clock_changes_neither_order_nor_pace_nor_the_time_worked(run: RunDir, jump: float) -> None:
    at_work(run)
    plan = ("plan", {"total_steps": 24})
    told = [state("preparing", "starting"), plan, state("training"), *(step(number) for number in range(1, 21)),
            state("paused"), state("training"), step(21), step(22)]  # fmt: skip
    lines = []
    for seq, (kind, fields) in enumerate(told, 1):
        t = 1_000_000.0 + 10 * seq + (jump if seq > 9 else 0)
        lines.append(json.dumps({"v": 1, "seq": seq, "t": t, "mono": 10.0 * seq, "kind": kind, **fields}))
    run.events_file.write_text("\n".join([*lines, ""]))
    view = view_of(run)
    assert view.series["loss"].steps == list(range(1, 23))
    assert view.eta_seconds == pytest.approx(20)
    now = 1_000_000.0 + 10 * len(told) + jump
    assert view.worked_seconds(now + 5) == pytest.approx(10 * (len(told) - 1) - 10 + 5)


def test_a_reboot_between_two_attempts_counts_by_the_clock_of_each(run: RunDir) -> None:
    at_work(run)
    events = [(1000.0, 500_000.0, state("preparing", "starting")), (1100.0, 500_100.0, step(1)),
              (9000.0, 7.0, state("preparing", "starting")), (9030.0, 37.0, step(2))]  # fmt: skip
    lines = [json.dumps({"v": 1, "seq": seq, "t": t, "mono": mono, "kind": kind, **fields})
             for seq, (t, mono, (kind, fields)) in enumerate(events, 1)]  # fmt: skip
    run.events_file.write_text("\n".join([*lines, ""]))
    assert view_of(run).worked_seconds(9030.0) == pytest.approx(100 + 30)


def test_a_run_that_never_started_has_no_time_worked(run: RunDir) -> None:
    assert view_of(run).worked_seconds(9000.0) is None


def test_a_paused_or_ended_run_has_no_time_left(run: RunDir) -> None:
    at_work(run)
    write(run, ("plan", {"total_steps": 9}), state("training"), step(1), step(2), state("paused"))
    assert view_of(run).eta_seconds is None
    write(run, ("end", {"state": "stopped"}))
    assert view_of(run).eta_seconds is None


def test_kinds_of_later_versions_and_newer_events_are_passed_over(run: RunDir) -> None:
    write(run, step(1), ("hologram", {"step": 5, "loss": 3}))
    with run.events_file.open("ab") as stream:
        stream.write(b'{"v":2,"seq":9,"t":1,"mono":1,"kind":"step","step":7,"loss":"different"}\n')
    view = view_of(run)
    assert (view.step, view.series["loss"].steps) == (1, [1])


def test_a_replaced_journal_is_read_anew(run: RunDir) -> None:
    write(run, step(1), step(2), ("alarm", {"name": "x", "text": ""}))
    view = view_of(run)
    run.events_file.unlink()
    write(run, step(1))
    assert view.poll()
    assert (view.series["loss"].steps, view.alarms) == ([1], [])


def test_a_long_journal_can_be_taken_in_bit_by_bit(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune_core.runs.journal._CHUNK", 1000)
    monkeypatch.setattr("finetune_core.runs.view.run_view._PIECE", 1000)
    write(run, *(step(number) for number in range(1, 101)))
    view = RunView(run)
    view.poll(3000)
    assert view.behind
    assert 0 < view.step < 50
    while view.behind:
        view.poll(3000)
    assert view.step == 100
    again = view_of(run)
    assert again.series == view.series


def test_missing_and_damaged_files_are_an_empty_view_but_a_damaged_recipe_is_told(run: RunDir) -> None:
    run.events_file.unlink()
    run.plan_file.write_text("{")
    run.status_file.write_text("{")
    run.recipe_file.write_text("model: [")
    view = view_of(run)
    assert (view.state, view.plan, view.series) == ("created", {}, {})
    with pytest.raises(FtError):
        _ = view.recipe


_VALUE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([{"index": "x"}, 3])
_FIELDS = st.sampled_from(
    ["step", "loss", "epoch", "tokens", "memory", "gpus", "state", "phase", "total_steps", "path", "cause", "seconds"]
)
_KINDS = st.sampled_from(
    ["state", "plan", "step", "eval", "sample", "checkpoint", "control", "alarm", "verdict", "result", "end", "other"]
)


@given(st.lists(st.tuples(_KINDS, st.dictionaries(_FIELDS, _VALUE, max_size=5)), max_size=8))
@example([("end", {"state": [{"index": "x"}, 3]})])
@example([("step", {"step": 1, "loss": 10**400, "epoch": 10**400})])
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_event_whatever_it_holds_breaks_the_view(run: RunDir, events: list[tuple[str, dict[str, Any]]]) -> None:
    run.events_file.unlink(missing_ok=True)
    write(run, *events)
    view = view_of(run)
    json.dumps(view.to_dict(), allow_nan=False)
    assert view.result_is_earlier in (True, False)
    assert (view.worked_seconds(time.time()) or 0.0) >= 0.0
    assert all(len(series.steps) == len(series.values) for series in view.series.values())


def test_what_json_prints_is_complete_and_strict(run: RunDir) -> None:
    write(run, state("preparing"), ("plan", {"total_steps": 9}), step(1, loss="NaN"), ("end", {"state": "failed"}))
    found = view_of(run).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) >= {"state", "step", "total", "epoch", "loss", "eta_seconds", "started", "ended", "directory"}
    assert (found["state"], found["step"], found["total"], found["loss"]) == ("failed", 1, 9, None)
    assert found["started"] <= found["ended"] <= time.time()


def test_what_json_prints_of_verdict_and_result_is_theirs_alone(run: RunDir) -> None:
    write(run, ("verdict", {"better": True}), ("result", {"path": "result", "kind": "adapter"}))
    found = view_of(run).to_dict()
    assert found["verdict"] == {"better": True}
    assert found["result"] == {"path": "result", "kind": "adapter"}


def test_200_000_steps_are_attached_to_with_thinned_curves(run: RunDir) -> None:
    memory = {"allocated": 12345678901, "reserved": 22345678901, "peak": 23345678901, "rss": 3345678901}
    write(run, step(1, learning_rate=1e-4, grad_norm=0.5, tokens_per_s=1e3, memory=memory, gpus=[GPU]))
    line = run.events_file.read_text().splitlines()[-1]
    before, after = line.split('"step":1,', 1)
    with run.events_file.open("a") as stream:
        stream.writelines(f'{before}"step":{number},{after}\n' for number in range(2, 200_001))
    view = RunView(run)
    view.poll()
    assert view.step == 200_000
    assert sum(len(series.steps) for series in view.series.values()) < 200_000


def test_numbers_nobody_can_reckon_with_are_passed_over(run: RunDir) -> None:
    huge = 10**400
    write(run, ("plan", {"total_steps": huge}), step(1), step(2, loss=huge, grad_norm=-huge))
    write(run, ("step", {"step": huge, "loss": 1.0}))
    write(run, ("state", {"state": "preparing"}), ("end", {"state": "failed"}))
    text = run.events_file.read_text()
    run.events_file.write_text(re.sub(r'"t":[^,]*', f'"t":{huge}', text))
    found = view_of(run)
    assert (found.step, found.total, found.started, found.ended) == (2, None, None, None)
    assert len(found.series["loss"].steps) == 1
