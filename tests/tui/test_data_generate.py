from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from finetune_core.data.synthetic.make import Progress
from finetune_core.data.synthetic.pending import read_pending
from finetune_core.data.synthetic.review import Review
from finetune_tui.commands.common import Commands
from finetune_tui.commands.data_generate import generate_command, progress_words, review_command
from tests.core.data.synthetic.fake_endpoint import Asked, FakeEndpoint, Handler, endpoint, good, row

CANARY = "sk-canary-5f1e9a7b3c"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    (folder / "own.jsonl").write_text(json.dumps(row("Where does moss grow?", "Moss grows on stones.")) + "\n")
    return folder


def run(*arguments: str) -> Result:
    data = Commands("data", commands={"generate": generate_command, "review": review_command})
    return CliRunner().invoke(data, arguments, prog_name="ft-tui data")


def generate(server: FakeEndpoint, *more: str) -> Result:
    return run("generate", "own.jsonl", "--task", "Say where things grow.", "--url", server.base, "--model", "m", *more)


def test_rows_are_made_with_progress_cost_and_the_next_step_told(folder: Path) -> None:
    with endpoint(good) as server:
        done = generate(server, "--rows", "12", "--price-in", "1", "--price-out", "2")
    assert done.exit_code == 0
    assert done.stdout == "synthetic.pending.jsonl\n"
    assert "12 of 12 rows" in done.stderr
    assert "600 tokens | cost 0.0008" in done.stderr
    assert "ft-tui data review synthetic.pending.jsonl" in done.stderr
    assert len(read_pending(folder / "synthetic.pending.jsonl")[0]) == 12


def test_json_tells_the_figures(folder: Path) -> None:
    with endpoint(good) as server:
        done = generate(server, "--rows", "3", "--json", "--out", "x.pending.jsonl")
    found = json.loads(done.stdout)
    assert (found["file"], found["total"], found["accepted"], found["own_rows"]) == ("x.pending.jsonl", 3, 3, 1)


def test_a_refused_key_ends_with_words_and_is_shown_nowhere(folder: Path) -> None:
    def refuse(handler: Handler, _asked: Asked, _number: int) -> None:
        handler.send(401, json.dumps({"error": {"message": f"bad key {CANARY}"}}).encode())

    with endpoint(refuse) as server:
        done = generate(server)
    assert done.exit_code == 2
    assert "the endpoint does not accept the key (HTTP 401)" in done.stderr
    assert "OPENAI_API_KEY" in done.stderr
    assert CANARY not in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--task-file", "missing.md"), "the task cannot be read"),
        (("--task", "x", "--task-file", "own.jsonl"), "either --task or --task-file"),
        ((), "either --task or --task-file"),
        (("--task", "x", "--price-in", "1"), "belong together"),
        (("--task", "x", "--max-cost", "1"), "needs prices"),
        (("--task", "x", "--out", "own.jsonl"), "own.pending.jsonl"),
        (("--task", "x", "--key-variable", CANARY), "not the name of an environment variable"),
        (("--task", "x", "--url", "nonsense"), "not the address of an endpoint"),
    ],
)
def test_wrong_use_is_told_before_anything_is_asked(arguments: tuple[str, ...], words: str) -> None:
    done = run("generate", "own.jsonl", "--url", "http://127.0.0.1:9/v1", "--model", "m", *arguments)
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())
    assert CANARY not in done.output


def test_ctrl_c_in_a_slow_answer_keeps_what_was_made_and_says_how_to_go_on(folder: Path) -> None:
    def then_slow(handler: Handler, asked: Asked, number: int) -> None:
        if number < 2:
            good(handler, asked, number)
        else:
            handler.server.released.wait(30)

    code = "from finetune_tui.commands.data_generate import generate_command as g; g()"
    with endpoint(then_slow) as server:
        command = [sys.executable, "-c", code, "own.jsonl", "--task", "t", "--url", server.base, "--model", "m"]
        with subprocess.Popen([*command, "--concurrency", "1"], stderr=subprocess.PIPE, text=True) as child:
            server.wait_for_requests(3)
            shown = Path(f"/proc/{child.pid}/cmdline").read_bytes()
            os.kill(child.pid, signal.SIGINT)
            _, said = child.communicate(timeout=10)
    assert child.returncode == 130
    assert "what was made is kept in synthetic.pending.jsonl" in said
    assert "Traceback" not in said
    assert CANARY.encode() not in shown
    assert len(read_pending(folder / "synthetic.pending.jsonl")[0]) == 5


def test_a_review_tells_as_json_how_far_it_is(folder: Path) -> None:
    with endpoint(good) as server:
        generate(server, "--rows", "3")
    with Review(folder / "synthetic.pending.jsonl") as review:
        review.accept(review.rows[0].id)
    done = run("review", "synthetic.pending.jsonl", "--json")
    found = json.loads(done.stdout)
    assert (found["waiting"], found["accepted"], found["rejected"]) == (2, 1, 0)
    assert found["accepted_file"] == "synthetic.accepted.jsonl"
    assert [one["state"] for one in found["rows"]] == ["accepted", "waiting", "waiting"]


def test_a_review_without_a_terminal_says_what_to_use_instead(folder: Path) -> None:
    with endpoint(good) as server:
        generate(server, "--rows", "1")
    done = run("review", "synthetic.pending.jsonl")
    assert done.exit_code == 2
    assert "--json" in done.stderr
    assert run("review", "none.pending.jsonl").exit_code == 2


@pytest.mark.parametrize("command", ["generate", "review"])
def test_help_shows_every_option_and_examples(command: str) -> None:
    done = run(command, "--help")
    assert done.exit_code == 0
    assert f"ft-tui data {command}" in done.output
    assert CANARY not in done.output


def test_progress_is_one_line_with_what_matters() -> None:
    told = Progress(
        100, 40, 50, 40, {"duplicate": 6, "x": 2, "y": 1, "z": 1}, 12, 1, 1200, 300, 2, 0.5, 60, 90, "waiting"
    )
    assert progress_words(told) == (
        "40 of 100 rows | 10 rejected (6 duplicate, 2 x, 1 y, ...) | about 1.5k tokens | cost about 0.5000 | "
        "1 min 30 s left | waiting"
    )
