from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from finetune_core.recipe.yaml_io import load
from finetune_core.runs import control
from finetune_core.runs.directory import RunDir
from finetune_core.runs.identity import Identity
from finetune_core.runs.status import Status, read_status, write_status
from finetune_tui.cli import cli
from tests.tui.listed_runs import finished_events, make_run

COMMANDS = ["demo", "train", "attach", "runs", "status", "verdict", "logs", "stop", "resume", "sample", "trash",
            "doctor", "trust", "recipe", "data", "completion", "recipe new", "recipe check", "recipe show",
            "data check", "data show", "data clean", "data split", "data mix", "data generate",
            "data review"]  # fmt: skip
HEAVY = (
    "torch",
    "transformers",
    "peft",
    "trl",
    "datasets",
    "textual",
    "rich",
    "pydantic",
    "ruamel",
    "pynvml",
    "psutil",
)


def ft(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="ft-tui")


def process(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "finetune_tui.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **variables}, timeout=60, check=False
    )


@pytest.mark.parametrize("arguments", [["--help"], ["train", "-h"], ["--version"], ["completion", "bash"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\n"
        "from finetune_tui.cli import main\n"
        f"sys.argv = ['ft-tui', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_examples_that_begin_with_the_command(command: str) -> None:
    shown = ft(*command.split(), "-h")
    assert shown.exit_code == 0
    if command not in {"recipe", "data"}:
        assert "Examples:\n    " in shown.output
        assert command in shown.output.partition("Examples:")[2]


def test_help_documents_the_exit_codes() -> None:
    shown = ft("--help").output
    assert all(code in shown for code in ("0 ", "1 ", "2 ", "3 ", "4 ", "130 "))


def test_an_unknown_command_or_option_ends_with_2() -> None:
    assert ft("trian").exit_code == 2
    assert ft("runs", "--jsno").exit_code == 2


def test_a_missing_run_is_told_with_what_where_why_and_fix_on_standard_error() -> None:
    result = ft("status", "nothing")
    assert result.exit_code == 2
    assert result.stdout == ""
    for word in ("error:", "where:", "why:", "fix:"):
        assert word in result.stderr


def test_every_problem_of_a_recipe_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("adapter:\n  rank: 0\ntraining:\n  epoch: 3\n")
    result = ft("train", str(file), "--detach")
    assert result.exit_code == 2
    assert result.stderr.count("error:") == 2
    assert f"{file}:2" in result.stderr
    assert f"{file}:4" in result.stderr


def test_all_bad_settings_on_the_command_line_are_told_at_once(tmp_path: Path) -> None:
    result = ft("recipe", "new", str(tmp_path / "r.yaml"), "--set", "adapter.rnk=3", "--set", "training.epochs")
    assert result.exit_code == 2
    assert result.stderr.count("error:") == 2
    assert not (tmp_path / "r.yaml").exists()


def test_escape_sequences_in_an_argument_never_reach_the_terminal() -> None:
    make_run()
    for arguments in (["status", "\x1b]0;owned\x07"], ["status", "--\x1b]0;owned\x07"], ["--\x1b]0;owned\x07"]):
        result = ft(*arguments)
        assert result.exit_code == 2
        assert "\x1b" not in result.stderr
        assert "owned" in result.stderr


# Recipes


def test_a_new_recipe_holds_what_was_set_and_passes_its_own_check(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    made = ft("recipe", "new", str(file), "--set", "training.learning_rate=2e-4", "--set", "adapter.rank=8")
    assert made.exit_code == 0
    assert made.stdout.strip() == str(file)
    recipe = load(file)
    assert (recipe.training.learning_rate, recipe.adapter.rank) == (2e-4, 8)


def test_a_new_recipe_is_named_as_json(tmp_path: Path) -> None:
    made = ft("recipe", "new", str(tmp_path / "mine.yaml"), "--json")
    assert json.loads(made.stdout) == {"file": str(tmp_path / "mine.yaml")}


def test_a_file_that_is_not_there_does_not_hide_mistakes_on_the_command_line(tmp_path: Path) -> None:
    for command in (["train"], ["recipe", "check"], ["recipe", "show"]):
        result = ft(*command, str(tmp_path / "none.yaml"), "--set", "adapter.rank=0", "--set", "model=demo")
        assert result.exit_code == 2
        for word in ("none.yaml", "`adapter.rank` cannot be 0", "`model=demo`"):
            assert word in result.stderr


def test_a_rule_that_is_broken_is_told_with_the_line_of_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("quantization:\n  method: nf4\nadapter:\n  kind: none\n")
    (found,) = json.loads(ft("recipe", "check", str(file), "--json").stdout)["errors"]
    assert (found["where"], found["field"]) == (f"{file}:4 adapter.kind", "adapter.kind")
    assert f"where: {file}:4 adapter.kind" in ft("train", str(file), "--detach").stderr


def test_an_existing_file_is_replaced_only_when_forced(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("mine")
    assert ft("recipe", "new", str(file)).exit_code == 2
    assert file.read_text() == "mine"
    assert ft("recipe", "new", str(file), "--force").exit_code == 0
    assert load(file).version == 1


def test_a_recipe_check_gives_problems_as_json_and_ends_with_2(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("model:\n  source: ./missing\ndata:\n  source: missing.jsonl\n")
    result = ft("recipe", "check", str(file), "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 2
    assert found["ok"] is False
    assert len(found["errors"]) == 2
    assert set(found["errors"][0]) == {"what", "where", "why", "remedy", "kind", "field"}


def test_the_recipe_of_a_run_is_shown_as_a_file_that_can_be_trained_again(tmp_path: Path) -> None:
    run = make_run("again")
    shown = ft("recipe", "show", run.name)
    assert shown.exit_code == 0
    (tmp_path / "again.yaml").write_text(shown.stdout)
    assert load(tmp_path / "again.yaml").output.name == "again"
    as_json = json.loads(ft("recipe", "show", str(tmp_path / "again.yaml"), "--json").stdout)
    assert as_json["output"]["name"] == "again"


# Runs


def test_runs_are_listed_with_state_and_progress() -> None:
    make_run("first", state="done", step=60, total=60, loss=0.0214)
    make_run("second", live=True, state="training", step=30, total=60, loss=float("nan"))
    result = ft("runs")
    assert result.exit_code == 0
    assert "✓ done" in result.stdout
    assert "50% 30/60" in result.stdout
    listed = json.loads(ft("runs", "--json").stdout)
    assert {row["state"] for row in listed} == {"done", "training"}
    assert [row["loss"] for row in listed if row["state"] == "training"] == [None]
    assert all(Path(row["directory"]).name == row["run"] for row in listed)


def test_no_runs_is_an_empty_list_and_words_on_standard_error() -> None:
    assert json.loads(ft("runs", "--json").stdout) == []
    result = ft("runs")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "ft-tui demo" in result.stderr


def test_status_tells_how_a_run_ended() -> None:
    run = make_run("ended", events=finished_events(), state="done", step=60, total=60)
    shown = ft("status").stdout
    assert "✓ done" in shown
    assert "The tuned model is better." in shown
    found = json.loads(ft("status", run.name, "--json").stdout)
    assert (found["run"], found["state"], found["step"]) == (run.name, "done", 60)


def test_status_of_a_failed_run_tells_cause_and_fix() -> None:
    make_run("broken", state="failed", cause="out of memory", remedy="halve the micro-batch")
    shown = ft("status").stdout
    assert "out of memory" in shown
    assert "halve the micro-batch" in shown


def test_logs_give_the_last_lines_cleaned() -> None:
    run = make_run("chatty")
    run.log_file.write_bytes(b"old\n" * 50 + b" 10%\r 20%\rdone \x1b[31mred\n" + b"last\n")
    result = ft("logs", "-n", "2")
    assert result.stdout == "done ␛[31mred\nlast\n"


def test_logs_as_json_are_the_events_of_the_journal() -> None:
    make_run("events", events=finished_events(3))
    lines = ft("logs", "--json", "-n", "100").stdout.splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds[0] == "state"
    assert kinds[-1] == "end"


def test_an_event_of_any_length_is_given_as_whole_json() -> None:
    long = ("alarm", {"name": "long", "text": "x" * 600_000})
    run = make_run("long", events=[("alarm", {"name": "first", "text": "caf\udce9"}), long, *finished_events(2)])
    with run.events_file.open("ab") as stream:
        stream.write(b"garbage\n{\n")
    events = [json.loads(line) for line in ft("logs", "--json", "-n", "100").stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [len(event["text"]) for event in events if event["kind"] == "alarm"] == [4, 600_000]
    last = [json.loads(line) for line in ft("logs", "--json", "-n", "2").stdout.splitlines()]
    assert last == events[-2:]
    assert ft("logs", "--json", "-n", "0").stdout == ""


def test_following_the_log_of_an_ended_run_ends() -> None:
    run = make_run("over", state="done")
    run.log_file.write_text("only line\n")
    assert ft("logs", "-f").stdout == "only line\n"


@pytest.mark.parametrize("command", [["stop"], ["stop", "--now"], ["sample", "hello?"]])
def test_a_run_that_has_ended_cannot_be_asked(command: list[str]) -> None:
    make_run("over", state="done")
    result = ft(*command)
    assert result.exit_code == 2
    assert "fix:" in result.stderr


@pytest.mark.parametrize("command", [["stop"], ["stop", "--now"], ["sample", "hello?"]])
def test_a_run_that_dies_before_it_answers_is_not_waited_for(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune_tui.commands.runs._ANSWER_SECONDS", 5.0)
    run = make_run("dying", live=True, state="training")
    real = control.ask

    def ask_and_die(*arguments: Any, **more: Any) -> str:
        asked = real(*arguments, **more)
        write_status(run, Status(run=run.name, state="training"))
        return asked

    monkeypatch.setattr(control, "ask", ask_and_die)
    result = ft(*command)
    assert result.exit_code == 2
    assert "it ended before it answered: crashed" in result.stderr
    assert f"ft-tui resume {run.name}" in result.stderr
    assert list(run.control.iterdir()) == []


def test_stop_now_ends_a_trainer_whose_supervisor_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune_tui.commands.runs._ANSWER_SECONDS", 5.0)
    run = make_run("orphan", state="training")
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    # Reaped as soon as it has ended, which for an orphan is init's work.
    with subprocess.Popen(sleeping) as trainer, ThreadPoolExecutor(1) as pool:
        pool.submit(trainer.wait)
        write_status(run, Status(run=run.name, state="training", trainer=Identity.of(trainer.pid)))
        result = ft("stop", "--now")
    assert result.exit_code == 0
    assert result.stdout == f"{run.name}: stopped\n"
    assert trainer.returncode == -signal.SIGTERM


def test_a_prompt_that_is_no_text_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune_tui.commands.runs._ANSWER_SECONDS", 0.1)
    make_run("going", live=True, state="training")
    result = ft("sample", "caf\udce9?")
    assert result.exit_code == 2
    assert "UTF-8" in result.stderr


def test_a_prompt_of_several_words_must_be_quoted() -> None:
    result = ft("sample", "run", "what", "is")
    assert result.exit_code == 2
    assert "quotes" in result.stderr


@pytest.mark.parametrize(
    "command",
    [["runs"], ["runs", "--json"], ["status"], ["logs"], ["attach", "--plain"], ["stop"], ["demo", "--plain"],
     ["recipe", "check", "{recipe}"], ["train", "{recipe}", "--detach"], ["resume"]],
)  # fmt: skip
def test_a_home_that_cannot_be_used_is_told_in_words_by_every_command(
    command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe = tmp_path / "demo.yaml"
    ft("recipe", "new", str(recipe), "--demo")
    monkeypatch.setenv("FT_TUI_HOME", str(recipe))
    result = ft(*(word.format(recipe=recipe) for word in command))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "is no folder" in result.stderr
    assert "fix:   set FT_TUI_HOME to a folder you can write to" in result.stderr


def test_the_shell_completes_nothing_where_the_home_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = process(
        COMP_WORDS="ft-tui status ",
        COMP_CWORD="2",
        _FT_TUI_COMPLETE="bash_complete",
        FT_TUI_HOME=str(tmp_path / "file"),
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")


# Following


def test_attach_without_a_terminal_prints_the_whole_history_and_the_verdict() -> None:
    run = make_run("ended", events=finished_events(), state="done", step=60, total=60)
    result = ft("attach")
    assert result.exit_code == 0
    assert "step 60/60" in result.stdout
    assert "held-out loss at step 0: 2.5000" in result.stdout
    table = [line.split() for line in result.stdout.splitlines()]
    assert ["valid", "JSON", "0.0%", "100.0%"] in table
    assert ["right", "fact", "100.0%", "98.0%"] in table
    assert str(run.result) in result.stdout
    assert "PeftModel.from_pretrained" in result.stdout


def test_attach_json_ends_with_one_object_and_keeps_words_off_standard_output() -> None:
    run = make_run("ended", events=finished_events(), state="done", step=60, total=60)
    result = ft("attach", "--json")
    found = json.loads(result.stdout)
    assert found["run"] == run.name
    assert found["directory"] == str(run.path)
    assert found["base"]["valid_json"] == 0.0
    assert found["tuned"]["right_fact"] == 0.98
    assert found["loss"]["first"] == pytest.approx(1.9)
    assert found["loss"]["last"] < 0.1
    assert found["seconds"] >= 0
    assert "step 60/60" in result.stderr


@pytest.mark.parametrize("state", ["failed", "training"])
def test_following_a_failed_or_crashed_run_ends_with_3_and_the_cause(state: str) -> None:
    make_run("broken", state=state, cause="the GPU was lost", remedy="use another one")
    result = ft("attach", "--plain")
    assert result.exit_code == 3
    assert "cause: the GPU was lost" in result.stdout
    assert "fix: use another one" in result.stdout


def test_following_a_run_whose_processes_were_killed_tells_how_long_it_ran_and_how_to_go_on() -> None:
    run = make_run("lost", events=[("checkpoint", {"step": 4, "bytes": 1})], state="training", step=5, total=9)
    result = ft("attach", "--plain")
    assert result.exit_code == 3
    assert "crashed after 2 h 00 min" in result.stdout
    assert "cause: its processes are gone without a word" in result.stdout
    assert f"`ft-tui resume {run.name}`" in result.stdout
    assert json.loads(ft("status", "--json").stdout)["cause"].startswith("its processes are gone")


def test_following_a_run_that_was_never_started_ends_and_says_so() -> None:
    make_run("never", started=None)
    result = ft("attach", "--plain")
    assert result.exit_code == 2
    assert "never started" in result.stderr


def test_ctrl_c_ends_only_the_following_and_says_how_to_come_back() -> None:
    run = make_run("going", live=True, state="training", step=1, total=9)
    following = subprocess.Popen(
        [sys.executable, "-m", "finetune_tui.cli", "attach", "--plain"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert following.stdout is not None
    assert run.name in following.stdout.readline()
    following.send_signal(signal.SIGINT)
    _, words = following.communicate(timeout=20)
    assert following.returncode == 130
    assert f"ft-tui attach {run.name}" in words
    assert f"ft-tui stop {run.name}" in words
    assert "Traceback" not in words
    status = read_status(run)
    assert status is not None
    assert status.state == "training"


@pytest.mark.parametrize(
    "place", ["finetune_core.runs.start.launch.launch", "finetune_tui.commands.output.show_problems"]
)
@pytest.mark.parametrize("command", ["train", "resume"])
def test_ctrl_c_while_a_run_is_started_names_the_run_that_goes_on(
    command: str, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[RunDir] = []

    def launch(run: RunDir, **_: object) -> int:
        if "launch" in place:
            signal.raise_signal(signal.SIGINT)
        started.append(run)
        write_status(run, Status(run=run.name, state="preparing", supervisor=Identity.current()))
        return 1

    def interrupt(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("finetune_core.runs.start.launch.launch", launch)
    if "launch" not in place:
        monkeypatch.setattr("finetune_tui.commands.output.show_problems", interrupt)
        monkeypatch.setattr("finetune_tui.commands.plain.follow", interrupt)
    recipe = tmp_path / "demo.yaml"
    ft("recipe", "new", str(recipe), "--demo")
    name = str(recipe) if command == "train" else make_run("made", started=None).name
    result = ft(command, name, "--plain")
    (run,) = started
    assert result.exit_code == 130
    assert f"ft-tui attach {run.name}" in result.stderr
    assert f"ft-tui stop {run.name}" in result.stderr


def test_ctrl_c_before_anything_was_started_says_only_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("finetune_tui.start.prepare", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    ft("recipe", "new", str(tmp_path / "demo.yaml"), "--demo")
    result = ft("train", str(tmp_path / "demo.yaml"), "--plain")
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


def test_a_reader_that_goes_away_is_no_fault() -> None:
    make_run("ended", events=finished_events(500), state="done")
    done = subprocess.run(
        f"{sys.executable} -m finetune_tui.cli logs --json -n 500 | head -1",
        shell=True, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_the_app_without_a_terminal_says_what_to_use_and_ends_with_2() -> None:
    done = process()
    assert done.returncode == 2
    assert "ft-tui demo --plain" in done.stderr
    assert done.stdout == ""


# Completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell: str) -> None:
    result = ft("completion", shell)
    assert result.exit_code == 0
    assert "_FT_TUI_COMPLETE" in result.stdout


@pytest.mark.parametrize("words", ["runs", "runs --json", "models", "status", "--help", "completion bash"])
def test_an_output_that_cannot_be_written_is_one_line_and_an_exit_code_of_its_own(words: str) -> None:
    make_run("one")
    done = subprocess.run(
        f"{sys.executable} -m finetune_tui.cli {words} > /dev/full",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (74, "error: the output cannot be written: No space left on device\n")


def test_words_that_cannot_be_written_change_nothing_else() -> None:
    done = subprocess.run(
        f"{sys.executable} -m finetune_tui.cli status none 2> /dev/full", shell=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, b"")


def test_the_shell_completes_names_of_runs_and_fields_of_the_recipe() -> None:
    run = make_run("one")
    status = read_status(run)
    assert status is not None
    write_status(run, status)
    complete = {"_FT_TUI_COMPLETE": "bash_complete"}
    runs = process(COMP_WORDS="ft-tui status ", COMP_CWORD="2", **complete).stdout
    assert run.name in runs
    fields = process(COMP_WORDS="ft-tui train x --set training.ep", COMP_CWORD="4", **complete).stdout
    assert "training.epochs=" in fields


def test_the_trash_lists_restores_and_frees_what_was_deleted(home: Path) -> None:
    from finetune_core.runs.upkeep.trash import move_to_trash

    assert "The trash is empty" in ft("trash").stderr
    one, other = (move_to_trash(make_run(name)) for name in ("capitals", "poems"))
    listed = json.loads(ft("trash", "--json").stdout)["trash"]
    assert [found["run"] for found in listed] == [other.name, one.name]
    assert all(found["bytes"] > 0 and found["expires"] - found["deleted"] == 7 * 86400 for found in listed)
    assert one.name in ft("trash").stdout
    assert json.loads(ft("trash", "restore", "capitals", "--json").stdout)["run"] == one.name
    refused = ft("trash", "empty")
    assert refused.exit_code == 2
    assert "ft-tui trash empty --yes" in refused.stderr
    assert json.loads(ft("trash", "empty", "--yes", "--json").stdout)["removed"] == [other.name]
    assert ft("trash", "restore", "poems").exit_code == 2
    assert [row["run"] for row in json.loads(ft("runs", "--json").stdout)] == [one.name]


def test_a_notice_while_a_run_is_started_waits_for_it_also_where_ctrl_c_is_ignored() -> None:
    script = """
import os, signal
from finetune_tui.commands import interrupts
signal.signal(signal.SIGINT, signal.SIG_IGN)
with interrupts.handing_on():
    with interrupts.interrupted_afterwards():
        os.kill(os.getpid(), signal.SIGUSR1)
    print(interrupts.notices().take().name, signal.getsignal(signal.SIGINT) == signal.SIG_IGN, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "SIGUSR1 True\n")
