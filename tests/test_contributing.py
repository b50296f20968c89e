"""What CONTRIBUTING.md and ARCHITECTURE.md name is there: files, folders, commands."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("CONTRIBUTING.md", "ARCHITECTURE.md")
# A path from the top of the project, in backquotes.
NAMED = re.compile(r"`((?:core|tui|tests|themes|\.ci)/[\w./-]+)")
# A folder or file that ARCHITECTURE.md names within a room.
WITHIN = re.compile(r"`([a-z_]+/(?:[a-z_]+\.py)?)`")


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_a_page_for_developers_names_exists(page: str) -> None:
    named = NAMED.findall((ROOT / page).read_text())
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_folder_within_a_room_of_the_architecture_exists() -> None:
    folders = {str(path.relative_to(ROOT)) + "/" for path in ROOT.glob("*/**/") if ".venv" not in path.parts}
    text = (ROOT / "ARCHITECTURE.md").read_text().partition("## Rooms")[2].partition("## The run directory")[0]
    named = {name for name in WITHIN.findall(text) if name.endswith("/")}
    assert len(named) > 20
    assert sorted(name for name in named if not any(("/" + folder).endswith("/" + name) for folder in folders)) == []


def test_every_command_of_the_developers_page_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for script in set(re.findall(r"`(\.ci/\w+)", text)):
        assert (ROOT / script).stat().st_mode & 0o100, script
    words = subprocess.run([ROOT / ".ci" / "dev"], capture_output=True, text=True, check=False)
    assert words.returncode == 2
    for lane in re.findall(r"`\.ci/dev (\w+)`", text):
        assert f"\n  {lane}" in "\n" + words.stderr, lane


def test_every_walk_through_names_its_files_in_order() -> None:
    walks = (ROOT / "CONTRIBUTING.md").read_text().partition("## Walk-throughs")[2].partition("\n## ")[0]
    sections = walks.split("\n### ")[1:]
    assert len(sections) >= 6
    for section in sections:
        assert NAMED.search(section), section.splitlines()[0]
