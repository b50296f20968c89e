from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from finetune_core.runs import status as status_module
from finetune_core.runs.directory import RunDir
from finetune_core.runs.identity import Identity
from finetune_core.runs.status import (
    ACTIVE,
    ENDED,
    Status,
    StatusWriter,
    live,
    read_status,
    shown_state,
    write_status,
)

DEAD = Identity(boot_id=Identity.current().boot_id, pid=Identity.current().pid, start_time=1)
ELSEWHERE = Identity(boot_id="another machine", pid=1, start_time=1)


def test_a_new_run_is_created_and_tells_its_model_and_data(run: RunDir) -> None:
    status = read_status(run)
    assert status is not None
    assert (status.state, status.model, status.data, status.run) == ("created", "demo", "demo", run.name)
    assert shown_state(run) == "created"
    assert not live(run)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"step": "many"}', '{"step": 1', "\0" * 100])
def test_a_damaged_status_is_none_and_the_run_created(run: RunDir, text: str) -> None:
    run.status_file.write_text(text)
    assert read_status(run) is None
    assert shown_state(run) == "created"
    assert not live(run)


def test_a_missing_status_is_none(run: RunDir) -> None:
    run.status_file.unlink()
    assert read_status(run) is None


def test_fields_of_a_newer_version_are_passed_over(run: RunDir) -> None:
    run.status_file.write_text(json.dumps({"v": 9, "state": "training", "step": 3, "mood": "fine"}))
    status = read_status(run)
    assert status is not None
    assert (status.state, status.step) == ("training", 3)


def test_a_loss_that_is_not_a_number_survives_the_file(run: RunDir) -> None:
    write_status(run, Status(loss=math.nan, epoch=math.inf))
    status = read_status(run)
    assert status is not None
    assert math.isnan(status.loss or 0)
    assert status.epoch == math.inf


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(TypeError, match="stepp"):
        Status().changed(stepp=1)
    with pytest.raises(ValidationError):
        Status().changed(step="many")


@pytest.mark.parametrize("state", sorted(ACTIVE))
def test_a_working_run_whose_processes_are_dead_has_crashed(run: RunDir, state: str) -> None:
    write_status(run, Status(state=state, supervisor=DEAD, trainer=DEAD))
    assert not live(run)
    assert shown_state(run) == "crashed"


@pytest.mark.parametrize("state", sorted(ENDED))
def test_an_ended_run_stays_what_it_is_when_its_processes_are_gone(run: RunDir, state: str) -> None:
    write_status(run, Status(state=state, supervisor=DEAD))
    assert shown_state(run) == state


@pytest.mark.parametrize("who", ["supervisor", "trainer"])
def test_a_run_is_live_as_long_as_either_process_is(run: RunDir, who: str) -> None:
    write_status(run, Status(state="training", supervisor=DEAD, trainer=DEAD).changed(**{who: Identity.current()}))
    assert live(run)
    assert shown_state(run) == "training"


def test_a_run_that_ends_while_it_is_looked_at_has_not_crashed(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    write_status(run, Status(state="training", trainer=Identity.current()))

    def end_and_die(status: Status) -> bool:
        write_status(run, Status(state="done"))
        return False

    monkeypatch.setattr(status_module, "is_live", end_and_die)
    assert shown_state(run) == "done"


class TwoClocks:
    """Stands for the module `time`: the wall clock of this machine, and the one that never jumps."""

    def __init__(self) -> None:
        self.wall, self.mono = 1_000_000.0, 50.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def wait(self, seconds: float) -> None:
        self.wall, self.mono = self.wall + seconds, self.mono + seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> TwoClocks:
    found = TwoClocks()
    monkeypatch.setattr(status_module, "time", found)
    monkeypatch.setattr(status_module, "_heard", {})
    return found


def beat(run: RunDir, at: float) -> None:
    """A heartbeat from another machine, whose clock shows this."""
    status = Status(run=run.name, state="training", supervisor=ELSEWHERE, updated=at)
    run.status_file.write_text(status.model_dump_json())


def test_a_run_on_another_machine_is_live_as_long_as_its_heart_beats(run: RunDir, clocks: TwoClocks) -> None:
    beat(run, clocks.wall)
    for _ in range(59):
        assert live(run)
        clocks.wait(1)
    beat(run, clocks.wall)
    assert live(run)
    for _ in range(61):
        clocks.wait(1)
        state = shown_state(run)
    assert state == "crashed"


def test_one_look_at_a_run_that_was_silent_for_long_is_enough(run: RunDir, clocks: TwoClocks) -> None:
    beat(run, clocks.wall - 3600)
    assert not live(run)


@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
def test_a_jump_of_the_clock_here_neither_kills_nor_revives_a_run_elsewhere(
    run: RunDir, clocks: TwoClocks, jump: float
) -> None:
    there = clocks.wall
    beat(run, there)
    assert live(run)
    clocks.wall += jump
    for _ in range(40):
        clocks.wait(5)
        there += 5
        beat(run, there)
        assert live(run)
    for _ in range(13):
        clocks.wait(5)
        clocks.wall = there
        alive = live(run)
    assert not alive, "it has been silent, whatever the clock here shows"


@pytest.mark.parametrize("away", [-7200.0, 7200.0])
def test_a_run_on_a_machine_whose_clock_is_wrong_is_live_from_its_second_heartbeat(
    run: RunDir, clocks: TwoClocks, away: float
) -> None:
    beat(run, clocks.wall + away)
    assert not live(run)
    clocks.wait(5)
    beat(run, clocks.wall + away)
    assert live(run)


def test_after_a_long_time_without_a_look_an_old_heartbeat_is_no_new_one(run: RunDir, clocks: TwoClocks) -> None:
    beat(run, clocks.wall)
    assert live(run)
    beat(run, clocks.wall + 10)
    clocks.wait(3600)
    assert not live(run)


def test_right_after_a_reboot_the_processes_of_before_are_not_alive(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune_core.runs.identity.machine", lambda: "this one")
    write_status(run, Status(run=run.name, state="training", trainer=Identity.current()))
    assert live(run)
    monkeypatch.setattr("finetune_core.runs.identity.boot_id", lambda: "the next boot")
    assert shown_state(run) == "crashed"


def test_where_a_machine_has_no_name_a_reboot_shows_by_the_heartbeat(
    run: RunDir, clocks: TwoClocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune_core.runs.identity.machine", lambda: "")
    write_status(run, Status(run=run.name, state="training", trainer=Identity.current()))
    assert live(run)
    monkeypatch.setattr("finetune_core.runs.identity.boot_id", lambda: "the next boot")
    assert live(run)
    clocks.wait(61)
    assert shown_state(run) == "crashed"


def test_a_pid_given_out_again_does_not_revive_a_run(run: RunDir) -> None:
    write_status(run, Status(run=run.name, state="training", supervisor=DEAD, trainer=DEAD))
    assert Identity.of(DEAD.pid) is not None
    assert shown_state(run) == "crashed"


def test_the_trainer_takes_the_status_over_and_keeps_what_the_supervisor_wrote(run: RunDir) -> None:
    write_status(run, Status(state="preparing", started=12.0, supervisor=DEAD))
    StatusWriter(run).close()
    status = read_status(run)
    assert status is not None
    assert status.trainer == Identity.current()
    assert (status.supervisor, status.started) == (DEAD, 12.0)


def test_steps_are_thinned_but_a_change_of_state_is_written_at_once(run: RunDir) -> None:
    writer = StatusWriter(run, every=3600)
    for step in range(100):
        writer.update(step=step)
    assert (read_status(run) or Status()).step == 0
    writer.update(state="training")
    assert (read_status(run) or Status()).step == 99
    writer.update(step=100)
    writer.close()
    assert (read_status(run) or Status()).step == 100


def test_the_heart_beats_without_a_step_and_stops_at_the_hand_over(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    monkeypatch.setattr(status_module, "_HEARTBEAT_SECONDS", 0.01)
    writer = StatusWriter(run)
    first = (read_status(run) or Status()).updated
    wait_until(lambda: (read_status(run) or Status()).updated > first)
    writer.close()
    writer.thread.join(5)
    assert not writer.thread.is_alive()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_full_or_failing_disk_under_the_status_stops_neither_trainer_nor_heart(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None], number: int
) -> None:
    monkeypatch.setattr(status_module, "_HEARTBEAT_SECONDS", 0.01)
    writer = StatusWriter(run)
    refused: list[int] = []

    def refuse(*_: object) -> None:
        refused.append(number)
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        writer.update(now=True, step=7)
        wait_until(lambda: len(refused) > 3)
        assert os.strerror(number) in (writer.problem or "")
        assert (read_status(run) or Status()).step == 0
    wait_until(lambda: writer.problem is None)
    writer.close()
    assert not [path for path in run.path.iterdir() if path.name.startswith(".status")], "a half-written file stayed"
    assert writer.problem is None
    assert (read_status(run) or Status()).step == 7


@pytest.mark.parametrize("wrong", ['"step":1e400', f'"total":{10**400}', '"step":-1', '"started":1e300', '"ended":NaN'])
def test_a_status_with_figures_nobody_can_reckon_with_is_damaged(run: RunDir, wrong: str) -> None:
    run.status_file.write_text(f'{{"v":1,"state":"done",{wrong}}}')
    assert read_status(run) is None
