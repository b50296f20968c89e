"""A random walk over the whole app: keys, pastes, clicks and sizes, drawn after each few; all from one seed.

The app starts its workers as always, but with an interpreter that trains nothing: what would train, or load a model,
ends at once, as where the environment is broken. The runs at work that it can stop belong to a process that sleeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any
from unittest.mock import patch

from textual import events
from textual.app import App
from textual.geometry import Size
from textual.keys import REPLACED_KEYS, _character_to_key, _get_unicode_name_from_key
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from finetune_core import demo
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.runs.identity import Identity
from finetune_core.runs.status import read_status, write_status
from finetune_tui.actions import ACTIONS
from finetune_tui.app import FtApp
from tests.tui import made_runs
from tests.tui.hostile import HOSTILE
from tests.tui.made_runs import MadeRun
from tests.tui.sizes import plain

STUCK_SECONDS = 60
_PYTHON = """#!/bin/sh
case " $* " in
  *" finetune_core.runs.watch.supervise "*|*" finetune_core.worker."*) echo cannot train >&2; exit 1;;
esac
exec {} "$@"
"""
_REMEMBERED = 50
_ACTED_ON = 0.1
_LARGE = 0.1
_SIZES = ((1, 1), (3, 40), (20, 5), (59, 18), (60, 17), (60, 18), (80, 24), (100, 30), (120, 40), (200, 2))
_BOUND = tuple(key for action in ACTIONS for key in action.key.split(","))
_MOVES = (
    "up",
    "down",
    "left",
    "right",
    "tab",
    "shift+tab",
    "enter",
    "escape",
    "space",
    "home",
    "end",
    "pageup",
    "pagedown",
)
_OTHERS = (
    *(f"f{number}" for number in range(1, 13)), *(f"ctrl+{letter}" for letter in "abdefghiklmnoprstuvwxyz"),
    "backspace", "delete", "insert", "shift+up", "shift+down", "shift+enter", "ctrl+home", "ctrl+end", "ctrl+left",
    "alt+x", "ctrl+@",
)  # fmt: skip
_TYPED = "abcdefxyzABCXYZ0123456789 -_.,:;=+*?![](){}<>|&%$#@\"'^`ßé東🙂"
_PASTED = (
    "rows.jsonl",
    "table.csv",
    "broken.jsonl",
    "rows.parquet",
    "demo",
    "model",
    "7",
    "1e-4",
    "-1",
    "auto",
    "3\n4\n",
)


@dataclass
class Walk:
    """What came of a walk: events, ends of the app by itself, and crashes with the last events before each."""

    seed: int
    events: int = 0
    starts: int = 0
    quits: int = 0
    crashes: list[str] = field(default_factory=list)
    last: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def crashed(self, error: BaseException) -> None:
        """Keep how to see it again."""
        words = "".join(traceback.format_exception(error))
        self.crashes.append(f"seed {self.seed}, start {self.starts}, event {self.events}\n"
                            + "\n".join(self.last) + f"\n{words}")  # fmt: skip


class StuckError(Exception):
    """An event was not over after a minute."""


def walk(
    seed: int,
    count: int,
    folder: Path,
    *,
    each: int = 2000,
    until: float = float("inf"),
    crashes: int = 1_000_000,
    told: Callable[[Walk], None] = lambda _walk: None,
) -> Walk:
    """Walk `count` events, `each` in an app started anew; `told` is called after each app.

    `until` is the monotonic time to stop at, `crashes` the number of them.
    """
    found = Walk(seed)
    while found.events < count and time.monotonic() < until and len(found.crashes) < crashes:
        found.starts += 1
        chance = Random(f"{seed} {found.starts}")
        with _place(folder) as made, _sleeper(made[0]):
            asyncio.run(_one_app(found, chance, min(each, count - found.events), made, until))
        told(found)
    return found


async def _one_app(found: Walk, chance: Random, count: int, made: list[RunDir], until: float) -> None:
    app = _app(chance, made)
    try:
        async with app.run_test(size=chance.choice(_SIZES[5:9]), notifications=True) as pilot:
            await _walk_in(found, chance, count, pilot, until)
            found.quits += app._exit
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        found.crashed(error)


def _app(chance: Random, made: list[RunDir]) -> FtApp:
    opening = chance.choice(("home", "wizard", "wizard", "dashboard", "review"))
    recipe = with_values(Recipe(), {"data.source": "rows.jsonl"}) if chance.random() < 0.5 else None
    if opening == "wizard" and chance.random() < 0.4:
        recipe = with_values(Recipe(), dict(demo.recipe_values()))
    rows = Path("rows.pending.jsonl").absolute()
    return FtApp(opening, run=chance.choice(made), recipe=recipe, rows=rows)  # type: ignore[arg-type]


async def _walk_in(found: Walk, chance: Random, count: int, pilot: Pilot[Any], until: float) -> None:
    app = pilot.app
    for _ in range(count):
        if app._exit or app._exception is not None or time.monotonic() > until:
            return
        with _watched():
            _happens(found, chance, app)
            found.events += 1
            # Keys also come in bursts, faster than they are acted on.
            if chance.random() < _ACTED_ON:
                await _settled(app)
                plain(app)


def _happens(found: Walk, chance: Random, app: App[Any]) -> None:
    """One event, as the terminal's driver sends it."""
    kind = chance.random()
    if kind < 0.86:
        found.last.append(f"press {(key := _key(chance, app))}")
        send_keys(app, key)
        return
    if kind < 0.90:
        found.last.append(f"paste {(text := chance.choice((*HOSTILE.values(), *_PASTED, *_PASTED)))[:60]!r}")
        event: events.Event = events.Paste(text)
    elif kind < 0.98:
        _mouse(found, chance, app)
        return
    else:
        most = (300, 100) if chance.random() < _LARGE else (120, 40)
        size = Size(*chance.choice(_SIZES) if chance.random() < 0.6 else map(chance.randint, (1, 1), most))
        found.last.append(f"size {size.width}x{size.height}")
        assert app._driver is not None
        app._driver._size = size  # type: ignore[attr-defined]
        event = events.Resize(size, size)
    send_event(app, event)


