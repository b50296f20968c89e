"""Opening the dashboard on a made run and waiting for what it shows."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from textual.pilot import Pilot

from finetune_tui.app import FtApp
from finetune_tui.dashboard.screen import DashboardScreen
from tests.tui.made_runs import MadeRun
from tests.tui.sizes import plain


class Driver:
    """A pilot, its dashboard, and the run behind it."""

    def __init__(self, pilot: Pilot[Any], screen: DashboardScreen, made: MadeRun) -> None:
        self.pilot, self.screen, self.made = pilot, screen, made

    @property
    def shown(self) -> str:
        return plain(self.pilot.app)

    @property
    def words(self) -> str:
        return " ".join(self.shown.split())

    async def until(self, condition: Callable[[], object], *, seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"it never came:\n{self.shown}"
            await self.pilot.pause(0.01)

    async def sees(self, *parts: str) -> None:
        await self.until(lambda: all(part in self.words for part in parts))

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def resize(self, size: tuple[int, int]) -> None:
        await self.pilot.resize_terminal(*size)
        await self.look()

    async def look(self) -> None:
        """Have the run read and drawn again, and wait for it."""
        before = self.screen.drawn
        self.screen.reader.hurry()
        await self.until(lambda: self.screen.drawn > before)
        await self.pilot.pause()


@asynccontextmanager
async def dashboard(made: MadeRun, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Driver]:
    """The app with a dashboard whose clock stands two seconds after the run's newest event."""
    app = FtApp()
    async with app.run_test(size=size, notifications=True) as pilot:
        screen = DashboardScreen(made.dir, clock=lambda: made.clock.now + 2)
        app.push_screen(screen)
        driver = Driver(pilot, screen, made)
        await driver.until(lambda: screen.reader.seen.ready and screen.drawn)
        await driver.look()
        yield driver
    made.journal.close()
