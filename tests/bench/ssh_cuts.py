"""Cut connections: `python tests/bench/ssh_cuts.py --cuts 100`. Needs Debian's openssh-server.

A run trains on this machine; again and again somebody attaches to it over a real ssh to loopback, and the connection is
cut at random: the client or the server's end of it is killed, before the first frame or while the run is watched. The
run must go on, every step must be told once, and the last look must show it whole.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

from finetune_core import demo
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.recipe.yaml_io import save
from finetune_core.runs.directory import RunDir, find_run
from finetune_core.runs.status import live
from tests.e2e.conftest import FT_TUI
from tests.e2e.runs import LONGER, state, steps
from tests.e2e.ssh import connect, reconnect, server
from tests.e2e.terminals import PtyTerminal, wait_for, wait_until

_EPOCHS, _EPOCHS_A_CUT = 5.0, 0.3
_LONGEST_LOOK = 4.0


def cut(terminal: PtyTerminal, chance: random.Random) -> str:
    """Kill one end of the connection; which."""
    end = chance.choice(("client", "server"))
    target = terminal.pid
    if end == "server":
        ours = {connection.laddr.port for connection in psutil.Process(terminal.pid).net_connections()}
        ends = [found.pid for found in psutil.net_connections("tcp") if found.raddr and found.raddr.port in ours]
        target = next((pid for pid in ends if pid), terminal.pid)
    with suppress(ProcessLookupError):
        os.kill(target, signal.SIGKILL)
    try:
        terminal.wait(5)
    except AssertionError:
        # The server had more than one process for it, and another was killed.
        terminal.kill()
        end = "client"
    terminal.close()
    return end


def lost(run: RunDir, before: int) -> list[str]:
    """What is wrong with a run after a cut."""
    found = []
    if state(run) != "done" and not live(run):
        found.append(f"the run ended: {state(run)}")
    told = steps(run)
    if told != list(range(1, len(told) + 1)) or len(told) < before:
        found.append(f"steps are missing: {len(told)} told, {before} before")
    return found


def begin(ssh: list[str], environment: Mapping[str, str], folder: Path, epochs: float) -> RunDir:
    """Start a run over a connection, which is then cut as well."""
    recipe = folder / "recipe.yaml"
    save(with_values(Recipe(), {**demo.recipe_values(), **LONGER, "training.epochs": epochs}), recipe)
    terminal = connect(ssh, environment, FT_TUI, "train", str(recipe), cwd=folder)
    wait_for(terminal, "training", seconds=180)
    run = find_run()
    wait_until(lambda: len(steps(run)) >= 2, seconds=120, what=lambda: state(run))
    os.kill(terminal.pid, signal.SIGKILL)
    terminal.wait()
    terminal.close()
    return run


def main() -> int:
    """Cut as often as the command line says; the exit code tells whether something was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    epochs = max(_EPOCHS, _EPOCHS_A_CUT * chosen.cuts)
    chance, ends, faults = random.Random(chosen.seed), {"client": 0, "server": 0}, []
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as ssh:
        folder = Path(name)
        os.environ["FT_TUI_HOME"] = str(folder / "home")
        environment = {"FT_TUI_HOME": str(folder / "home"), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        run, runs = begin(ssh, environment, folder, epochs), 1
        for number in range(1, chosen.cuts + 1):
            if not live(run):
                run, runs = begin(ssh, environment, folder, epochs), runs + 1
            before = len(steps(run))
            terminal = reconnect(ssh, environment, FT_TUI, "attach", run.name, cwd=folder)
            time.sleep(chance.uniform(0, _LONGEST_LOOK))
            ends[cut(terminal, chance)] += 1
            faults += [f"cut {number}: {words}" for words in lost(run, before)]
            if number % 10 == 0:
                sys.stderr.write(f"{number} cuts, {len(faults)} lost\n")
        last = reconnect(ssh, environment, FT_TUI, "attach", run.name, cwd=folder)
        wait_until(lambda: state(run) == "done", seconds=600, what=lambda: state(run))
        count = len(steps(run))
        wait_for(last, f"{count}/{count}|done", seconds=60)
        last.kill()
        faults += lost(run, count)
    sys.stdout.write(
        f"cuts {chosen.cuts} ({ends['client']} of the client, {ends['server']} of the server), runs {runs}, "
    )
    sys.stdout.write(f"lost {len(faults)}\n" + "".join(f"    {words}\n" for words in faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
