"""What the dashboard costs on a connection, measured at a real terminal of 120x40."""

from __future__ import annotations

import time

from tests.bench.terminal_bytes import BUDGET, fed, measure
from tests.tui.made_runs import finished, running

SECONDS = 4.0


def test_a_finished_run_sends_nothing_at_all() -> None:
    finished().journal.close()
    assert measure(False, SECONDS) == 0


def test_a_live_run_at_five_steps_a_second_stays_within_its_budget() -> None:
    made = running(total=600, steps=300)
    made.clock.now = time.time()
    sent = fed(made, SECONDS, naive=False)
    assert 0 < sent < BUDGET
