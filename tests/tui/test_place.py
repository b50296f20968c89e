"""The next start leads back to where one was."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from finetune_core.paths import drafts_root
from finetune_core.runs.directory import RunDir
from finetune_core.runs.identity import Identity
from finetune_core.runs.upkeep.lifecycle import delete
from finetune_tui import app as app_module
from finetune_tui import place
from finetune_tui.app import FtApp
from finetune_tui.place import Place, keep, recall
from finetune_tui.screens.home import HomeScreen
from finetune_tui.wizard.draft import Draft, save_draft
from finetune_tui.wizard.screen import WizardScreen
from tests.tui.listed_runs import finished_events, make_run
from tests.tui.pseudo_terminal import Terminal
from tests.tui.sizes import until

GONE = Identity(boot_id=Identity.current().boot_id, pid=Identity.current().pid, start_time=1)
WATCHED = Place("dashboard", "a-run", "rates", "log")
BACK = "You are back at the run"


@pytest.fixture
def run() -> RunDir:
    return make_run("watched", events=finished_events(), state="done", step=60, total=60)


@pytest.fixture
def file(home: Path) -> Path:
    home.mkdir(exist_ok=True)
    return home / "place.json"


def left(there: Place, app: Identity = GONE) -> None:
    """An app was left there and is gone."""
    keep(there)
    path = Path(str(place.home())) / "place.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "app": app.model_dump()}))


def wait_for(condition: Callable[[], object]) -> None:
    deadline = monotonic() + 20
    while not condition():
        assert monotonic() < deadline, "it never came"
        sleep(0.02)


def test_a_place_is_given_back_once_when_its_app_is_gone() -> None:
    left(WATCHED)
    assert recall() == WATCHED
    assert recall() is None


def test_the_place_of_an_app_that_still_runs_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    keep(WATCHED)
    assert recall() is None
    with monkeypatch.context() as patch:
        patch.setattr(Identity, "current", classmethod(lambda _: GONE))
        keep(None)
        keep(Place("wizard", "another's"))
    left(WATCHED)
    assert recall() == WATCHED


def test_at_the_list_of_runs_nothing_is_kept(file: Path) -> None:
    keep(WATCHED)
    assert file.exists()
    keep(None)
    assert not file.exists()


def test_the_place_is_private(file: Path) -> None:
    keep(WATCHED)
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"app": None},
        {"app": {"pid": "x"}},
        {"screen": "elsewhere"},
        {"screen": ["dashboard"]},
        {"name": 7},
    ],
)
def test_a_place_that_makes_no_sense_is_none(file: Path, change: dict[str, Any]) -> None:
    left(WATCHED)
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert recall() is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\0" * 50, "[" * 100_000])
def test_a_damaged_place_is_none_and_is_written_over(file: Path, text: str) -> None:
    file.write_text(text)
    assert recall() is None
    left(WATCHED)
    assert recall() == WATCHED


def test_a_disk_that_refuses_costs_only_the_way_back(home: Path) -> None:
    home.write_text("no folder")
    keep(WATCHED)
    assert recall() is None


async def test_a_dashboard_comes_back_with_its_panes_and_esc_leads_to_the_list(run: RunDir) -> None:
    app = FtApp("dashboard", run=run, back_at=Place("dashboard", run.name, "rates", "samples"))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, BACK)
        await until(pilot, "2 Rates")
        assert {"main-rates", "lower-samples"} <= set(app.screen.classes)
        await pilot.press("escape")
        await until(pilot, "1 run")
        assert isinstance(app.screen, HomeScreen)


async def test_panes_of_another_version_are_those_that_fit_the_run(run: RunDir) -> None:
    app = FtApp("dashboard", run=run, back_at=Place("dashboard", run.name, "x y", "../z"))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "The tuned model is better.")
        assert {"main-loss", "lower-result"} <= set(app.screen.classes)


async def test_a_place_is_kept_once_it_has_lasted(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Place | None] = []
    monkeypatch.setattr(app_module, "keep_place", kept.append)
    app = FtApp("dashboard", run=run)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        app.note_place()
        assert not [worker for worker in app.workers if worker.name == "keep the place"], "it may break the app at once"
        app.note_place()
        await app.workers.wait_for_complete([worker for worker in app.workers if worker.name == "keep the place"])
        assert kept == [Place("dashboard", run.name, "rates")]
        app.open_wizard()
        await pilot.pause()
        assert isinstance(app.screen, WizardScreen)
        assert app.place == Place("wizard", app.screen.draft.name)
        app.go_home()
        await pilot.pause()
        assert app.place is None


def test_after_a_lost_connection_the_dashboard_is_shown_again(run: RunDir) -> None:
    with Terminal(["attach"]) as app:
        app.until("watched")
        app.send("3")
        app.until("3 Memory")
        app.hang_up()
        app.end()
    with Terminal([]) as app:
        app.until(BACK)
        app.until("3 Memory")
        app.send("\x1b")
        app.until("1 run")
        app.send("q")
        assert app.end() == 0
    with Terminal([]) as app:
        app.until("1 run")
        assert BACK.encode() not in app.output


def test_after_a_kill_the_dashboard_is_shown_again(run: RunDir, file: Path) -> None:
    with Terminal(["attach"]) as app:
        app.until("watched")
        wait_for(file.exists)
        app.process.send_signal(signal.SIGKILL)
        app.process.wait(10)
    with Terminal([]) as app:
        app.until(BACK)


def test_a_second_app_beside_the_first_starts_at_the_list(run: RunDir, file: Path) -> None:
    with Terminal(["attach"]) as first:
        first.until("watched")
        wait_for(file.exists)
        kept = file.read_text()
        with Terminal([]) as second:
            second.until("1 run")
            assert BACK.encode() not in second.output
            second.send("q")
            assert second.end() == 0
        assert file.read_text() == kept


def test_a_run_that_is_gone_leads_to_the_list(run: RunDir) -> None:
    left(Place("dashboard", run.name))
    delete(run)
    with Terminal([]) as app:
        app.until("There are no runs yet")


def test_the_wizard_is_shown_again_with_its_draft() -> None:
    draft = Draft("20260101-101010-000001", {"model.source": "/half/typed"}, step=1)
    save_draft(draft)
    left(Place("wizard", draft.name))
    with Terminal([], columns=120, lines=40) as app:
        app.until("Your draft is back")
        app.until("/half/typed")


def test_a_draft_that_was_launched_or_put_aside_leads_to_the_list() -> None:
    save_draft(Draft("20260101-101010-000001"))
    left(Place("wizard", "20260101-101010-000002"))
    with Terminal([]) as app:
        app.until("There are no runs yet")
    assert len(list(drafts_root().iterdir())) == 1
