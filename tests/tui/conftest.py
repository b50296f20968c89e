"""What the tests of the app share."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from textual.pilot import Pilot


@pytest.fixture(autouse=True)
def pressed_keys_have_acted(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Pilot.press` returns when the keys have acted, also those that waited for the app to come to rest."""
    press = Pilot.press

    async def press_and_wait(pilot: Pilot[Any], *keys: str) -> None:
        await press(pilot, *keys)
        while getattr(pilot.app, "typeahead", False) and not pilot.app._exit:  # noqa: ASYNC110 - keys have no event
            await asyncio.sleep(0.01)
        await pilot._wait_for_screen()

    monkeypatch.setattr(Pilot, "press", press_and_wait)