def send_keys(app: App[Any], *keys: str) -> None:
    """Keys that come all at once, before the app acts on the first."""
    for key in keys:
        send_event(app, events.Key(key, _character(key)))


def send_event(app: App[Any], event: events.Event) -> None:
    assert app._driver is not None
    event.set_sender(app)
    app._driver.send_message(event)


def _key(chance: Random, app: App[Any]) -> str:
    typing = isinstance(app.focused, Input | TextArea)
    kind = chance.random()
    if kind < (0.25 if typing else 0.5):
        key = chance.choice(_BOUND)
    elif kind < 0.75:
        key = chance.choice(_MOVES)
    elif kind < 0.9:
        key = chance.choice(_TYPED)
    else:
        key = chance.choice(_OTHERS)
    # What is typed may become the name of a file: it stays in the folder of the walk. And most walks go on.
    stays = (typing and key == "slash") or (key in ("q", "ctrl+q") and chance.random() < 0.95)
    return "full_stop" if stays else _character_to_key(key) if len(key) == 1 and not key.isalnum() else key


def _character(key: str) -> str | None:
    if len(key) == 1:
        return key
    with contextlib.suppress(KeyError):
        return unicodedata.lookup(_get_unicode_name_from_key(REPLACED_KEYS.get(key, key)))
    return None


def _mouse(found: Walk, chance: Random, app: App[Any]) -> None:
    x, y = chance.randrange(app.size.width), chance.randrange(app.size.height)
    down = events.MouseDown
    kind = chance.choice((down, down, events.MouseMove, events.MouseScrollDown, events.MouseScrollUp))
    found.last.append(f"mouse {kind.__name__} {x},{y}")
    for one in (down, events.MouseUp) if kind is down else (kind,):
        button = chance.choice((1, 1, 1, 3)) if kind is down else 0
        send_event(app, one(None, x, y, 0, 0, button, shift=False, meta=False, ctrl=False, screen_x=x, screen_y=y))


