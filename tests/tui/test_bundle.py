"""The archive for a bug report is searched for canaries: rows, samples, prompts, tokens, people and places."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Journal
from finetune_core.runs.upkeep.anonymous import Anonymous
from finetune_core.runs.upkeep.lifecycle import create
from finetune_tui.cli import cli

ROW = "CANARYrow the patient of room 12 has a rash"
SAMPLE = "CANARYsample an answer of the model"
PROMPT = "CANARYprompt what does the patient have?"
FILTER = "CANARYfilter"
TOKEN = "hf_CANARYtokenCANARYtoken0123"
UNFORMED = "CANARYsecret of no form at all"
USER, HOST = "canaryada", "canarybox"
CANARIES = (ROW, SAMPLE, PROMPT, FILTER, TOKEN, UNFORMED, USER, HOST, "CANARY")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A run that holds a canary wherever a person, a model or a library could have left one."""
    monkeypatch.setenv("MY_PASSWORD", UNFORMED)
    monkeypatch.setenv("USER", USER)
    monkeypatch.setattr("platform.node", lambda: f"{HOST}.example.org")
    values = {
        "data": {
            "source": f"/home/{USER}/CANARYfolder/rows.jsonl.gz",
            "only": FILTER,
            "mapping": {"output": "CANARYcolumn"},
        },
        "samples": {"prompts": [PROMPT]},
        "output": {"name": "CANARYname"},
        "training": {"epochs": 2.5},
    }
    made = create(Recipe.model_validate(values), {})
    (made.path / "samples").mkdir(exist_ok=True)
    items = [{"prompt": PROMPT, "reference": ROW, "base": SAMPLE, "current": SAMPLE}]
    (made.path / "samples" / "step-000000.json").write_text(
        json.dumps({"step": 0, "source": "prompts", "items": items})
    )
    with Journal(made.events_file) as journal:
        journal.write("step", step=7, loss=1.25, memory={"peak": 123456})
        journal.write("gate", passed=False, checks=[{"name": "answers-learnt", "examples": [ROW], "rows": 3}])
        journal.write("control", id="1-sample", request="sample", ok=True, text=SAMPLE)
        journal.write("sample", step=0, path="samples/step-000000.json", count=1, source="prompts", note=SAMPLE)
        journal.write("alarm", name="restarted", text=f"ended at /home/{USER}/work/train.py on {HOST}")
        cause = f"the GPU ran out of memory: 2.00 GiB more were needed; row '{ROW}' at /data/CANARYdir/rows.jsonl"
        journal.write("end", state="failed", cause=cause, remedy="halve training.micro_batch", reason="memory")
    log = (
        f"12:00:00 preparing: importing\n"
        f"{SAMPLE}\n"
        f"Authorization: Bearer {TOKEN} and {UNFORMED}\n"
        f'  File "/home/{USER}/venv/lib/python3.12/site-packages/trl/trainer.py", line 12, in step\n'
        f'ValueError: cannot encode "{ROW}" of /mnt/CANARYdisk/private/rows.jsonl for {USER}@{HOST}.example.org\n'
        f"connecting to https://CANARYmirror.example.org:8443/models\n"
        f"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
    )
    made.log_file.write_text(log)
    return made


def archive(*more: str) -> dict[str, str]:
    done = CliRunner().invoke(cli, ["doctor", "--bundle", *more, "--yes", "--to", "report.zip"])
    assert done.exit_code == 0, done.output
    with zipfile.ZipFile("report.zip") as file:
        return {name.rpartition("/")[2]: file.read(name).decode() for name in file.namelist()}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "standing"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_no_canary_is_in_the_archive_nor_in_what_is_shown(run: RunDir, home: Path, here: Path) -> None:
    done = CliRunner().invoke(cli, ["doctor", "--bundle", run.name, "--yes", "--to", "report.zip"])
    assert done.exit_code == 0
    with zipfile.ZipFile("report.zip") as file:
        texts = {name: file.read(name).decode() for name in file.namelist()}
    places = (str(home), str(here), str(Path.home() / "x")[:-2])
    for name, text in texts.items():
        assert [found for found in CANARIES if found.lower() in text.lower()] == [], name
        assert [found for found in places if found != "/" and found in text] == [], name
        # What is shown is what is written.
        assert text.strip() in done.stdout
    assert b"CANARY" not in Path("report.zip").read_bytes()


