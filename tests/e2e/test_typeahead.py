"""Keys that come in bursts, through a real terminal and over a slow ssh: each acts where it was typed for."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from finetune_tui.wizard.draft import newest_draft
from tests.e2e.conftest import FT_TUI
from tests.e2e.ssh import INSTALLED, connect, delayed, server
from tests.e2e.terminals import KEYS, PtyTerminal, wait_for, wait_until

DELAY_SECONDS = 0.1
# A file is chosen, two fields are passed, two digits typed, one taken back and another typed; then the field before.
CHOOSE = ("n", "3", "o", "down", "down", "enter")
TYPE = ("4", "tab", "tab", "4", "8", "backspace", "1", "enter", "9", "shift+tab", "home", "5", "end", "backspace", "3")
TYPED = {"adapter.rank": "543", "adapter.alpha": "9"}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A folder of four files of rows, where the program is started."""
    folder = tmp_path / "rows"
    folder.mkdir()
    for name in ("alpha", "bravo", "charlie", "delta"):
        (folder / f"{name}.jsonl").write_text('{"prompt": "one", "completion": "two"}\n' * 40)
    return folder


def burst(terminal: PtyTerminal, keys: tuple[str, ...], gap: float) -> None:
    """Send keys without a look at the screen."""
    if not gap:
        terminal.type("".join(KEYS.get(key, key) for key in keys))
    for key in keys if gap else ():
        terminal.press(key)
        time.sleep(gap)


def walk(terminal: PtyTerminal, gap: float, rows: Path) -> None:
    """One burst from the list of runs to two filled fields; the draft on the disk holds what was meant."""
    wait_for(terminal, "n New", seconds=60)
    burst(terminal, (*CHOOSE, *TYPE), gap)
    wanted = {"data.source": str(rows / "charlie.jsonl"), **TYPED}

    def found() -> dict[str, str]:
        draft = newest_draft()
        return draft.texts if draft is not None else {}

    wait_until(lambda: found() == wanted, seconds=60, what=lambda: f"{found()}\n{terminal.text()}")


@pytest.mark.parametrize("gap", [0, 0.01, 0.06, 0.15], ids=lambda gap: f"{gap * 1000:.0f}ms")
def test_a_burst_of_keys_does_what_the_same_keys_do_one_by_one(
    gap: float, rows: Path, environment: dict[str, str]
) -> None:
    terminal = PtyTerminal([FT_TUI], size=(80, 24), env=environment, cwd=rows)
    try:
        walk(terminal, gap, rows)
    finally:
        terminal.kill()
        terminal.close()


@pytest.mark.skipif(not INSTALLED, reason="openssh is not installed here")
@pytest.mark.parametrize("gap", [0, 0.06], ids=lambda gap: f"{gap * 1000:.0f}ms")
def test_so_does_a_burst_over_an_ssh_with_a_tenth_of_a_second_of_delay(
    gap: float, rows: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    with server(tmp_path) as direct, delayed(direct, DELAY_SECONDS) as ssh:
        terminal = connect(ssh, environment, "sh", "-c", f"'cd {rows} && exec {FT_TUI}'", cwd=tmp_path)
        try:
            walk(terminal, gap, rows)
        finally:
            terminal.kill()
            terminal.close()