async def _settled(app: App[Any]) -> None:
    """Let the app act on what it was sent, until nothing waits in it any more; threads are not waited for."""
    quiet = 0
    for _ in range(500):
        await asyncio.sleep(0)
        waiting = (app, *app.screen.walk_children(with_self=True)) if app.screen_stack else (app,)
        quiet = quiet + 1 if all(one._message_queue.empty() for one in waiting) else 0
        if quiet > 2 or app._exit or app._exception is not None:
            return


@contextmanager
def _watched() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _stuck)
    signal.alarm(STUCK_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _stuck(_number: int, _frame: FrameType | None) -> None:
    raise StuckError


# The place it walks in


@contextmanager
def _place(home: Path) -> Iterator[list[RunDir]]:
    """A fresh folder with data to stand in, a home with runs, and an interpreter that trains nothing."""
    shutil.rmtree(home, ignore_errors=True)
    folder = home / "work"
    folder.mkdir(parents=True)
    _write_data(folder)
    python = home / "python"
    python.write_text(_PYTHON.format(sys.executable))
    python.chmod(0o700)
    variables = {"FT_TUI_HOME": str(home / "home"), "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "1"}
    variables["FT_TUI_WARM"] = "0"
    with patch.dict(os.environ, variables), patch.object(sys, "executable", str(python)), contextlib.chdir(folder):
        yield _runs()


def _write_data(folder: Path) -> None:
    rows = [{"prompt": f"question {number}", "completion": "an answer " * 9} for number in range(40)]
    hostile = [{"prompt": name, "completion": text[:2000]} for name, text in HOSTILE.items()]
    text = "".join(json.dumps(row) + "\n" for row in [*hostile, *rows])
    (folder / "rows.jsonl").write_text(text)
    (folder / "rows.pending.jsonl").write_text(text)
    (folder / "broken.jsonl").write_text(text[:700] + "\n{}\n[1]\n\0\n" + text)
    (folder / "table.csv").write_text("prompt,completion\n" + 'a,"b\nc"\n' * 30)
    (folder / "[@click=app.quit]x\x1b[2J.txt").write_text("a text\n\nof two parts\n")
    with contextlib.suppress(ImportError):
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")


@contextmanager
def _sleeper(run: RunDir) -> Iterator[None]:
    """A process that stands for the worker of a run: it can be stopped, and does nothing."""
    process = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    try:
        worker, status = Identity.of(process.pid), read_status(run)
        assert status is not None
        write_status(run, status.changed(supervisor=worker, trainer=worker))
        yield
    finally:
        process.kill()
        process.wait()


def _runs() -> list[RunDir]:
    """Runs in every state, some with hostile words; the first is at work."""
    words = [text[:3000] for text in HOSTILE.values()]
    at_work = _made("at-work", gpus=2).prepare().train(20)
    done = _made("done").prepare()
    done.sample(made_runs.CAPITALS).train(60).evaluate(0.4).checkpoint()
    done.sample([(text, text, text) for text in words]).finish()
    failed = _made("failed").prepare().train(9, nan_at=(3, 4, 5)).checkpoint()
    for text in words:
        failed.write("alarm", name=text, text=text)
    failed.dir.log_file.write_text("\n".join(words), errors="replace")
    failed.end("failed", cause=HOSTILE["action"] * 9, remedy=HOSTILE["cleared screen"], last_lines=words)
    made = [at_work, done, failed, _made("crashed").prepare(), _made("hostile", model=HOSTILE["action"])]
    for run in made:
        run.journal.close()
    return [run.dir for run in made]


def _made(name: str, **options: Any) -> MadeRun:
    return MadeRun(name=f"20260531-101500-{name}", live=False, **options)
