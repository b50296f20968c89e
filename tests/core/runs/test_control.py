from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from subprocess import PIPE

import pytest

from finetune_core.errors import FtError
from finetune_core.runs.control import REQUESTS, ask, done, pending, take, take_faulty, wait_answer
from finetune_core.runs.directory import RunDir
from finetune_core.runs.identity import Identity
from finetune_core.runs.journal import Journal
from finetune_core.runs.status import Status, write_status


@pytest.fixture
def run(run: RunDir) -> RunDir:
    """A run at work: this process stands for its trainer."""
    write_status(run, Status(state="training", trainer=Identity.current()))
    return run


def test_requests_are_given_in_the_order_they_were_asked(run: RunDir) -> None:
    asked = [ask(run, request, **({"prompt": "Why?"} if request == "sample" else {})) for request in REQUESTS]
    assert [request.id for request in pending(run)] == asked
    assert [request.request for request in pending(run)] == list(REQUESTS)
    assert next(item for item in pending(run) if item.request == "sample").args == {"prompt": "Why?"}


def test_a_request_acts_once(run: RunDir) -> None:
    first = ask(run, "checkpoint")
    assert done(run, first)
    assert not done(run, first)
    assert pending(run) == []


def test_of_many_takers_one_gets_each_request(run: RunDir) -> None:
    asked = [ask(run, "checkpoint") for _ in range(50)]
    taken: list[str] = []
    threads = [threading.Thread(target=lambda: taken.extend(item.id for item in take(run))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == asked


def test_of_two_processes_one_gets_each_request(run: RunDir) -> None:
    asked = [ask(run, "checkpoint") for _ in range(300)]
    taker = (
        "import sys\nfrom pathlib import Path\nfrom finetune_core.runs.control import take\n"
        "from finetune_core.runs.directory import RunDir\nrun = RunDir(Path(sys.argv[1]))\nprint('ready', flush=True)\n"
        "sys.stdin.readline()\nprint(*[request.id for request in take(run)])"
    )
    takers = [
        subprocess.Popen([sys.executable, "-c", taker, str(run.path)], stdin=PIPE, stdout=PIPE, text=True)
        for _ in range(2)
    ]
    for process in takers:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in takers:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    taken = [name for process in takers for name in process.communicate()[0].split()]
    assert sorted(taken) == sorted(asked)


def test_a_taker_leaves_the_requests_of_others(run: RunDir) -> None:
    stop, now = ask(run, "stop"), ask(run, "stop_now")
    assert [request.id for request in take(run, {"stop_now"})] == [now]
    assert [request.id for request in pending(run)] == [stop]


def test_requests_are_private(run: RunDir) -> None:
    name = ask(run, "sample", prompt="a secret question")
    assert (run.control / f"{name}.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"request":"explode","args":{}}', '{"request":"stop"}', "[" * 20_000, "x" * 100_000],
)
def test_damaged_and_foreign_files_are_passed_over(run: RunDir, text: str) -> None:
    (run.control / "00-first.json").write_text(text)
    (run.control / "notes.txt").write_text("mine")
    (run.control / ".half.json").write_text('{"request":"stop","args":{}}')
    asked = ask(run, "pause")
    assert [request.id for request in pending(run)] == [asked]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "must be JSON"),
        ("[]", "must be JSON"),
        ('{"request":7,"args":{}}', "must be JSON"),
        ('{"request":"explode","args":{}}', "stop_now"),
        ('{"request":"stop"}', "args"),
        ('{"request":"sample","args":{}}', "1 to"),
        ('{"request":"sample","args":{"prompt":7}}', "1 to"),
        ('{"request":"sample","args":{"prompt":"caf\\udce9?"}}', "UTF-8"),
        ("x" * 100_000, "64 KiB"),
    ],
)
def test_a_request_nobody_can_carry_out_is_claimed_once_with_the_reason(run: RunDir, text: str, fault: str) -> None:
    file = run.control / "odd.json"
    file.write_text(text)
    os.utime(file, (1, 1))
    assert take(run) == []
    (found,) = take_faulty(run)
    assert found.id == "odd"
    assert fault in found.fault
    assert not file.exists()
    assert take_faulty(run) == []


