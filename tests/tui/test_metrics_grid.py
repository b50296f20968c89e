"""The metrics of a run: every curve in a grid, at every size, by keys and mouse."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from textual.widgets import Input

from finetune_core.runs.events import StepEvent
from finetune_tui.dashboard.metrics_grid import MetricsGrid, layout
from tests.tui.dashboard_driver import Driver, dashboard
from tests.tui.made_runs import MadeRun, finished, running
from tests.tui.sizes import SIZES, assert_inside, assert_snapshot
from tests.tui.test_dashboard import relative


@pytest.fixture(autouse=True)
def fixed_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clock times and paths that are the same on every machine."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    home.mkdir()
    monkeypatch.chdir(home)


def grid(driver: Driver) -> MetricsGrid:
    return driver.screen.query_one(MetricsGrid)


def rewarded(count: int = 30) -> MadeRun:
    """A run with metrics that no table has."""
    made = running(steps=5)
    names = ["rewards/margins", "rewards/accuracies", "kl", *(f"layer_{place}/norm" for place in range(count))]
    for step in range(6, 16):
        metrics = dict.fromkeys(("loss", *names), step * 0.5)
        made.journal.record(
            StepEvent(step=step, epoch=0.1, metrics=metrics, tokens=step, seconds=0.5, memory={}, gpus=[])
        )
    return made


async def test_every_metric_of_a_run_has_a_curve_at_every_size() -> None:
    async with dashboard(relative(finished()), SIZES[0]) as driver:
        await driver.press("5")
        for size in SIZES:
            await driver.resize(size)
            assert_inside(driver.pilot.app)
            await assert_snapshot(driver.pilot, "metrics")


async def test_the_loss_comes_first_and_whatever_else_comes_is_drawn() -> None:
    async with dashboard(rewarded(), (120, 40)) as driver:
        await driver.press("5")
        await driver.sees("5 Metrics", "▸ ━━ training loss 7.5", "kl 7.5", "layer 2 norm 7.5", "PgDn: more")
        assert grid(driver).shown[0] == "loss"
        assert {"rewards/margins", "kl", "layer_29/norm"} <= set(grid(driver).shown)
        await driver.press("pagedown")
        await driver.sees("layer 29 norm 7.5", "rewards margins 7.5")
        await driver.press("end")
        count = len(grid(driver).shown)
        await driver.sees(f"-{count} of {count} metrics")


async def test_typing_filters_the_metrics_and_escape_leads_back_step_by_step() -> None:
    async with dashboard(rewarded()) as driver:
        await driver.press("5", "slash")
        await driver.until(lambda: isinstance(driver.pilot.app.focused, Input))
        await driver.press(*"marg")
        await driver.sees("margins 7.5", "1-1 of 1 metric,", "filtered out")
        await driver.press("enter", "enter")
        await driver.sees("Esc: all metrics", "15")
        await driver.press("escape")
        await driver.sees("1-1 of 1 metric,")
        await driver.press("escape")
        await driver.sees("training loss")
        assert "filtered out" not in driver.words
        await driver.press("escape")
        await driver.sees("1 Loss")


async def test_a_filter_that_nothing_passes_says_how_it_is_cleared() -> None:
    async with dashboard(running()) as driver:
        await driver.press("slash")
        await driver.until(lambda: isinstance(driver.pilot.app.focused, Input))
        await driver.press(*"zz")
        await driver.sees("No metric has 'zz' in its name; Esc clears the filter.")
        await driver.press("escape")
        await driver.sees("training loss")


async def test_one_metric_is_enlarged_with_what_it_means() -> None:
    async with dashboard(running()) as driver:
        await driver.press("5", "enter")
        await driver.sees("training loss, nats/token, lower is better", "smoothed", "held-out 1.31")
        await driver.press("right")
        await driver.sees("held-out loss, nats/token, lower is better")
        await driver.press("enter")
        await driver.sees("▸ ◆ held-out loss")


async def test_the_chosen_metric_stays_chosen_while_the_run_goes_on() -> None:
    made = rewarded(0)
    async with dashboard(made) as driver:
        await driver.press("5", "right", "right")
        chosen = grid(driver).shown[grid(driver).at]
        metrics = dict.fromkeys(("loss", "a new one", "rewards/margins", "kl"), 9.0)
        made.journal.record(StepEvent(step=16, epoch=0.2, metrics=metrics, tokens=16, seconds=0.5, memory={}, gpus=[]))
        await driver.look()
        await driver.until(lambda: "a new one" in grid(driver).shown)
        assert grid(driver).shown[grid(driver).at] == chosen


async def test_keys_of_the_lower_panes_lead_out_of_the_metrics() -> None:
    async with dashboard(finished()) as driver:
        await driver.press("5")
        await driver.sees("5 Metrics")
        await driver.press("l")
        await driver.sees("1 Loss")
        assert "5 Metrics" not in driver.words


async def test_a_click_chooses_a_metric_and_a_second_one_enlarges_it() -> None:
    async with dashboard(running()) as driver:
        await driver.press("5")
        await driver.sees("training loss")
        await driver.pilot.click(MetricsGrid, offset=(50, 2))
        await driver.sees("▸ ◆ held-out loss")
        await driver.pilot.click(MetricsGrid, offset=(50, 2))
        await driver.sees("Esc: all metrics")


async def test_before_the_first_step_the_metrics_are_promised() -> None:
    async with dashboard(MadeRun()) as driver:
        await driver.press("5")
        await driver.sees("The metrics come with the first step.")


@pytest.mark.parametrize("size", [(1, 1), (10, 3), (26, 5), (76, 17), (200, 60)])
@pytest.mark.parametrize("count", [0, 1, 7, 500])
def test_a_page_fits_its_room(size: tuple[int, int], count: int) -> None:
    found = layout(*size, count)
    assert found.page >= 1
    assert found.rows * found.height <= max(size[1], 1)
    assert found.columns * (found.width + 2) - 2 <= max(size[0], 26)
