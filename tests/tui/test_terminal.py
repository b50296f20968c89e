from __future__ import annotations

import os
import pty
import re
import signal
from pathlib import Path

import pytest

from finetune_core.runs.status import read_status, write_status
from finetune_tui import terminal
from tests.tui.listed_runs import finished_events, make_run
from tests.tui.pseudo_terminal import Terminal

MODES_LEFT_ON = [b"\x1b[?1049h", b"\x1b[?1000h", b"\x1b[?1003h", b"\x1b[?1006h", b"\x1b[?2004h", b"\x1b[?25l"]


def assert_restored(sent: bytes) -> None:
    """Every mode that was switched is switched back after its last use."""
    for switched in MODES_LEFT_ON:
        back = switched[:-1] + (b"l" if switched.endswith(b"h") else b"h")
        assert sent.rfind(back) > sent.rfind(switched), (switched, sent[-400:])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_as_it_was(number: signal.Signals) -> None:
    with Terminal([]) as app:
        app.until("There are no runs yet")
        app.process.send_signal(number)
        assert app.end() == 128 + number
        assert_restored(app.output)


def test_a_crash_leaves_the_terminal_as_it_was_and_does_not_come_back_at_the_next_start(tmp_path: Path) -> None:
    run = make_run("ended", events=finished_events(), state="done", step=60, total=60)
    (tmp_path / "sitecustomize.py").write_text(
        "from finetune_tui.dashboard.screen import DashboardScreen\n"
        "def fail(*_):\n    raise RuntimeError('as a bug would')\nDashboardScreen.refresh_panes = fail\n"
    )
    with Terminal(["attach", run.name], environment={"PYTHONPATH": str(tmp_path)}) as app:
        assert app.end(seconds=30) == 1
        assert b"as a bug would" in app.output
        assert_restored(app.output)
    with Terminal([]) as app:
        app.until("1 run")
        app.send("q")
        assert app.end() == 0


def test_quitting_restores_the_terminal_and_gives_0() -> None:
    with Terminal([]) as app:
        app.until("There are no runs yet")
        app.send("q")
        assert app.end() == 0
        assert_restored(app.output)


def test_quitting_tells_which_runs_go_on() -> None:
    run = make_run("legal", live=True, state="training", step=1, total=9)
    with Terminal([]) as app:
        app.until("legal")
        app.send("q")
        assert app.end() == 0
        assert f"ft-tui attach {run.name}".encode() in app.output


@pytest.mark.parametrize("wrapper", [[], ["env", "--ignore-signal=HUP"]], ids=["told", "deaf to hang-ups"])
def test_a_lost_terminal_ends_the_app_and_leaves_no_busy_orphan(wrapper: list[str]) -> None:
    with Terminal([], wrapper=wrapper) as app:
        app.until("There are no runs yet")
        app.hang_up()
        assert app.end(seconds=12) != 0


def test_idle_sends_nothing() -> None:
    make_run("quiet", state="done", step=5, total=5)
    with Terminal([], columns=120, lines=40) as app:
        app.until("quiet")
        app.read(1.0)
        assert app.read(2.5) == b""


def test_no_color_sends_no_colours_and_still_shows_the_cursor() -> None:
    make_run("first", state="done", step=5, total=5)
    with Terminal([], environment={"NO_COLOR": "1"}) as app:
        app.until("first")
        app.read(0.5)
        codes = {code for found in re.findall(rb"\x1b\[([\d;]*)m", app.output) for code in found.split(b";")}
        colours = {code for code in codes if re.fullmatch(rb"3[0-8]|4[0-8]|9[0-7]|10[0-7]", code)}
        assert not colours
        assert b"7" in codes


def test_the_mouse_can_be_left_to_the_terminal() -> None:
    with Terminal(["--no-mouse"]) as app:
        app.until("There are no runs yet")
        app.send("q")
        app.end()
        assert b"\x1b[?1000h" not in app.output


def test_a_dumb_terminal_gets_words_and_no_escape_sequence() -> None:
    with Terminal([], environment={"TERM": "dumb"}) as app:
        assert app.end() == 2
        assert b"ft-tui demo --plain" in app.output
        assert b"\x1b" not in app.output


def test_a_hostile_run_cannot_act_on_the_terminal() -> None:
    run = make_run("shown", state="done", step=1, total=1)
    status = read_status(run)
    assert status is not None
    write_status(run, status.changed(model="x\x1b]52;c;UFdORUQ=\x07y", data="\x1b]0;owned\x1b\\[@click=app.quit]z"))
    with Terminal([], columns=120, lines=40) as app:
        app.until("shown")
        app.read(0.5)
        assert b"]52;c;" in app.output
        assert b"\x1b]52;" not in app.output
        assert b"\x1b]0;" not in app.output


def test_a_terminal_is_known_to_be_lost_once_its_other_end_is_closed() -> None:
    master, slave = pty.openpty()
    assert not terminal.hung_up(slave)
    os.close(master)
    assert terminal.hung_up(slave)
    os.close(slave)


def test_without_a_terminal_the_reason_is_told() -> None:
    reason = terminal.why_no_app()
    assert reason is not None
    assert "terminal" in reason
