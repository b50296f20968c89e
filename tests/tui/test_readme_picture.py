"""The picture in the README is the real dashboard on a recorded demo run, drawn anew by this test."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from finetune_core.runs.directory import RunDir
from finetune_tui.app import FtApp
from finetune_tui.dashboard.screen import DashboardScreen
from tests.tui.record_demo import FIXTURE

PICTURE = Path(__file__).parent / "dashboard.svg"
SIZE = (120, 40)
_TEXT = re.compile(
    r'<text (class="[^"]*") x="([\d.]+)" (y="[\d.]+") textLength="([\d.]+)" (clip-path="[^"]*")>([^<]*)<'
)


def pinned(svg: str) -> str:
    """The picture with every word at its own place, so that no viewer shifts columns by its font or its blanks."""
    return _TEXT.sub(_words, svg)


def _words(match: re.Match[str]) -> str:
    kind, x, y, length, clip, text = match.groups()
    plain = html.unescape(text).replace("\xa0", " ")
    width = float(length) / max(len(plain), 1)
    words = [
        f'<text {kind} x="{float(x) + word.start() * width:.1f}" {y} textLength="{len(word.group()) * width:.1f}" '
        f"{clip}>{html.escape(word.group())}</text>"
        for word in re.finditer(r"\S+", plain)
    ]
    # The closing tag of the last word is the one that follows the match.
    return "".join(words).removesuffix("/text>") if words else f"<text {clip}><"


@pytest.fixture
def recorded(home: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """The fixture in a folder whose name is the same everywhere."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    name = json.loads((FIXTURE / "status.json").read_text())["run"]
    shutil.copytree(FIXTURE, home / "runs" / name)
    monkeypatch.chdir(home)
    return RunDir(Path("runs") / name)


async def test_the_picture_in_the_readme_is_what_the_dashboard_shows(recorded: RunDir) -> None:
    app = FtApp()
    async with app.run_test(size=SIZE) as pilot:
        screen = DashboardScreen(recorded)
        app.push_screen(screen)
        deadline = time.monotonic() + 10
        while not (screen.reader.seen.ready and screen.drawn > 1):
            screen.reader.hurry()
            assert time.monotonic() < deadline, "the recorded run was never drawn"
            await pilot.pause(0.01)
        await pilot.pause()
        drawn = pinned(app.export_screenshot(title="ft-tui", simplify=True))
    if os.environ.get("FT_TUI_UPDATE_SNAPSHOTS"):
        PICTURE.write_text(drawn, encoding="utf-8")
    kept = PICTURE.read_text(encoding="utf-8") if PICTURE.exists() else ""
    assert drawn == kept, "the picture is out of date: draw it with FT_TUI_UPDATE_SNAPSHOTS=1 and look at it"


def test_the_picture_shows_what_the_readme_promises() -> None:
    words = html.unescape(" ".join(re.findall(r">([^<>]+)</text>", PICTURE.read_text(encoding="utf-8"))))
    for promised in ("Loss", "Rates", "Memory", "Result", "Samples", "Better than the base", "PeftModel"):
        assert promised in words


def test_the_recorded_run_tells_nothing_of_the_machine_it_ran_on() -> None:
    everything = "".join(file.read_text(encoding="utf-8") for file in FIXTURE.rglob("*") if file.is_file())
    assert not re.search(r'"/|boot_id": "|/(home|root|tmp|work)\b', everything)