def test_a_request_that_is_still_being_written_is_left_alone(run: RunDir) -> None:
    (run.control / "half.json").write_text('{"request":"st')
    assert take_faulty(run) == []
    (run.control / "half.json").write_text('{"request":"stop","args":{}}')
    assert [request.id for request in take(run)] == ["half"]


def test_links_pipes_and_folders_are_not_followed(run: RunDir) -> None:
    real = run.path / "elsewhere.json"
    real.write_text(json.dumps({"request": "stop", "args": {}}))
    (run.control / "a.json").symlink_to(real)
    os.mkfifo(run.control / "b.json")
    (run.control / "c.json").mkdir()
    assert pending(run) == []


def test_requests_of_another_user_are_not_obeyed(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(run, "stop")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert pending(run) == []


@pytest.mark.parametrize("prompt", [None, "", "  \n", 7, "x" * 20_000, "caf\udce9?"])
def test_a_sample_without_a_usable_prompt_is_refused(run: RunDir, prompt: object) -> None:
    with pytest.raises(FtError, match="prompt"):
        ask(run, "sample", prompt=prompt)
    assert pending(run) == []


def test_an_unknown_request_is_refused_with_the_known_ones(run: RunDir) -> None:
    with pytest.raises(FtError, match="stop_now"):
        ask(run, "explode")


@pytest.mark.parametrize("state", ["done", "stopped", "failed", "training"])
def test_a_run_that_is_not_at_work_cannot_be_asked(run: RunDir, state: str) -> None:
    write_status(run, Status(state=state))
    with pytest.raises(FtError, match="not at work"):
        ask(run, "pause")


def test_a_missing_control_folder_has_no_requests_and_refuses_new_ones(run: RunDir) -> None:
    run.control.rmdir()
    assert pending(run) == []
    with pytest.raises(FtError, match="cannot be written"):
        ask(run, "stop")


def test_the_answer_to_a_request_is_found_behind_a_long_journal(run: RunDir) -> None:
    asked = ask(run, "checkpoint")
    with Journal(run.events_file) as journal:
        journal.write("control", id="another", ok=False, text="")
        for _ in range(20):
            journal.write("alarm", text="x" * 100_000)
        journal.write("control", id=asked, request="checkpoint", ok=True, text="written")
    answer = wait_answer(run, asked, timeout=5)
    assert answer is not None
    assert answer["text"] == "written"


def test_an_answer_that_comes_later_is_waited_for(run: RunDir) -> None:
    asked = ask(run, "checkpoint")

    def answer() -> None:
        (request,) = take(run)
        with Journal(run.events_file) as journal:
            journal.write("control", id=request.id, request=request.request, ok=True, text="late")

    thread = threading.Timer(0.2, answer)
    thread.start()
    found = wait_answer(run, asked, timeout=10)
    thread.join()
    assert found is not None
    assert found["text"] == "late"


def test_no_answer_in_time_is_none(run: RunDir) -> None:
    assert wait_answer(run, ask(run, "stop"), timeout=0) is None
    run.events_file.unlink()
    assert wait_answer(run, "any", timeout=0) is None


@pytest.mark.parametrize("state", ["training", "failed", "created"])
def test_nobody_waits_for_the_answer_of_a_run_that_is_dead(
    run: RunDir, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune_core.runs.control.time.sleep", lambda _: pytest.fail("it is waited for"))
    asked = ask(run, "checkpoint")
    write_status(run, Status(state=state))
    assert wait_answer(run, asked, timeout=3600) is None


def test_the_answer_given_just_before_the_end_is_found(run: RunDir) -> None:
    asked = ask(run, "checkpoint")
    with Journal(run.events_file) as journal:
        journal.write("control", id=asked, request="checkpoint", ok=False, text="the run has ended")
    write_status(run, Status(state="done"))
    answer = wait_answer(run, asked, timeout=3600)
    assert answer is not None
    assert answer["text"] == "the run has ended"


def test_a_request_that_every_user_could_have_written_is_passed_over(run: RunDir) -> None:
    asked = run.control / "open.json"
    asked.write_text('{"request":"stop","args":{}}')
    asked.chmod(0o666)
    assert pending(run) == []
    assert take_faulty(run) == []
    asked.chmod(0o644)
    assert [request.id for request in pending(run)] == ["open"]
