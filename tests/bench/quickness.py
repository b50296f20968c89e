"""How quick what a person waits for is, each against a baseline in the same run.

    python tests/bench/quickness.py [help|first_frame|first_page|attach|chart|keys ...]

Prints one JSON object a line: the median seconds of both, and their ratio. `help`: `ft-tui --help` against a bare
import of click. `first_frame`: the app in a terminal of 80x24 until its first screen is drawn, against a Textual app
that draws one word. `first_page`: the first 100 rows of a 10 GiB file against those of a 1 MB file. `attach`: taking
in a journal of 200,000 steps against parsing its lines with json alone. `chart`: drawing 200,000 points against 5,000.
`key ...`: the CPU seconds of the app's thread that a key takes until the app is at rest, against Tab in a Textual app
of two fields, and the goal, which holds for an idle core: `load` says how many wanted one. Two seconds pass after the
start, in which screens are made ready, and 0.4 after each key, in which steps are made ahead; `at once` is a step gone
to before that. `held up ...`: the longest part of a step that is made ahead, which is what a key may have to wait for.
"""

from __future__ import annotations

import json
import os
import pty
import random
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))

if TYPE_CHECKING:
    from textual.app import App

    from finetune_tui.app import FtApp

ROUNDS = 5
STEPS = 200_000


def compare(name: str, measured: Callable[[], object], baseline: Callable[[], object]) -> None:
    """Run both in turn and print the medians and their ratio."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for work, times in zip((measured, baseline), seconds, strict=True):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
    ours, theirs = map(statistics.median, seconds)
    print(json.dumps({"case": name, "seconds": round(ours, 4), "baseline": round(theirs, 4),
                      "ratio": round(ours / theirs, 2)}))  # fmt: skip


def bench_help() -> None:
    """The command line's start."""
    program = str(Path(sys.executable).with_name("ft-tui"))

    def call(*command: str) -> Callable[[], object]:
        return lambda: subprocess.run(command, capture_output=True, check=True)

    compare("help", call(program, "--help"), call(sys.executable, "-c", "import click"))


def bench_first_frame(folder: Path) -> None:
    """The app's first frame, in a terminal."""
    bare = folder / "bare.py"
    bare.write_text(
        "from textual.app import App\nfrom textual.widgets import Static\n"
        "class Bare(App):\n    def compose(self):\n        yield Static('drawn')\nBare().run()\n"
    )
    program = str(Path(sys.executable).with_name("ft-tui"))
    compare("first_frame", lambda: _until([program], b"Quit"), lambda: _until([sys.executable, str(bare)], b"drawn"))


def _until(command: list[str], words: bytes) -> None:
    """Run a program in a terminal until these words are on the screen."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        os.execv(command[0], command)
    seen = b""
    try:
        while words not in seen:
            if not select.select([terminal], [], [], 20)[0]:
                raise SystemExit(f"{words!r} never came: {seen[-300:]!r}")
            seen += os.read(terminal, 65536)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def bench_first_page(folder: Path) -> None:
    """Opening a data file."""
    from finetune_core.data.files.open import open_rows

    line = b'{"prompt": "a", "completion": "b"}\n'
    huge, small = folder / "huge.jsonl", folder / "small.jsonl"
    for path in (huge, small):
        path.write_bytes(line * (1_000_000 // len(line)))
    os.truncate(huge, 10 * 2**30)
    compare("first_page", lambda: open_rows(str(huge)).first(100), lambda: open_rows(str(small)).first(100))


def bench_attach() -> None:
    """Opening a long run."""
    from finetune_core.recipe.schema import Recipe
    from finetune_core.runs.journal import Journal
    from finetune_core.runs.upkeep.lifecycle import create
    from finetune_core.runs.view.run_view import RunView

    run = create(Recipe(), {})
    memory = {"allocated": 12345678901, "reserved": 22345678901, "peak": 23345678901, "rss": 3345678901}
    with Journal(run.events_file) as journal:
        for step in range(1, STEPS + 1):
            journal.write("step", step=step, epoch=step / 1000, loss=1.25, learning_rate=1e-4, grad_norm=0.5,
                          tokens=step * 4000, tokens_per_s=1000.0, seconds=4.0, memory=memory, gpus=[])  # fmt: skip
    compare("attach", lambda: RunView(run).poll(),
            lambda: [json.loads(text) for text in run.events_file.read_text().splitlines()])  # fmt: skip


def bench_chart() -> None:
    """Drawing a long curve."""
    from finetune_tui.widgets.chart import Axes, Curve, render

    def draw(count: int) -> Callable[[], object]:
        steps = list(range(count))
        values = [2.5 / (1 + step / count) + random.random() / 10 for step in steps]
        curves = [Curve("train", steps, values, "faint"), Curve("smoothed", steps, values, span=count / 40)]
        return lambda: render(curves, Axes(count), 100, 20)

    compare("chart", draw(STEPS), draw(5_000))


KEYS = (
    ("palette", "ctrl+p", "escape"),
    ("demo in the wizard", "D", ""),
    *((f"step {number}", str(number), "") for number in (1, 2, 3, 4, 5, 1, 2, 3, 5, 4)),
    *(("tab", "tab", "") for _ in range(4)),
    ("digit", "8", ""),
    ("backspace", "backspace", ""),
    ("leave the field", "escape", ""),
    ("leave the wizard", "escape", ""),
    ("wizard", "n", ""),
)


GOAL, GOAL_IN_A_FIELD = 0.1, 0.03
_IN_A_FIELD = ("tab", "digit", "backspace", "leave the field")


def bench_keys() -> None:
    """What a key costs in the app's thread, each the median of several starts of the app."""
    import asyncio

    from finetune_tui.app import FtApp

    bare = statistics.median(asyncio.run(_bare_tabs()))
    found: dict[str, list[float]] = {}
    for _ in range(3):
        costs = (*asyncio.run(_key_costs(FtApp())), *asyncio.run(_costs_at_once(FtApp())))
        for name, seconds in costs:
            found.setdefault(name, []).append(seconds)
    for name, seconds in found.items():
        ours, goal = statistics.median(seconds), GOAL_IN_A_FIELD if name in _IN_A_FIELD else GOAL
        print(json.dumps({"case": f"key {name}", "seconds": round(ours, 4), "goal": goal, "reached": ours <= goal,
                          "baseline": round(bare, 4), "ratio": round(ours / bare, 1),
                          "load": round(os.getloadavg()[0], 1)}))  # fmt: skip


