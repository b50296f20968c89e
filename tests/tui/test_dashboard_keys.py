"""What the dashboard's keys do: requests to the run, panes, paging, copying, leaving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Button, Input

from finetune_core.runs import control
from finetune_core.runs.watch import supervise
from finetune_core.text import reading_seconds
from finetune_tui.actions import actions
from finetune_tui.app import FtApp
from finetune_tui.dashboard.reader import FASTEST, SLOWEST, Pace
from finetune_tui.dashboard.requests import Requests
from finetune_tui.dashboard.screen import DashboardScreen
from finetune_tui.dialogs.confirm import Confirm
from finetune_tui.dialogs.prompt import SamplePrompt
from finetune_tui.screens.home import HomeScreen
from finetune_tui.widgets.cells import Cells
from finetune_tui.widgets.pager import Pager
from tests.tui.dashboard_driver import Driver, dashboard
from tests.tui.made_runs import MadeRun, finished, running
from tests.tui.sizes import SIZES, assert_inside, plain


def asked(driver: Driver) -> list[control.Request]:
    return control.pending(driver.made.dir)


def answer(driver: Driver, *, ok: bool, text: str) -> None:
    """What the worker does with the oldest request."""
    request = asked(driver)[0]
    assert control.done(driver.made.dir, request.id)
    driver.made.write("control", id=request.id, request=request.request, ok=ok, text=text)


@pytest.mark.parametrize(("key", "request_name"), [("p", "pause"), ("k", "checkpoint"), ("e", "evaluate")])
async def test_a_key_leaves_its_request_and_shows_it_until_the_worker_answers(key: str, request_name: str) -> None:
    async with dashboard(running()) as driver:
        await driver.press(key)
        await driver.sees("… asked to")
        assert [request.request for request in asked(driver)] == [request_name]
        answer(driver, ok=True, text="done at step 37")
        await driver.sees("✓ done at step 37")
        assert "asked to" not in driver.words


async def test_a_request_the_worker_refuses_is_shown_with_its_reason() -> None:
    async with dashboard(running()) as driver:
        await driver.press("e")
        await driver.sees("asked to measure the held-out loss")
        answer(driver, ok=False, text="there are no held-out rows")
        await driver.sees("✗ there are no held-out rows")


async def test_p_asks_a_paused_run_to_go_on() -> None:
    made = running()
    made.state("paused")
    async with dashboard(made) as driver:
        await driver.sees("‖ paused")
        await driver.press("p")
        await driver.until(lambda: asked(driver))
        assert asked(driver)[0].request == "resume"


async def test_a_typed_prompt_goes_to_the_run_and_its_answer_becomes_the_newest_samples() -> None:
    async with dashboard(running()) as driver:
        await driver.press("s")
        assert isinstance(driver.pilot.app.screen, SamplePrompt)
        await driver.press(*"Why?", "enter")
        await driver.until(lambda: asked(driver))
        assert asked(driver)[0].args == {"prompt": "Why?"}
        driver.made.sample([("Why?", "base says", "tuned says")], source="user")
        await driver.sees("asked by you", "tuned says")


async def test_the_answer_to_a_typed_prompt_stays_in_sight_when_newer_samples_come() -> None:
    async with dashboard(running()) as driver:
        await driver.press("s", *"Why?", "enter")
        await driver.until(lambda: asked(driver))
        driver.made.sample([("Why?", "base says", "tuned says")], source="user")
        answer(driver, ok=True, text="answered")
        driver.made.train(1).sample([("Newer?", "a", "b")])
        await driver.sees("✓ answered", "asked by you", "tuned says", "set 3 of 4")
        await driver.press("right_square_bracket")
        await driver.sees("Newer?", "set 4 of 4")
        driver.made.finish()
        await driver.sees("✓ Better")


async def test_an_empty_prompt_asks_nothing_and_escape_leaves_the_question() -> None:
    async with dashboard(running()) as driver:
        await driver.press("s", "enter")
        assert isinstance(driver.pilot.app.screen, SamplePrompt)
        await driver.press("escape")
        assert driver.pilot.app.screen is driver.screen
        assert not asked(driver)


async def test_the_question_fits_every_size() -> None:
    async with dashboard(running(), SIZES[0]) as driver:
        await driver.press("s")
        assert driver.pilot.app.focused is driver.pilot.app.screen.query_one(Input)
        for size in SIZES:
            await driver.pilot.resize_terminal(*size)
            assert_inside(driver.pilot.app)


@pytest.mark.parametrize("choice", ["stop", "stop_now"])
async def test_stop_asks_how_before_it_asks_the_run(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[object] = []
    monkeypatch.setattr(supervise, "end_orphan", looked_at.append)
    async with dashboard(running()) as driver:
        await driver.press("x")
        assert isinstance(driver.pilot.app.screen, Confirm)
        assert not asked(driver)
        driver.pilot.app.screen.query_one(f"#choice-{choice}", Button).press()
        await driver.until(lambda: asked(driver))
        assert asked(driver)[0].request == choice
        await driver.until(lambda: len(looked_at) == (choice == "stop_now"))
        await driver.sees("answered when the worker is gone" if choice == "stop_now" else "answered after this step")


async def test_a_reason_and_its_remedy_are_told_whole_at_every_size() -> None:
    words = (
        "the run cannot be ended: its trainer belongs to another user, who started it from another terminal on this "
        "machine; ask that user, or an administrator, to stop it"
    )
    async with dashboard(running(), SIZES[0]) as driver:
        for size in SIZES:
            await driver.resize(size)
            await driver.press("k")
            answer(driver, ok=False, text=words)
            await driver.look()
            await driver.sees(words)
            assert_inside(driver.pilot.app)
        answer_much = " ".join(f"word{number}" for number in range(400))
        await driver.resize(SIZES[0])
        await driver.press("k")
        answer(driver, ok=False, text=answer_much)
        await driver.look()
        await driver.sees("word0", "…")
        notice = driver.screen.query_one("#notice", Cells)
        assert notice.size.height == 4
        assert "".join(text for text, _ in notice.lines[-1]).rstrip().endswith("…")
        await driver.press("k")
        await driver.until(lambda: notice.size.height == 1)


async def test_stopping_a_run_that_prepares_promises_no_result() -> None:
    made = MadeRun()
    made.phase("tokenising", 3, 4, "rows")
    async with dashboard(made) as driver:
        await driver.press("x")
        await driver.sees("still preparing", "it ends without a result")
        assert "ends with a result" not in driver.words
        driver.pilot.app.screen.query_one("#choice-stop", Button).press()
        await driver.until(lambda: asked(driver))
        assert asked(driver)[0].request == "stop"


async def test_stop_can_be_thought_better_of() -> None:
    async with dashboard(running()) as driver:
        await driver.press("x", "enter")
        assert driver.pilot.app.screen is driver.screen
        await driver.press("x", "escape")
        assert not asked(driver)


@pytest.mark.parametrize("key", ["p", "k", "s", "e", "x"])
async def test_what_a_finished_run_cannot_do_is_refused_with_the_reason(key: str) -> None:
    async with dashboard(finished()) as driver:
        await driver.press(key)
        await driver.sees("Cannot", "this run has ended (done)")
        assert driver.pilot.app.screen is driver.screen
        assert not asked(driver)


def offered(driver: Driver) -> str:
    """The footer's line."""
    return driver.shown.rstrip().splitlines()[-1]


