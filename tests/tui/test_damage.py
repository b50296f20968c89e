"""What is wrong with a run's files is said wherever it is looked at, and hides no other run."""

from __future__ import annotations

import json
import os

from click.testing import CliRunner, Result

from finetune_core.paths import runs_root
from finetune_core.runs.directory import RunDir
from finetune_tui.app import FtApp
from finetune_tui.cli import cli
from tests.tui.dashboard_driver import dashboard
from tests.tui.made_runs import finished
from tests.tui.sizes import plain


def cut(run: RunDir, name: str = "events.jsonl") -> str:
    """Cut a journal behind its fourth event; gives what is to be said of it."""
    lines = (run.path / name).read_bytes().splitlines(keepends=True)
    (run.path / name).write_bytes(b"".join(lines[:4]))
    return f"events.jsonl: it ends with event 4, and {len(lines)} had been written"


def command(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def test_every_command_says_that_a_journal_was_cut() -> None:
    made = finished()
    made.journal.close()
    said = cut(made.dir)
    for words in (["runs"], ["status"], ["verdict"], ["attach", "--plain"], ["resume", "--detach"]):
        assert said in " ".join(command(*words).output.split()), words
    assert said in json.loads(command("status", "--json").stdout)["damage"]
    assert said in json.loads(command("runs", "--json").stdout)[0]["damage"]


def test_an_entry_of_the_list_that_cannot_be_read_is_named_and_hides_no_other() -> None:
    made = finished()
    made.journal.close()
    os.mkfifo(runs_root() / "20260101-000000-pipe")
    (runs_root() / "20260101-000000-loop").symlink_to("20260101-000000-loop")
    broken = runs_root() / "20260101-000000-broken"
    (broken / "recipe.yaml").mkdir(parents=True)
    found = command("runs")
    assert found.exit_code == 0
    for words in (
        made.name,
        "20260101-000000-pipe is no run: it is a pipe",
        "20260101-000000-loop is no run: it is a link",
        "20260101-000000-broken is damaged: recipe.yaml is a folder, where a file belongs",
    ):
        assert words in found.output


async def test_the_dashboard_says_that_a_journal_was_cut() -> None:
    made = finished()
    made.journal.close()
    said = cut(made.dir)
    async with dashboard(made, (120, 40)) as driver:
        await driver.sees(f"This run's files are damaged: {said}")


async def test_the_list_of_runs_says_it_of_the_chosen_one() -> None:
    made = finished()
    made.journal.close()
    said = cut(made.dir)
    app = FtApp()
    async with app.run_test(size=(120, 40)) as pilot:
        for _ in range(200):
            await pilot.pause(0.02)
            if said in plain(app):
                break
        assert f"damaged: {said}" in plain(app)