async def _key_costs(app: FtApp) -> list[tuple[str, float]]:
    """Name and CPU seconds of each key; a step is `first` when it is looked at for the first time."""
    from finetune_tui import readiness

    found: list[tuple[str, float]] = []
    seen: set[str] = set()
    async with app.run_test(size=(80, 24)):
        await _at_rest(app, 2.0)
        readiness.collect_less_often()
        for name, key, undo in KEYS:
            told = f"{name}, first" if name.startswith("step") and name not in seen else name
            seen.add(name)
            found.append((told, await _cost(app, key)))
            await _at_rest(app, 6.0 if name.startswith("demo") else 0.4)
            if undo:
                await _cost(app, undo)
    return found


async def _costs_at_once(app: FtApp) -> list[tuple[str, float]]:
    """What it costs to go to a step before the steps are made ahead, and what one part of them costs."""
    from finetune_tui import readiness
    from finetune_tui.app import FtApp
    from finetune_tui.wizard import pages as wizard_pages

    found: list[tuple[str, float]] = []
    usual, wizard_pages.AHEAD_PAUSE = wizard_pages.AHEAD_PAUSE, 600.0  # type: ignore[misc]
    try:
        async with app.run_test(size=(80, 24)):
            await _at_rest(app, 2.0)
            readiness.collect_less_often()
            await _cost(app, "D")
            await _at_rest(app, 6.0)
            for number in (1, 2, 3, 4):
                found.append((f"step {number}, at once", await _cost(app, str(number))))
                await _at_rest(app, 0.4)
        app = FtApp()
        async with app.run_test(size=(80, 24)):
            await _at_rest(app, 2.0)
            readiness.collect_less_often()
            await _cost(app, "D")
            await _at_rest(app, 6.0)
            found.append(("held up by a part made ahead", max([one async for one in _parts_ahead(app)])))
    finally:
        wizard_pages.AHEAD_PAUSE = usual  # type: ignore[misc]
    return found


async def _parts_ahead(app: App[Any]) -> AsyncIterator[float]:
    """CPU seconds of each part that is made ahead, until every step is there."""
    from finetune_tui.wizard.pages import Pages

    pages = app.screen.query_one(Pages)
    while not all(step.built for step in pages._steps):
        start = time.thread_time()
        await pages._build_ahead()
        await _at_rest(app, 0.05)
        yield time.thread_time() - start


async def _bare_tabs() -> list[float]:
    from textual.app import App, ComposeResult
    from textual.widgets import Input

    class Bare(App[None]):
        def compose(self) -> ComposeResult:
            yield Input()
            yield Input()

    app = Bare()
    async with app.run_test(size=(80, 24)):
        await _at_rest(app, 0.5)
        return [await _cost(app, "tab") for _ in range(5)]


async def _cost(app: App[Any], key: str) -> float:
    """CPU seconds of this thread from a key until the app is at rest."""
    from tests.tui.walking import send_keys

    start = time.thread_time()
    send_keys(app, key)
    await _at_rest(app, 0.2)
    return time.thread_time() - start


async def _at_rest(app: App[Any], least: float) -> None:
    """Wait so many seconds, and on until no widget has a message."""
    import asyncio

    from finetune_tui.typeahead import Typeahead

    line = Typeahead(app)
    await asyncio.sleep(least)
    while any(True for _ in line._at_work()):  # noqa: ASYNC110 - rest has no event
        await asyncio.sleep(0.01)


def main() -> None:
    """All of them, or those named."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FT_TUI_HOME"] = str(Path(folder) / "home")
        os.environ["FT_TUI_WARM"] = "0"
        cases: dict[str, Callable[[], None]] = {
            "help": bench_help,
            "first_frame": lambda: bench_first_frame(Path(folder)),
            "first_page": lambda: bench_first_page(Path(folder)),
            "attach": bench_attach,
            "chart": bench_chart,
            "keys": bench_keys,
        }
        for name in sys.argv[1:] or cases:
            cases[name]()


if __name__ == "__main__":
    main()