async def test_the_key_that_pauses_is_called_go_on_while_the_run_is_paused() -> None:
    made = MadeRun().prepare().train(3)
    async with dashboard(made, SIZES[1]) as driver:
        await driver.until(lambda: "p Pause" in offered(driver))
        made.state("paused", "paused")
        await driver.look()
        await driver.until(lambda: "p Go on" in offered(driver))
        made.state("training", "training")
        await driver.look()
        await driver.until(lambda: "p Pause" in offered(driver))


async def test_only_what_can_be_done_is_offered() -> None:
    stopped = running().end("stopped", cause="stopped on request")
    async with dashboard(stopped, SIZES[0]) as driver:
        await driver.until(lambda: "r Resume" in offered(driver))
        assert "v Result" in offered(driver)
        assert not any(word in offered(driver) for word in ("Pause", "Checkpoint", "Sample", "Eval", "Stop"))
        names = {command.title for command in driver.pilot.app.get_system_commands(driver.screen)}
        assert {"Resume", "Result", "Leave"} <= names
        assert not {"Pause", "Checkpoint", "Stop"} & names
    made = MadeRun(name="20260531-101500-young")
    made.phase("loading model")
    async with dashboard(made) as driver:
        await driver.until(lambda: "x Stop" in offered(driver))
        assert "Pause" not in offered(driver)
        made.prepare().train(1)
        await driver.look()
        await driver.until(lambda: "p Pause" in offered(driver))
        assert "Resume" not in offered(driver)
        made.end("failed", cause="it broke")
        await driver.look()
        await driver.until(lambda: "Pause" not in offered(driver))
        assert "r Resume" in offered(driver)


async def test_before_training_only_stop_is_taken() -> None:
    made = MadeRun()
    made.phase("loading model")
    async with dashboard(made) as driver:
        await driver.press("k")
        await driver.sees("training has not begun")
        await driver.press("x")
        assert isinstance(driver.pilot.app.screen, Confirm)


