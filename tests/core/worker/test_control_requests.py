"""What people and the system ask of a running trainer."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from finetune_core.files import write_atomic
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.control import ask, wait_answer
from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Event
from finetune_core.runs.status import shown_state
from finetune_core.runs.watch.end_causes import TERMINATED_CODE
from finetune_core.worker.answers.samples import Samples
from tests.core.worker import tiny

_DEADLINE = 60.0


@pytest.fixture(scope="module")
def long_recipe(model: Path, data: Path) -> Recipe:
    """A thousand steps: it ends because it is told to."""
    return tiny.make_recipe(
        model,
        data,
        training__epochs=250.0,
        samples__every_steps=None,
        evaluation__every_steps=None,
        saving__every_steps=None,
    )


def anything(event: Event) -> bool:
    return True


def wait_for(run: RunDir, kind: str, found: Callable[[Event], bool] = anything) -> Event:
    limit = time.monotonic() + _DEADLINE
    while time.monotonic() < limit:
        for event in tiny.events(run, kind):
            if found(event):
                return event
        time.sleep(0.02)
    raise TimeoutError(f"no {kind} event came")


def request(run: RunDir, name: str, **args: object) -> Event:
    answer = wait_answer(run, ask(run, name, **args), _DEADLINE)
    assert answer is not None, f"{name} was not answered"
    return answer


def conducted(run: RunDir, script: Callable[[RunDir], None]) -> int:
    """Train while `script` runs beside it; its failures are failures of the test."""
    with ThreadPoolExecutor(1) as beside:
        done = beside.submit(script, run)
        code = tiny.train(run)
        done.result()
    return code


def pause_and_ask(run: RunDir) -> None:
    wait_for(run, "step", lambda event: event["step"] >= 3)
    assert request(run, "resume")["text"] == "not paused"
    assert request(run, "pause")["ok"]
    assert shown_state(run) == "paused"
    resting = len(tiny.events(run, "step"))
    assert request(run, "checkpoint")["ok"]
    assert request(run, "sample", prompt="what colour is coal 3")["text"] == "answered"
    assert request(run, "evaluate")["text"].startswith("held-out loss ")
    assert len(tiny.events(run, "step")) == resting
    assert request(run, "resume")["ok"]
    wait_for(run, "step", lambda event: event["step"] > resting)
    assert request(run, "stop")["ok"]


@pytest.fixture(scope="module")
def stopped(long_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run = tiny.make_run(tmp_path_factory.mktemp("home"), long_recipe)
    assert conducted(run, pause_and_ask) == 0, tiny.ended(run)
    return run


def test_no_step_is_taken_while_paused_and_training_goes_on_after_resume(stopped: RunDir) -> None:
    states = [event["state"] for event in tiny.events(stopped, "state")]
    assert states.index("paused") < len(states) - 1 - states[::-1].index("training")
    assert [event["request"] for event in tiny.events(stopped, "control")] == [
        "resume",
        "pause",
        "checkpoint",
        "sample",
        "evaluate",
        "resume",
        "stop",
    ]


def test_a_pause_does_not_count_as_time_of_a_step(stopped: RunDir) -> None:
    """The pause lasted as long as a checkpoint, two answers and an evaluation; a step is far quicker."""
    (saved,) = (event for event in tiny.events(stopped, "control") if event["request"] == "pause")
    (resumed,) = (event for event in tiny.events(stopped, "control")[1:] if event["request"] == "resume")
    next_step = next(event for event in tiny.events(stopped, "step") if event["seq"] > resumed["seq"])
    assert next_step["seconds"] < next_step["mono"] - saved["mono"]


def test_a_checkpoint_asked_for_is_written_at_that_step(stopped: RunDir) -> None:
    saved = tiny.events(stopped, "checkpoint")[0]
    before = [event["step"] for event in tiny.events(stopped, "step") if event["seq"] < saved["seq"]]
    assert saved["step"] == before[-1]
    assert (stopped.path / saved["path"] / "manifest.json").is_file()


def test_a_prompt_typed_by_the_user_is_answered_by_both_models(stopped: RunDir) -> None:
    (event,) = (event for event in tiny.events(stopped, "sample") if event["source"] == "user")
    (item,) = json.loads((stopped.path / event["path"]).read_text())["items"]
    assert item["prompt"] == "what colour is coal 3"
    assert item["base"]
    assert item["current"]


def test_stop_finishes_the_step_saves_the_result_and_says_that_nothing_was_compared(stopped: RunDir) -> None:
    end = tiny.ended(stopped)
    last = tiny.events(stopped, "step")[-1]["step"]
    assert end["state"] == "stopped"
    assert end["cause"] == f"stopped on request after step {last}; base and tuned model were not compared"
    assert (stopped.result / "adapter_model.safetensors").is_file()
    assert tiny.events(stopped, "checkpoint")[-1]["step"] == last
    assert tiny.events(stopped, "verdict") == []


def leave(run: RunDir, name: str, text: str) -> Event:
    """The answer to a request that was written by hand."""
    write_atomic(run.control / f"{name}.json", text)
    answer = wait_answer(run, name, _DEADLINE)
    assert answer is not None, f"{text} was not answered"
    return answer


def test_odd_requests_are_answered_in_words_and_training_goes_on(long_recipe: Recipe, tmp_path: Path) -> None:
    def ask_oddly(run: RunDir) -> None:
        wait_for(run, "step")
        assert "prompt" in leave(run, "a", '{"request":"sample","args":{}}')["text"]
        assert "UTF-8" in leave(run, "b", '{"request":"sample","args":{"prompt":"caf\\udce9?"}}')["text"]
        assert "unknown request" in leave(run, "c", '{"request":"explode","args":{}}')["text"]
        last = tiny.events(run, "step")[-1]["step"]
        wait_for(run, "step", lambda event: event["step"] > last)
        assert list(run.control.iterdir()) == []
        request(run, "stop")

    run = tiny.make_run(tmp_path, long_recipe)
    assert conducted(run, ask_oddly) == 0
    assert [event["ok"] for event in tiny.events(run, "control")] == [False, False, False, True]


def test_an_error_nobody_expected_in_what_was_asked_is_its_answer(
    long_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise TypeError("not this way")

    monkeypatch.setattr("finetune_core.worker.answers.samples.Samples.user", broken)

    def ask_once(run: RunDir) -> None:
        wait_for(run, "step")
        answer = request(run, "sample", prompt="why?")
        assert (answer["ok"], answer["text"]) == (False, "TypeError: not this way")
        request(run, "stop")

    run = tiny.make_run(tmp_path, long_recipe)
    assert conducted(run, ask_once) == 0
    assert tiny.ended(run)["state"] == "stopped"


def test_an_error_nobody_expected_in_what_is_due_is_an_alarm_and_memory_running_out_is_not(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(samples: Samples, step: int, **_: object) -> None:
        if step:
            raise error

    monkeypatch.setattr("finetune_core.worker.answers.samples.Samples.write", broken)
    recipe = tiny.make_recipe(model, data, training__epochs=2.0, samples__every_steps=2, evaluation__questions=0)
    error: Exception = TypeError("not this way")
    run = tiny.make_run(tmp_path / "a", recipe)
    assert tiny.train(run) == 0
    assert tiny.ended(run)["state"] == "done"
    assert {event["name"] for event in tiny.events(run, "alarm")} == {"samples_failed"}
    assert "TypeError: not this way" in tiny.events(run, "alarm")[0]["text"]
    error = MemoryError()
    run = tiny.make_run(tmp_path / "b", recipe)
    assert tiny.train(run) == 3
    assert "ran out of memory" in tiny.ended(run)["cause"]


@pytest.mark.parametrize("together", [[signal.SIGTERM], [signal.SIGUSR1], [signal.SIGUSR1, signal.SIGTERM]])
def test_a_signal_to_end_finishes_the_step_and_seals_a_checkpoint(
    together: list[signal.Signals], long_recipe: Recipe, tmp_path: Path
) -> None:
    """A scheduler signals every process of a job, and the supervisor hands its own on: that is one request."""

    def terminate(run: RunDir) -> None:
        wait_for(run, "step", lambda event: event["step"] >= 2)
        for number in together:
            os.kill(os.getpid(), number)

    run = tiny.make_run(tmp_path, long_recipe)
    assert conducted(run, terminate) == 0
    assert (tiny.ended(run)["state"], tiny.ended(run)["reason"]) == ("preempted", "preempted")
    assert tiny.events(run, "checkpoint")[-1]["step"] == tiny.events(run, "step")[-1]["step"]
    assert not run.result.exists()


def test_a_trainer_under_a_supervisor_leaves_it_to_tell_of_an_end_by_a_signal(
    long_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def terminate(run: RunDir) -> None:
        wait_for(run, "step")
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("finetune_core.worker.train.RunLock.held_elsewhere", lambda _: True)
    run = tiny.make_run(tmp_path, long_recipe)
    assert conducted(run, terminate) == TERMINATED_CODE
    assert tiny.events(run, "end") == []


def test_sigterm_while_paused_ends_the_pause(long_recipe: Recipe, tmp_path: Path) -> None:
    def terminate(run: RunDir) -> None:
        wait_for(run, "step")
        assert request(run, "pause")["ok"]
        os.kill(os.getpid(), signal.SIGTERM)

    run = tiny.make_run(tmp_path, long_recipe)
    assert conducted(run, terminate) == 0
    assert tiny.ended(run)["state"] == "preempted"


def test_stop_while_preparing_ends_at_once_and_what_else_was_asked_is_answered(
    long_recipe: Recipe, tmp_path: Path
) -> None:
    run = tiny.make_run(tmp_path, long_recipe)
    ask(run, "checkpoint")
    ask(run, "stop")
    assert tiny.train(run) == 0
    assert tiny.events(run, "step") == []
    assert tiny.ended(run)["state"] == "stopped"
    answers = {event["request"]: (event["ok"], event["text"]) for event in tiny.events(run, "control")}
    assert answers == {"stop": (True, "stopping at once"), "checkpoint": (False, "the run has ended")}


def test_evaluate_without_held_out_rows_is_refused_in_words(model: Path, data: Path, tmp_path: Path) -> None:
    recipe = tiny.make_recipe(model, data, training__epochs=250.0, data__held_out_share=0.0)

    def ask_twice(run: RunDir) -> None:
        wait_for(run, "step")
        answer = request(run, "evaluate")
        assert not answer["ok"]
        assert "no rows are held out" in answer["text"]
        request(run, "stop")

    run = tiny.make_run(tmp_path, recipe)
    assert conducted(run, ask_twice) == 0
    assert tiny.events(run, "sample") == []
