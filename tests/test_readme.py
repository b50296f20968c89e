"""What the README says is what the program does. FT_TUI_UPDATE_SNAPSHOTS=1 rewrites the table of keys."""

from __future__ import annotations

import os
import re
from pathlib import Path

from click import Context

from finetune_tui.actions import ACTIONS, key_text
from finetune_tui.cli import cli

README = Path(__file__).resolve().parents[1] / "README.md"
PLACES = {"app": "everywhere", "home": "list of runs", "wizard": "wizard", "rows": "rows of the data step",
          "dashboard": "dashboard", "review": "synthetic rows"}  # fmt: skip
START, END = "<!-- keys, from the table of actions -->\n", "<!-- end of keys -->"


def keys_table() -> str:
    rows = ["| where | key | what it does |", "|---|---|---|"]
    rows += [f"| {PLACES[action.scope]} | `{key_text(action)}` | {action.help} |" for action in ACTIONS]
    return "\n".join(rows) + "\n"


def test_the_table_of_keys_is_that_of_the_actions() -> None:
    text = README.read_text()
    before, rest = text.split(START)
    shown, after = rest.split(END)
    if os.environ.get("FT_TUI_UPDATE_SNAPSHOTS") == "1":
        README.write_text(before + START + keys_table() + END + after)
        shown = keys_table()
    assert shown == keys_table()


def test_every_command_is_named_and_every_named_command_exists() -> None:
    text = README.read_text()
    known = set(cli.list_commands(Context(cli)))
    table = text.split("## Commands")[1].split("## Keys")[0]
    named = {word for cell in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for word in re.findall(r"[a-z]+", cell)}
    assert known <= named
    assert set(re.findall(r"ft-tui ([a-z]+)", text)) <= known


def test_every_file_the_readme_shows_is_there() -> None:
    shown = re.findall(r"\]\(([^)h][^)]*)\)", README.read_text())
    assert shown
    assert all((README.parent / path).is_file() for path in shown)