async def test_r_continues_a_crashed_run_and_refuses_one_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    resumed: list[object] = []

    def resume(run: object, *, queue: bool) -> None:
        assert queue
        resumed.append(run)

    monkeypatch.setattr("finetune_core.runs.start.launch.resume", resume)
    async with dashboard(running()) as driver:
        await driver.press("r")
        await driver.sees("Nothing to continue: this run is at work")
        driver.made.live = False
        driver.made.status("training")
        await driver.sees("✗ crashed")
        await driver.press("r")
        await driver.sees("The run goes on.")
        assert resumed == [driver.made.dir]


async def test_brackets_page_through_the_samples_and_the_newest_follows_the_run() -> None:
    made = running()
    made.sample([("Third?", "a", "b")])
    async with dashboard(made) as driver:
        await driver.sees("set 3 of 3")
        await driver.press("left_square_bracket")
        await driver.sees("set 2 of 3")
        made.sample([("Fourth?", "a", "b")])
        await driver.sees("set 2 of 4")
        await driver.press("right_square_bracket", "right_square_bracket", "right_square_bracket")
        await driver.sees("set 4 of 4", "Fourth?")
        made.train(1).sample([("Fifth?", "a", "b")])
        await driver.sees("set 5 of 5", "Fifth?")


async def test_brackets_show_the_samples_of_a_finished_run_and_v_its_result_again() -> None:
    async with dashboard(finished()) as driver:
        await driver.sees("✓ Better")
        await driver.press("left_square_bracket")
        await driver.sees("set 3 of 3")
        await driver.press("left_square_bracket")
        await driver.sees("set 2 of 3")
        await driver.press("v")
        await driver.sees("✓ Better")


async def test_digits_choose_the_large_pane_and_the_same_digit_goes_back() -> None:
    async with dashboard(running()) as driver:
        for key, words in (("2", "2 Rates"), ("3", "3 Memory"), ("4", "4 Events"), ("4", "1 Loss"), ("1", "1 Loss")):
            await driver.press(key)
            await driver.sees(words)
        assert driver.screen.has_class("main-loss")


async def test_l_shows_the_end_of_the_log_as_it_grows_and_escape_closes_it() -> None:
    made = running()
    made.dir.log_file.write_bytes(b"\x1b[31mred\x1b[0m line\nmap:  10%\rmap:  80%\rmap: 100%\n")
    async with dashboard(made) as driver:
        await driver.press("l")
        await driver.sees("red line", "map: 100%")
        assert "10%" not in driver.words
        with made.dir.log_file.open("a") as log:
            log.write("\n".join(f"line {number}" for number in range(100)))
        await driver.sees("line 99")
        await driver.press("escape")
        assert "line 99" not in driver.words
        assert driver.pilot.app.screen is driver.screen


async def test_arrows_move_through_what_does_not_fit() -> None:
    made = running()
    made.sample([(f"Question {number}?", "base", "tuned") for number in range(20)])
    async with dashboard(made) as driver:
        await driver.sees("Question 0?", "more")
        await driver.press("end")
        await driver.sees("Question 19?")
        await driver.press("home")
        await driver.sees("Question 0?")


async def test_y_writes_the_lines_that_load_the_result_to_a_file_and_says_where(home: Path) -> None:
    made = finished()
    async with dashboard(made, (120, 40)) as driver:
        await driver.press("y")
        await driver.sees("Copied three lines of Python to copied.txt in")
        lines = (home / "copied.txt").read_text().splitlines()
        assert len(lines) == 3
        assert str(made.dir.result) in lines[2]
        assert driver.pilot.app.clipboard.splitlines() == lines


async def test_y_copies_the_directory_of_a_run_that_has_no_result_yet(home: Path) -> None:
    async with dashboard(running()) as driver:
        await driver.press("y")
        await driver.sees("Copied the run's directory to")
        assert (home / "copied.txt").read_text() == f"{driver.made.dir.path}\n"


async def test_leaving_says_that_training_goes_on_and_writes_nothing_to_the_run() -> None:
    made = running()
    before = {path: path.stat().st_mtime_ns for path in made.dir.path.rglob("*")}
    async with dashboard(made) as driver:
        await driver.press("q")
        assert isinstance(driver.pilot.app.screen, HomeScreen)
        await driver.sees("Training goes on")
        assert {path: path.stat().st_mtime_ns for path in made.dir.path.rglob("*")} == before


async def test_the_reader_ends_with_its_screen() -> None:
    async with dashboard(running()) as driver:
        reading = [worker for worker in driver.pilot.app.workers if worker.name.startswith("read ")]
        await driver.press("q")
        await driver.until(lambda: all(worker.is_finished for worker in reading))
        assert reading


