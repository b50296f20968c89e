"""A run whose journal is too long to be read in a moment: its present is on the screen at once."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from finetune_core.runs import journal
from finetune_core.runs.view import history, tail_view
from finetune_tui.dashboard import reader
from finetune_tui.dashboard.reader import RunReader
from tests.tui.dashboard_driver import Driver, dashboard
from tests.tui.made_runs import CAPITALS, MadeRun


@pytest.fixture(autouse=True)
def _short_journals_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("SHORT", 20_000), ("_HEAD", 2_000), ("_END", 10_000)):
        monkeypatch.setattr(tail_view, name, size)
    monkeypatch.setattr(journal, "_CHUNK", 5_000)
    monkeypatch.setattr(reader, "_FILL_PIECE", 20_000)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Semaphore]:
    """The reading of what came before goes on by one piece for each release."""
    pieces = threading.Semaphore(0)
    real = RunReader._fill
    monkeypatch.setattr(RunReader, "_fill", lambda self: pieces.acquire(timeout=0.01) and real(self))
    yield pieces
    pieces.release(1_000)


def long_run() -> MadeRun:
    made = MadeRun(total=400).prepare().sample([("First?", "a", "b")])
    made.train(100).sample([("Second?", "a", "b")]).checkpoint().evaluate(1.5)
    made.train(200)
    return made.sample(CAPITALS).train(3)


@asynccontextmanager
async def filling(made: MadeRun, gate: threading.Semaphore) -> AsyncIterator[Driver]:
    async with dashboard(made) as driver:
        assert driver.screen.reader.seen.filled is not None
        yield driver
        gate.release(1_000)


async def test_the_present_is_shown_at_once_and_the_rest_fills_in_behind_it(gate: threading.Semaphore) -> None:
    async with filling(long_run(), gate) as driver:
        await driver.sees("● training", "step 303/400", "reading what came before: 0%")
        gate.release()
        await driver.until(lambda: 0 < (driver.screen.reader.seen.filled or 0) < 1)
        await driver.look()
        assert "reading what came before: 0%" not in driver.words
        gate.release(1_000)
        await driver.until(lambda: driver.screen.reader.seen.filled is None)
        await driver.look()
        assert "reading what came before" not in driver.words
        assert driver.screen.reader.view.series["loss"].steps == list(range(1, 304))
        await driver.press("4")
        await driver.sees("held-out loss 1.5", "checkpoint")


async def test_a_run_that_goes_on_is_followed_while_the_rest_is_read(gate: threading.Semaphore) -> None:
    made = long_run()
    async with filling(made, gate) as driver:
        made.train(2)
        await driver.sees("step 305/400")
        gate.release(1_000)
        await driver.until(lambda: driver.screen.reader.seen.filled is None)
        made.train(1)
        await driver.sees("step 306/400")


async def test_what_a_glance_cannot_know_is_not_said(gate: threading.Semaphore) -> None:
    made = long_run()
    made.live = False
    made.status("training")
    async with filling(made, gate) as driver:
        await driver.sees("✗ crashed")
        await driver.press("r")
        await driver.sees("The run is still being read.")


async def test_the_answers_in_view_stay_in_view_when_the_rest_has_been_read(gate: threading.Semaphore) -> None:
    made = long_run()
    made.sample([("Third?", "a", "b")])
    async with filling(made, gate) as driver:
        await driver.sees("Third?")
        await driver.press("left_square_bracket")
        await driver.sees("capital of Norway")
        gate.release(1_000)
        await driver.until(lambda: driver.screen.reader.seen.filled is None)
        await driver.sees("capital of Norway", "set 3 of 4")


async def test_an_answer_that_came_meanwhile_is_told_once(gate: threading.Semaphore) -> None:
    made = long_run()
    async with filling(made, gate) as driver:
        await driver.press("k")
        await driver.sees("asked to write a checkpoint")
        (request,) = made.dir.control.iterdir()
        made.write("control", id=request.stem, request="checkpoint", ok=True, text="written at step 303")
        await driver.sees("✓ written at step 303")
        gate.release(1_000)
        await driver.until(lambda: driver.screen.reader.seen.filled is None)
        await driver.look()
        assert "✓ written at step 303" in driver.words


async def test_a_run_seen_before_opens_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    made = long_run()
    monkeypatch.setattr(history, "WORTH", 1_000)
    monkeypatch.setattr(history, "_WORTH_BEHIND", 1_000)
    async with dashboard(made) as driver:
        await driver.until(lambda: driver.screen.reader.seen.filled is None)
    async with dashboard(made) as driver:
        assert driver.screen.reader.view.kept > 20_000
        assert driver.screen.reader.seen.filled is None
        assert driver.screen.reader.view.series["loss"].steps == list(range(1, 304))
