"""The program is upgraded while a run is live: either side may be the older one, in both directions of the files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from finetune_core.files import write_atomic
from finetune_core.runs import control
from finetune_core.runs.control import REQUESTS, ask, take, take_faulty, wait_answer
from finetune_core.runs.directory import RunDir
from finetune_core.runs.identity import Identity
from finetune_core.runs.status import Status, shown_state, write_status
from finetune_core.runs.view.run_view import RunView

# How the first version's worker reads a request (0.1.0 of 2026-11-21), and how it answers: word for word what it needs
# of the file. It stands for every older worker: what it cannot read, no older one can.
OLD_WORKER = """
import json, os, sys, time
from pathlib import Path
run = Path(sys.argv[1])
KNOWN = ("stop", "stop_now", "pause", "resume", "checkpoint", "sample", "evaluate")
seq = 1
def write(kind, **fields):
    global seq
    event = {"v": 1, "seq": seq, "t": time.time(), "mono": time.monotonic(), "kind": kind, **fields}
    seq += 1
    handle = os.open(run / "events.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(handle, json.dumps(event).encode() + b"\\n")
    os.close(handle)
write("state", state="training", phase="training", done=None, total=None, unit=None)
fields = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()
print("ready", flush=True)
while True:
    for path in sorted((run / "control").iterdir()):
        if path.suffix != ".json" or path.name[0] == ".":
            continue
        found = json.loads(path.read_bytes())
        assert isinstance(found["args"], dict)
        path.unlink()
        known = found["request"] in KNOWN
        text = found["request"] + " done" if known else "unknown request; use one of " + ", ".join(KNOWN)
        write("control", id=path.stem, request=found["request"], ok=known, text=text)
    time.sleep(0.02)
"""

# Files as the first version's app leaves them, and names only a later app could ask by.
OLD_REQUESTS = {
    "01795000000000000000-pause-0a1b2c3d": '{"request": "pause", "args": {}}',
    "01795000000000000001-sample-0a1b2c3d": '{"request": "sample", "args": {"prompt": "What is it?"}}',
    "01795000000000000002-stop-0a1b2c3d": '{"request": "stop", "args": {}}',
}
LATER_REQUESTS = {
    "01795000000000000000-rewind-0a1b2c3d": '{"request": "rewind", "args": {"step": 4}, "v": 2}',
    "01795000000000000001-checkpoint-0a1b2c3d": '{"request": "checkpoint", "args": {"keep": true}, "v": 2}',
}


@pytest.fixture
def old_worker(run: RunDir) -> Iterator[RunDir]:
    """A run whose live worker is of the first version."""
    with subprocess.Popen([sys.executable, "-c", OLD_WORKER, str(run.path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        write_status(run, Status(run=run.name, state="training", phase="training", trainer=Identity.of(process.pid)))
        yield run
        process.kill()


@pytest.mark.parametrize("request_name", REQUESTS)
def test_an_old_worker_reads_every_request_of_this_app_and_its_answer_is_read(
    old_worker: RunDir, request_name: str
) -> None:
    args = {"prompt": "What is it?"} if request_name == "sample" else {}
    answer = wait_answer(old_worker, ask(old_worker, request_name, **args), 20)
    assert answer is not None
    assert (answer["ok"], answer["text"]) == (True, f"{request_name} done")


def test_a_request_the_old_worker_does_not_know_is_answered_so_and_the_app_goes_on(
    old_worker: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "REQUESTS", (*REQUESTS, "rewind"))
    answer = wait_answer(old_worker, ask(old_worker, "rewind", step=4), 20)
    assert answer is not None
    assert answer["ok"] is False
    assert "unknown request" in answer["text"]
    view = RunView(old_worker)
    view.poll()
    assert [event["text"] for event in view.controls] == [answer["text"]]
    assert shown_state(old_worker) == "training"


def test_the_file_of_a_request_is_what_the_first_version_wrote(run: RunDir) -> None:
    write_status(run, Status(run=run.name, state="training", trainer=Identity.current()))
    name = ask(run, "pause")
    assert re.fullmatch(r"\d{20}-pause-[0-9a-f]{8}", name)
    assert json.loads((run.control / f"{name}.json").read_bytes()) == {"request": "pause", "args": {}}


def test_requests_of_an_old_app_are_taken_in_their_order(run: RunDir) -> None:
    for name, text in OLD_REQUESTS.items():
        write_atomic(run.control / f"{name}.json", text)
    assert [(one.request, one.args) for one in take(run)] == [
        ("pause", {}),
        ("sample", {"prompt": "What is it?"}),
        ("stop", {}),
    ]


def test_of_a_later_apps_requests_the_known_are_taken_and_the_others_answered_as_unknown(run: RunDir) -> None:
    for name, text in LATER_REQUESTS.items():
        write_atomic(run.control / f"{name}.json", text)
    assert [one.request for one in take(run)] == ["checkpoint"]
    assert [(one.request, one.fault.partition(";")[0]) for one in take_faulty(run)] == [("rewind", "unknown request")]
    assert list(run.control.iterdir()) == []


def later_events(version: int) -> list[dict[str, Any]]:
    """A journal of a later worker: kinds, states and fields that this one does not know."""
    kinds: list[dict[str, Any]] = [
        {"kind": "state", "state": "training", "phase": "training", "done": None, "total": None, "unit": None},
        {"kind": "step", "step": 1, "loss": 1.5, "metrics": {"reward": {"mean": 0.1}}, "memory": [1, 2], "gpus": {}},
        {"kind": "rollout", "text": "16 answers\x1b[2J were graded", "grades": [0.1] * 16},
        {"kind": "weather", "words": {"not": "text"}},
        {"kind": "state", "state": "grading", "phase": "grading answers", "done": 3, "total": 9, "unit": "answers"},
        {"kind": "eval", "step": 1, "loss": {"mean": 1.0}, "rows": "many"},
        {"kind": "checkpoint", "step": "1", "bytes": None, "shards": 4},
        {"kind": "alarm", "level": 3},
        {"kind": "control", "id": 7, "answer": "fine"},
    ]
    envelope = {"v": version, "rank": 0}
    return [{**envelope, "seq": n, "t": time.time(), "mono": float(n), **one} for n, one in enumerate(kinds, 1)]


def shown(run: RunDir, version: int) -> RunView:
    """The view of a live run that a later worker writes."""
    run.events_file.write_text("".join(json.dumps(event) + "\n" for event in later_events(version)))
    status = {"v": 2, "run": run.name, "state": "grading", "phase": "grading answers", "step": 1, "rank": 0,
              "trainer": Identity.current().model_dump() | {"cgroup": "x"}, "updated": time.time()}  # fmt: skip
    run.status_file.write_text(json.dumps(status))
    view = RunView(run)
    view.poll()
    return view


def test_events_of_a_later_worker_are_kept_to_be_shown_and_break_no_view(run: RunDir) -> None:
    view = shown(run, 1)
    assert [event["kind"] for event in view.later] == ["rollout", "weather"]
    assert view.step == 1
    assert view.state == "grading"


def test_of_a_journal_of_another_form_the_state_is_still_shown(run: RunDir) -> None:
    view = shown(run, 2)
    assert view.later == []
    assert view.state == "grading"


def test_no_more_than_the_newest_events_of_unknown_kinds_are_kept(run: RunDir) -> None:
    events = [{"v": 1, "seq": n, "t": 0.0, "mono": 0.0, "kind": "rollout", "text": str(n)} for n in range(1, 1500)]
    run.events_file.write_text("".join(json.dumps(event) + "\n" for event in events))
    view = RunView(run)
    view.poll()
    assert [event["text"] for event in view.later] == [str(n) for n in range(1000, 1500)]