def test_every_action_of_the_table_is_defined_on_the_screen() -> None:
    names = {action.name.partition("(")[0] for action in actions("dashboard")}
    assert {name for name in names if not hasattr(DashboardScreen, f"action_{name}")} == set()


async def test_nothing_is_repainted_when_nothing_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with dashboard(finished(), (120, 40)) as driver:
        painted = watch_repaints(monkeypatch)
        await driver.look()
        await driver.look()
        assert painted == []


async def test_a_passing_second_repaints_only_the_line_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with dashboard(running(), (120, 40)) as driver:
        painted = watch_repaints(monkeypatch)
        driver.made.clock.now += 1
        await driver.look()
        assert {widget.id for widget, _ in painted} == {"header"}
        assert sum(region.area for _, regions in painted for region in regions) < 20


async def test_a_step_repaints_a_small_part_of_the_loss_chart(monkeypatch: pytest.MonkeyPatch) -> None:
    made = MadeRun(total=2000).prepare().train(1000)
    async with dashboard(made, (120, 40)) as driver:
        painted = watch_repaints(monkeypatch)
        made.train(1)
        await driver.look()
        chart = [region for widget, regions in painted if widget.id == "loss" for region in regions]
        assert 0 < sum(region.area for region in chart) < 120


def watch_repaints(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Cells, tuple[Any, ...]]]:
    """Every repaint that a pane asks for from now on, with its regions (none is the whole widget)."""
    painted: list[tuple[Cells, tuple[Any, ...]]] = []
    usual = Cells.refresh

    def refresh(self: Cells, *regions: Any, **kwargs: Any) -> Cells:
        painted.append((self, regions))
        return usual(self, *regions, **kwargs)

    monkeypatch.setattr(Cells, "refresh", refresh)
    return painted


def test_a_terminal_that_takes_no_bytes_is_sent_less_and_recovers() -> None:
    free = True
    pace = Pace(lambda: free)
    assert pace.due(0.0)
    assert not pace.due(0.5)
    free = False
    moment = 0.0
    for _ in range(6):
        moment += SLOWEST
        assert not pace.due(moment)
    assert pace.seconds == SLOWEST
    free = True
    drawn = [moment := moment + SLOWEST for _ in range(6) if pace.due(moment + SLOWEST)]
    assert len(drawn) == 6
    assert pace.seconds == FASTEST


async def test_the_end_of_a_followed_text_stays_in_sight_until_one_moves_up() -> None:
    made = running()
    made.dir.log_file.write_text("\n".join(f"line {number}" for number in range(50)) + "\n")
    async with dashboard(made) as driver:
        await driver.press("l")
        await driver.sees("line 49")
        await driver.press("up", "up", "up")
        with made.dir.log_file.open("a") as log:
            log.write("line fifty\n")
        await driver.sees("4 more")
        assert "line fifty" not in driver.words
        pager = driver.screen.query_one("#log", Pager)
        assert pager.content[-1][0][0] == "line fifty"


async def test_the_bell_rings_for_a_new_alarm_and_for_the_end_and_not_for_what_was_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rung: list[str] = []
    monkeypatch.setattr("finetune_tui.app.FtApp.bell", lambda _: rung.append("ding"))
    made = running()
    made.write("alarm", name="slow", text="It was slow before anyone looked.")
    async with dashboard(made) as driver:
        await driver.sees("training")
        assert rung == []
        made.write("alarm", name="disk_filling", text="The disk is filling up.")
        await driver.until(lambda: rung == ["ding"])
        made.write("end", state="done", cause=None, remedy=None, last_lines=None)
        await driver.until(lambda: rung == ["ding", "ding"])


async def test_a_message_gives_way_to_the_hints_once_it_could_be_read() -> None:
    made = MadeRun().prepare().train(3)
    async with dashboard(made, SIZES[1]) as driver:
        moment = 0.0
        driver.screen.requests = Requests(lambda: moment)
        await driver.press("]")
        await driver.sees("There are no samples yet.")
        moment = reading_seconds("There are no samples yet.") - 1
        driver.screen._end_notice()
        await driver.pilot.pause()
        assert "There are no samples yet." in driver.words
        moment += 2
        driver.screen._end_notice()
        await driver.sees("1-5 panes")
        assert "There are no samples yet." not in driver.words


async def test_a_run_that_is_not_read_yet_is_not_said_to_be_preparing() -> None:
    made = finished()
    app = FtApp()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = DashboardScreen(made.dir)
        screen._read = lambda: None  # type: ignore[method-assign]
        app.push_screen(screen)
        await pilot.pause()
        assert "Preparing" not in plain(app)
        assert "Samples" not in plain(app)
    made.journal.close()
