"""A trainer is started again where that helps, and with what it then takes less of."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Event, Tail
from finetune_core.runs.status import read_status
from finetune_core.runs.upkeep.lifecycle import create
from finetune_core.runs.view.run_view import RunView
from finetune_core.runs.watch import supervise
from finetune_core.runs.watch.batch_override import Batch, adapted, read_adapted, write_adapted
from finetune_core.runs.watch.end_causes import CRASHED, HUNG, MEMORY, REFUSED, Ending
from finetune_core.runs.watch.restart import MOST_RESTARTS, Restarts
from finetune_core.runs.watch.supervisor import Ways
from finetune_core.runs.watch.watchdog import Limits, Watchdog
from tests.core.runs.trainers import STEPPING, program

Wait = Callable[..., None]


def batch(micro: int, accumulation: int, *, checkpointing: bool = False) -> Batch:
    return Batch(micro_batch=micro, accumulation=accumulation, activation_checkpointing=checkpointing)


def failed(reason: str) -> Ending:
    return Ending("failed", "it failed", None, None, reason)


def events(run: RunDir, kind: str) -> list[Event]:
    return [event for event in Tail(run.events_file).read() if event["kind"] == kind]


@given(st.integers(1, 64), st.integers(1, 64))
def test_a_smaller_batch_keeps_the_effective_one_and_ends_with_nothing_to_give(micro: int, accumulation: int) -> None:
    now: Batch | None = batch(micro, accumulation)
    seen = []
    while now is not None:
        assert now.micro_batch * now.accumulation == micro * accumulation
        seen.append(now)
        now = now.smaller()
    assert seen[-1].micro_batch == 1
    assert seen[-1].activation_checkpointing
    halves = itertools.pairwise(seen)
    assert all(later.micro_batch <= earlier.micro_batch // 2 for earlier, later in halves if earlier.micro_batch > 1)


def test_a_lack_of_memory_halves_the_micro_batch_then_recomputes_activations_then_ends() -> None:
    restarts = Restarts(batch(2, 4))
    tries = [restarts.after(failed(MEMORY), sealed=None, trained=False) for _ in range(3)]
    assert [again.batch if again else None for again in tries] == [batch(1, 8), batch(1, 8, checkpointing=True), None]


def test_there_are_three_restarts_at_most() -> None:
    restarts = Restarts(batch(64, 1))
    tries = [restarts.after(failed(MEMORY), sealed=step, trained=True) for step in range(5)]
    assert [again is not None for again in tries] == [True] * MOST_RESTARTS + [False] * 2


def test_a_crash_is_tried_once_more_and_again_only_after_a_newer_checkpoint() -> None:
    restarts = Restarts(batch(1, 1))
    assert restarts.after(failed(CRASHED), sealed=10, trained=True) is not None
    assert restarts.after(failed(CRASHED), sealed=10, trained=True) is None
    assert restarts.after(failed(CRASHED), sealed=20, trained=True) is not None


@pytest.mark.parametrize("reason", [REFUSED, HUNG, "disk_full", "not_finite", "gpu_lost", "killed_for_memory", ""])
def test_what_starting_again_does_not_help_is_not_tried(reason: str) -> None:
    assert Restarts(batch(8, 1)).after(failed(reason), sealed=10, trained=True) is None


def test_an_error_before_the_first_step_comes_again_and_is_not_tried() -> None:
    assert Restarts(batch(8, 1)).after(failed(CRASHED), sealed=10, trained=False) is None


def test_what_was_adapted_changes_the_recipe_and_only_with_the_same_effective_batch(run: RunDir) -> None:
    values = {"training": {"micro_batch": 8, "accumulation": 2, "activation_checkpointing": False}}
    recipe = Recipe.model_validate(values)
    assert adapted(recipe, run) == recipe
    write_adapted(run, batch(4, 4))
    assert adapted(recipe, run).training.micro_batch == 4
    assert adapted(recipe, run).training.accumulation == 4
    write_adapted(run, batch(4, 2))
    assert adapted(recipe, run) == recipe


@pytest.mark.parametrize("text", ["", "[]", "null", '{"micro_batch": 0}', '{"micro_batch": "x"}', "\0\0", "[" * 10_000])
def test_damage_to_what_was_adapted_is_as_if_nothing_was(run: RunDir, text: str) -> None:
    run.adapted_file.write_text(text)
    assert read_adapted(run) is None


# Fails as its turn says, and trains to the end when the turns are used up.
_TURNS = """
turn = sum(1 for _ in run.path.glob("turn-*"))
(run.path / f"turn-{turn}").write_text("resumed" if "--resume" in sys.argv else "fresh")
turns = [line for line in (run.path / "turns").read_text().split(",") if line]
status = StatusWriter(run)
journal = Journal(run.events_file)
journal.write("state", state="training", phase="")
journal.write("step", step=turn + 1)
status.close()
if turn < len(turns):
    if turns[turn] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    journal.write("failure", reason=turns[turn], cause="it did not fit by 2 GiB", remedy="less")
    sys.exit(3)
