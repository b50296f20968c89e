"""Bytes a second that the dashboard sends to a terminal of 120x40, against a naive dashboard in the same run.

    python tests/bench/terminal_bytes.py [SECONDS]

The naive one repaints each widget at every change and lets the x-axis grow with the data. `live` writes five steps a
second into a real run directory, `waiting` is a live run between two slow steps, `finished` one that has ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import struct
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

COLUMNS, LINES = 120, 40
WARM_SECONDS = 15.0  # at most, until the first frames are over
QUIET_SECONDS = 2.0
LARGE = 3_000
STEP_SECONDS = 0.2
BUDGET = 8_000


def _make_naive() -> None:
    """What a first version would do: `refresh()` for every change, an axis as long as the data."""
    from finetune_tui.widgets import chart
    from finetune_tui.widgets.cells import Cells, Line

    def repaint(self: Cells, lines: list[Line]) -> None:
        self._lines = tuple(lines)
        self.refresh()

    usual = chart.render

    def growing(curves: Any, axes: chart.Axes, *args: Any, **kwargs: Any) -> Any:
        return usual(curves, chart.replace(axes, x_end=0), *args, **kwargs)

    Cells.set_lines = repaint
    chart.render = growing


def child(naive: str) -> None:
    """The app under measurement."""
    from finetune_core.runs.directory import find_run
    from finetune_tui.app import FtApp

    if naive == "naive":
        _make_naive()
    FtApp("dashboard", run=find_run(None)).run()


def measure(naive: bool, seconds: float) -> float:
    """Bytes a second after the first frames, of the newest run under FT_TUI_HOME."""
    pid, handle = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", LANG="C.UTF-8")
        os.execv(sys.executable, [sys.executable, __file__, "--child", "naive" if naive else "real"])
    fcntl.ioctl(handle, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    answered, last, total = False, b"", 0
    start = large = time.monotonic()
    counting: float | None = None
    while counting is None or time.monotonic() < counting + seconds:
        if select.select([handle], [], [], 0.05)[0]:
            last = _read(handle, last)
            if not answered and b"\x1b[?2026$p" in last:
                os.write(handle, b"\x1b[?2026;2$y")
                answered = True
            large = time.monotonic() if len(last) >= LARGE and counting is None else large
            total += len(last) if counting is not None else 0
        now = time.monotonic()
        # The first frames are over when nothing large has come for a while after something has.
        if counting is None and ((large > start and now > large + QUIET_SECONDS) or now > start + WARM_SECONDS):
            counting = now
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    os.close(handle)
    return total / seconds


def _read(handle: int, last: bytes) -> bytes:
    try:
        return os.read(handle, 1 << 18)
    except OSError as error:
        raise SystemExit(f"the app ended by itself:\n{last.decode(errors='replace')}") from error


def fed(made: Any, seconds: float, naive: bool) -> float:
    """Measure while another thread trains on."""
    done = threading.Event()

    def train() -> None:
        while not done.wait(STEP_SECONDS):
            made.clock.now = time.time()
            made.train(1, seconds=0)

    feeder = threading.Thread(target=train)
    feeder.start()
    try:
        return measure(naive, seconds)
    finally:
        done.set()
        feeder.join()


def main(seconds: float) -> int:
    """Print one JSON line a case; 1 when a budget is broken."""
    from tests.tui import made_runs

    def fresh(total: int, steps: int) -> Any:
        os.environ["FT_TUI_HOME"] = tempfile.mkdtemp(prefix="ft-tui-bench-")
        made = made_runs.running(total=total, steps=steps)
        made.clock.now = time.time()
        return made

    naive = fed(fresh(600, 300), seconds, naive=True)
    live = fed(fresh(600, 300), seconds, naive=False)
    fresh(600, 300)
    waiting = measure(False, seconds)
    fresh(60, 60).finish()
    finished = measure(False, seconds)
    for name, found in (("naive", naive), ("live", live), ("waiting", waiting), ("finished", finished)):
        line = {"case": name, "bytes_per_second": round(found), "of_naive": round(found / naive, 3)}
        sys.stdout.write(json.dumps(line) + "\n")
    return 0 if live <= BUDGET and finished == 0 else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
    else:
        sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 15.0))
