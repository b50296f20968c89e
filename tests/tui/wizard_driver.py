"""Drives the wizard as a user does: keys in, text on the screen out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from finetune_core import demo
from finetune_core.hardware.installed_torch import TorchBuild
from finetune_core.hardware.torch_fit import Tried
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import GUIDES, Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.runs.status import read_status
from finetune_tui.app import FtApp
from finetune_tui.widgets.field_form import id_of
from finetune_tui.wizard.screen import WizardScreen
from finetune_tui.wizard.session import Session
from tests.fakes import FakeNvml
from tests.tui.sizes import plain

PATIENCE = 120.0


class WizardApp(FtApp):
    """The app, which notes the run it would show instead of showing it."""

    shown_run: RunDir | None = None

    def open_dashboard(self, run: RunDir) -> None:
        self.shown_run = run
        self.go_home()


def demo_recipe() -> Recipe:
    """The recipe `ft-tui demo` opens the wizard with."""
    values = dict(demo.recipe_values())
    return with_values(Recipe(), {path: value for path, value in values.items() if path in GUIDES})


async def until(pilot: Pilot[Any], true: Callable[[], object], what: str = "") -> None:
    """Let the app work until something is true; fail with the screen's text when it never is."""
    end = time.monotonic() + PATIENCE
    while not true():
        await pilot.pause()
        await asyncio.sleep(0.02)
        assert time.monotonic() < end, f"never came true: {what}\n{plain(pilot.app)}"


def wizard(pilot: Pilot[Any]) -> WizardScreen:
    """The wizard, below whatever dialog is open."""
    return next(screen for screen in pilot.app.screen_stack if isinstance(screen, WizardScreen))


def session(pilot: Pilot[Any]) -> Session:
    return wizard(pilot).session


async def ready(pilot: Pilot[Any]) -> None:
    """Machine, model and data are known."""
    await until(pilot, lambda: any(isinstance(screen, WizardScreen) for screen in pilot.app.screen_stack), "the wizard")
    await until(pilot, lambda: session(pilot).steps is not None or session(pilot).counting, "the facts are known")


async def sees(pilot: Pilot[Any], text: str) -> None:
    """The text stands on the screen, or comes to stand there."""
    await until(pilot, lambda: text in plain(pilot.app), f"{text!r} on the screen")


async def types(pilot: Pilot[Any], text: str) -> None:
    """Type a text, letter by letter."""
    names = {" ": "space", ".": "full_stop", "/": "slash", "-": "minus", "_": "underscore"}
    await pilot.press(*(names.get(letter, letter) for letter in text))


def use_gpus(monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml) -> None:
    monkeypatch.setattr("finetune_core.hardware.look.PyNvml", lambda: nvml)


def use_torch(monkeypatch: pytest.MonkeyPatch, build: TorchBuild, tried: Tried) -> None:
    monkeypatch.setattr("finetune_tui.wizard.steps.hardware.installed_torch", lambda: build)
    monkeypatch.setattr("finetune_tui.wizard.steps.hardware.try_kernel", lambda _hardware: tried)


def rows_file(folder: Path, *texts: str) -> Path:
    file = folder / "rows.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]} for text in texts
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


async def put(pilot: Pilot[int], path: str, text: str) -> None:
    """Type a text into a field that stands on the open step."""
    screen = pilot.app.screen
    await until(pilot, lambda: screen.query(f"#{id_of(path)}"), "the step is made")
    field = screen.query_one(f"#{id_of(path)}", Input)
    field.focus()
    await until(pilot, lambda: field.has_focus, "the focus")
    field.clear()
    await types(pilot, text)


async def look_at_rows(pilot: Pilot[int]) -> None:
    """Leave the field one types in and go to the rows: news above a field scroll them away, however soon they come."""
    await pilot.press("escape")
    listing = pilot.app.screen.query_one("#row-list")
    listing.focus()
    await until(pilot, lambda: listing.has_focus, "the focus")
    listing.scroll_visible(animate=False)


def end_run(run: RunDir) -> None:
    """End what a test has started."""
    status = read_status(run)
    if status is not None and status.supervisor is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(status.supervisor.pid, signal.SIGKILL)