journal.write("end", state="done", cause=None, remedy=None, last_lines=None)
"""


@pytest.fixture
def sized() -> RunDir:
    values = {"training": {"micro_batch": 4, "accumulation": 2, "activation_checkpointing": False}}
    return create(Recipe.model_validate(values), {})


def supervised(run: RunDir, *turns: str) -> Ending:
    (run.path / "turns").write_text(",".join(turns))
    return supervise.run(run, command=program(run.path, _TURNS))


def tries(run: RunDir) -> list[str]:
    return [(run.path / f"turn-{turn}").read_text() for turn in range(len(list(run.path.glob("turn-*"))))]


def test_a_run_out_of_memory_goes_on_in_a_fresh_process_with_half_the_micro_batch_and_says_so(sized: RunDir) -> None:
    assert supervised(sized, "memory", "memory").state == "done"
    assert tries(sized) == ["fresh", "resumed", "resumed"]
    assert read_adapted(sized) == batch(1, 8)
    first, second = events(sized, "alarm")
    assert first["name"] == "restarted"
    assert "did not fit by 2 GiB" in first["text"]
    assert "micro-batch 2 x accumulation 4" in first["text"]
    assert (second["micro_batch"], second["accumulation"], second["reason"]) == (1, 8, "memory")
    assert len(events(sized, "end")) == 1
    view = RunView(sized)
    view.poll()
    assert view.state == "done"


def test_what_does_not_fit_at_the_smallest_ends_with_what_did_not_fit(sized: RunDir) -> None:
    ending = supervised(sized, *["memory"] * 9)
    assert (ending.state, ending.reason) == ("failed", "memory")
    assert "did not fit by 2 GiB" in (ending.cause or "")
    assert read_adapted(sized) == batch(1, 8, checkpointing=True)
    assert len(tries(sized)) == 1 + MOST_RESTARTS
    assert (read_status(sized) or pytest.fail("no status")).state == "failed"


def test_a_killed_trainer_is_started_once_more_and_then_told(sized: RunDir) -> None:
    ending = supervised(sized, "kill", "kill", "kill")
    assert ending.state == "failed"
    assert "SIGKILL" in (ending.cause or "")
    assert tries(sized) == ["fresh", "resumed"]
    assert read_adapted(sized) is None


def test_while_it_is_started_again_the_run_never_counts_as_ended(sized: RunDir) -> None:
    supervised(sized, "memory", "kill")
    assert [event["kind"] for event in Tail(sized.events_file).read()].count("end") == 1
    assert [event["state"] for event in events(sized, "state") if event["state"] == "failed"] == []


def test_bad_input_is_not_tried_again(sized: RunDir) -> None:
    ending = supervised(sized, "refused")
    assert (ending.state, ending.cause, ending.remedy) == ("failed", "it did not fit by 2 GiB", "less")
    assert tries(sized) == ["fresh"]


def test_a_stop_between_two_tries_is_obeyed(sized: RunDir, wait_until: Wait) -> None:
    code = """
    StatusWriter(run).update(state="training")
    Journal(run.events_file).write("step", step=1)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
    time.sleep(60)
    """

    def stop() -> None:
        from finetune_core.runs.control import ask

        wait_until(lambda: (read_status(sized) or pytest.fail("none")).state == "training")
        ask(sized, "stop_now")

    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(stop)
        ending = supervise.run(sized, command=program(sized.path, code))
        stopping.result(20)
    assert (ending.state, ending.reason) == ("stopped", "on_request")


def test_who_sent_the_signal_is_told(sized: RunDir, wait_until: Wait) -> None:
    def terminate() -> None:
        wait_until(lambda: (read_status(sized) or pytest.fail("none")).step > 1)
        os.kill(os.getpid(), signal.SIGUSR1)

    with ThreadPoolExecutor(1) as pool:
        ending_soon = pool.submit(terminate)
        ending = supervise.run(sized, command=program(sized.path, STEPPING))
        ending_soon.result(20)
    assert (ending.state, ending.reason) == ("preempted", "preempted")
    assert "SIGUSR1" in (ending.cause or "")


def test_a_trainer_that_no_longer_gets_on_is_ended_with_where_it_stood(sized: RunDir) -> None:
    code = """
    import faulthandler
    faulthandler.enable()
    def somewhere_deep():
        time.sleep(60)
    status = StatusWriter(run)
    journal = Journal(run.events_file)
    journal.write("state", state="training", phase="")
    for step in range(5):
        journal.write("step", step=step)
        time.sleep(0.35)
    somewhere_deep()
    """
    ways = Ways(limits=Limits(least=1.0, first=20.0, patience=1.5))
    ending = supervise.run(sized, command=program(sized.path, code), ways=ways)
    assert (ending.state, ending.reason) == ("failed", "hung")
    assert "nothing has come from it for" in (ending.cause or "")
    assert "somewhere_deep" in (ending.cause or "")
    assert len(events(sized, "step")) == 5


class Clock:
    """A watchdog fed by hand, once a second, on a process that /proc does not know."""

    def __init__(self, tmp_path: Path) -> None:
        self.dog = Watchdog(1, Limits(least=60, first=600, patience=20), root=tmp_path)
        self.folder = tmp_path / "1"
        self.folder.mkdir()
        self.now = 0.0
        self.size = 0
        self.process("S", 0)

    def process(self, state: str, ticks: int) -> None:
        rest = " ".join(["0"] * 10)
        (self.folder / "stat").write_text(f"1 (python) {state} {rest} {ticks} 0 0")
        (self.folder / "io").write_text("rchar: 0\n")

    def beat(self, count: int = 5, state: str = "training") -> None:
        for _ in range(count):
            self.size += 1
            assert self.quiet(1, state) is None

    def quiet(self, seconds: int, state: str = "training") -> str | None:
        said = None
        for _ in range(seconds):
            self.now += 1
            said = self.dog.look(self.now, self.size, state)
            if said is not None:
                break
        return said


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def test_a_silence_far_longer_than_usual_counts_as_hung(clock: Clock) -> None:
    clock.beat()
    assert clock.quiet(58) is None
    assert "hung" in (clock.quiet(3) or "")


def test_slow_steps_are_waited_for_in_proportion(clock: Clock) -> None:
    clock.beat()
    assert clock.quiet(30) is None
    clock.beat(1)
    assert clock.quiet(590) is None
    assert clock.quiet(30) is not None


def test_a_first_step_and_a_preparation_get_more_time(clock: Clock) -> None:
    assert clock.quiet(590) is None
    clock.beat(5, "preparing")
    assert clock.quiet(590, "preparing") is None
    assert clock.quiet(30, "preparing") is not None


def test_preparing_without_a_word_is_at_work_while_it_computes_or_reads(clock: Clock) -> None:
    clock.beat(1, "preparing")
    for second in range(20):
        clock.process("R", second * os.sysconf("SC_CLK_TCK"))
        assert clock.quiet(100, "preparing") is None


def test_a_pause_and_a_stopped_process_do_not_count(clock: Clock) -> None:
    clock.beat()
    assert clock.quiet(5000, "paused") is None
    clock.beat()
    clock.process("T", 0)
    assert clock.quiet(5000) is None


def test_time_in_which_the_machine_slept_does_not_count(clock: Clock) -> None:
    clock.beat()
    clock.now += 100_000
    assert clock.quiet(30) is None


def test_the_end_is_told_to_the_command_of_the_user(
    sized: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    script = tmp_path / "say it.sh"
    script.write_text(f"#!/bin/sh\ncat >> '{said}'\necho \"$FT_TUI_EVENT\" >> '{said}'\n")
    script.chmod(0o700)
    monkeypatch.setenv("FT_TUI_NOTIFY_COMMAND", f"'{script}' $(touch {tmp_path}/pwned)")
    supervised(sized, "memory")
    words = said.read_text()
    found = [json.loads(line) for line in words.replace("}alarm", "}\nalarm").replace("}end", "}\nend").splitlines()
             if line.startswith("{")]  # fmt: skip
    assert {word["event"] for word in found} == {"alarm", "end"}
    assert next(word for word in found if word["event"] == "end")["state"] == "done"
    assert all(word["run"] == sized.name for word in found)
    assert not (tmp_path / "pwned").exists()


def test_a_command_that_fails_is_a_line_in_the_log_and_harms_no_run(
    sized: RunDir, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FT_TUI_NOTIFY_COMMAND", "/no/such/program")
    monkeypatch.setenv("FT_TUI_NOTIFY_URL", "file:///etc/passwd")
    began = time.monotonic()
    assert supervised(sized).state == "done"
    assert time.monotonic() - began < 15
    said = capfd.readouterr().err
    assert "no word could be sent" in said
    assert "must begin with https://" in said
