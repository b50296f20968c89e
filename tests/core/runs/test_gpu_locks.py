"""One run on a GPU at a time, whoever asks first is served first, and a death holds nothing up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from finetune_core.errors import FtError
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.control import ask
from finetune_core.runs.directory import RunDir
from finetune_core.runs.gpu_locks import GpuLocks, gpu_uuids, holders
from finetune_core.runs.status import read_status, shown_state
from finetune_core.runs.upkeep.lifecycle import create
from finetune_core.runs.watch import supervise
from tests.core.runs.trainers import program

Wait = Callable[..., None]
GPU = "GPU-11111111-2222-3333-4444-555555555555"

_HOLDER = """
import sys
from finetune_core.runs.gpu_locks import GpuLocks
locks = GpuLocks(sys.argv[2].split(","), sys.argv[1])
for line in sys.stdin:
    print(locks.acquire() or "ours" if line.strip() == "take" else locks.release() or "let go", flush=True)
"""


class Other:
    """Another process that takes locks when told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def do(self, word: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def die(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def other(name: str, uuids: str = GPU) -> Iterator[Other]:
    command = [sys.executable, "-c", _HOLDER, name, uuids]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Other(process)
        finally:
            process.kill()


@pytest.fixture
def on_gpu() -> RunDir:
    return create(Recipe.model_validate({"hardware": {"device": "cuda", "gpus": [GPU]}}), {})


def test_a_gpu_is_held_by_one_run_and_others_are_told_by_which() -> None:
    with other("first") as first, other("second") as second:
        assert first.do("take") == "ours"
        assert second.do("take") == f"GPU {GPU}: used by run first"
        assert holders([GPU, "GPU-free"]) == {GPU: "first"}
        assert first.do("release") == "let go"
        assert holders([GPU]) == {}
        assert second.do("take") == "ours"


def test_a_holder_that_is_killed_holds_nothing() -> None:
    with other("first") as first, other("second") as second:
        first.do("take")
        first.die()
        assert second.do("take") == "ours"


def test_who_asked_first_is_served_first_and_the_dead_are_passed_over() -> None:
    with other("first") as first, other("second") as second, other("third") as third, other("fourth") as fourth:
        first.do("take")
        for waiting in (second, third, fourth):
            assert waiting.do("take") in {f"GPU {GPU}: used by run first", f"GPU {GPU}: run second is queued before"}
        first.do("release")
        assert fourth.do("take") == f"GPU {GPU}: run second is queued before"
        second.die()
        assert fourth.do("take") == f"GPU {GPU}: run third is queued before"
        assert third.do("take") == "ours"


def test_of_two_gpus_none_is_held_while_one_is_taken() -> None:
    both = f"{GPU},GPU-b"
    with other("first", "GPU-b") as first, other("second", both) as second, other("third", GPU) as third:
        first.do("take")
        assert "GPU-b: used by run first" in second.do("take")
        assert holders([GPU]) == {}
        assert "queued before" in third.do("take")


def test_a_run_on_the_cpu_needs_no_lock(run: RunDir) -> None:
    assert gpu_uuids(Recipe()) == []
    assert GpuLocks([], run.name).acquire() is None


def test_names_lead_nowhere_else() -> None:
    locks = GpuLocks(["../../escape", "/etc/passwd", "."], "x")
    assert locks.acquire() is None
    locks.release()


def test_a_second_run_on_a_gpu_is_refused_with_the_first_named(on_gpu: RunDir) -> None:
    with other("first") as first:
        first.do("take")
        with pytest.raises(FtError, match="used by run first") as refused:
            supervise.run(on_gpu, command=program(on_gpu.path, "pass"))
    assert "--queue" in refused.value.problems[0].remedy
    assert shown_state(on_gpu) == "created"


def test_a_queued_run_starts_when_the_gpu_is_free(on_gpu: RunDir, wait_until: Wait) -> None:
    code = """
    with Journal(run.events_file) as journal:
        journal.write("end", state="done", cause=None, remedy=None, last_lines=None)
    """

    def let_go(first: Other) -> None:
        wait_until(lambda: shown_state(on_gpu) == "queued")
        status = read_status(on_gpu)
        assert status is not None
        assert status.phase == f"waiting for GPU {GPU}: used by run first"
        first.do("release")

    with other("first") as first, ThreadPoolExecutor(1) as pool:
        first.do("take")
        letting = pool.submit(let_go, first)
        ending = supervise.run(on_gpu, command=program(on_gpu.path, code), queue=True)
        letting.result(20)
    assert ending.state == "done"
    assert holders([GPU]) == {}


@pytest.mark.parametrize("request_", ["stop", "stop_now"])
def test_a_queued_run_can_be_called_off(on_gpu: RunDir, request_: str, wait_until: Wait) -> None:
    def call_off() -> None:
        wait_until(lambda: shown_state(on_gpu) == "queued")
        ask(on_gpu, request_)

    with other("first") as first, ThreadPoolExecutor(1) as pool:
        first.do("take")
        calling = pool.submit(call_off)
        ending = supervise.run(on_gpu, command=program(on_gpu.path, "os._exit(9)"), queue=True)
        calling.result(20)
    assert (ending.state, ending.cause) == ("stopped", "stopped at once on request: it was waiting for a GPU")
    assert not list((on_gpu.path.parent.parent / "locks").glob(f"*.queue/*-{os.getpid()}"))