def test_what_helps_to_find_the_fault_is_in_it(run: RunDir) -> None:
    files = archive(run.name)
    assert "training.epochs: 2.5" in files["recipe.txt"]
    assert "data.source: [the user's own, " in files["recipe.txt"]
    assert ".jsonl.gz]" in files["recipe.txt"]
    assert "torch==" in files["versions.txt"]
    assert "torch build" in files["doctor.txt"]
    events = [json.loads(line) for line in files["journal.jsonl"].splitlines()]
    step = next(event for event in events if event["kind"] == "step")
    assert (step["step"], step["loss"], step["memory"]) == (7, 1.25, {"peak": 123456})
    end = next(event for event in events if event["kind"] == "end")
    assert end["cause"].startswith("the GPU ran out of memory: 2.00 GiB more were needed")
    assert "CUDA out of memory. Tried to allocate 2.00 GiB." in files["worker.log"]
    assert 'trainer.py", line 12' in files["worker.log"]
    assert "events.jsonl" in files["files.txt"]


def test_without_a_run_the_machine_alone_is_reported() -> None:
    assert sorted(archive()) == ["about.txt", "doctor.txt", "versions.txt"]


def test_nothing_is_written_unasked_and_all_is_shown(run: RunDir) -> None:
    done = CliRunner().invoke(cli, ["doctor", "--bundle", run.name, "--to", "report.zip"])
    assert done.exit_code == 2
    assert "training.epochs: 2.5" in done.stdout
    assert "--yes" in done.stderr
    assert not Path("report.zip").exists()


def test_an_archive_that_is_there_stays() -> None:
    Path("report.zip").write_text("mine")
    done = CliRunner().invoke(cli, ["doctor", "--bundle", "--yes", "--to", "report.zip"])
    assert done.exit_code == 2
    assert Path("report.zip").read_text() == "mine"


def test_a_run_is_named_for_an_archive_only() -> None:
    assert CliRunner().invoke(cli, ["doctor", "some-run"]).exit_code == 2


def test_a_long_journal_is_cut_in_its_middle_and_says_so(run: RunDir) -> None:
    with Journal(run.events_file) as journal:
        for step in range(3000):
            journal.write("step", step=step)
    lines = archive(run.name)["journal.jsonl"].splitlines()
    assert len(lines) == 2301
    assert json.loads(lines[300])["kind"] == "left out of this file"


@pytest.mark.parametrize("damage", ["empty", "cut", "gone", "binary"])
def test_a_run_whose_files_are_damaged_is_reported_as_far_as_it_goes(run: RunDir, damage: str) -> None:
    for file in (run.recipe_file, run.events_file, run.log_file, run.path / "samples" / "step-000000.json"):
        whole = file.read_bytes()
        match damage:
            case "gone":
                # Without its recipe it is no run.
                if file != run.recipe_file:
                    file.unlink()
            case "empty":
                file.write_bytes(b"")
            case "cut":
                file.write_bytes(whole[: len(whole) // 2])
            case _:
                file.write_bytes(bytes(range(256)) * 10)
    files = archive(run.name)
    assert "torch==" in files["versions.txt"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("loss 0.5 at step 12/100, lr 1e-4", "loss 0.5 at step 12/100, lr 1e-4"),
        ("https://huggingface.co/Qwen/Qwen3-0.6B/resolve/main", "https://huggingface.co/Qwen/Qwen3-0.6B/resolve/main"),
        ("torch 2.13.0+cu130, driver 570.86.15", "torch 2.13.0+cu130, driver 570.86.15"),
        ("GPU-11111111-2222-3333-4444-555555555555 is lost", "GPU-[id] is lost"),
        ("/opt/data/rows.jsonl: no such file", "[...]/rows.jsonl: no such file"),
        ("mail ada@example.org", "mail [mail]"),
    ],
)
def test_what_says_nothing_of_a_person_stays_readable(text: str, kept: str) -> None:
    assert Anonymous()(text) == kept
