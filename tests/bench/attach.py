"""How soon a run with a long journal is seen, against reading the whole journal in the same run.

    python tests/bench/attach.py [--megabytes N]

Makes a run with a journal of N MB (1000), then prints one JSON object a line: seconds, and how many times quicker than
`whole`, the reading of every event.
`glance`: what the dashboard shows first of a run nobody has looked at. `history`: a view from the kept history with the
most that a watched run leaves to read after it. `history_then_glance`: the same when a tenth of the journal came since.
`frame` and `frame_of_history`: from the start of `ft-tui attach` in a terminal to the step on the screen, without and
with a history; compared with `frame_of_short`, the same for a run of ten steps.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import select
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROUNDS = 5
MOST_AFTER = 1024 * 1024
GPUS = [{"index": 0, "uuid": "GPU-1", "memory_used": 12345678901, "memory_total": 22345678901, "utilisation": 90,
         "temperature": 60, "power_watts": 300.5}]  # fmt: skip
MEMORY = {"allocated": 12345678901, "reserved": 22345678901, "peak": 23345678901, "rss": 3345678901}


def make_run(megabytes: float) -> tuple[object, int]:
    """A run of one GPU, with an evaluation every 500 steps; gives it and its last step."""
    from finetune_core.recipe.schema import Recipe
    from finetune_core.runs.identity import Identity
    from finetune_core.runs.journal import Journal
    from finetune_core.runs.status import Status, write_status
    from finetune_core.runs.upkeep.lifecycle import create

    run = create(Recipe(), {})
    with Journal(run.events_file) as journal:
        journal.write("state", state="preparing", phase="importing")
        journal.write("plan", total_steps=9_999_999)
        journal.write("state", state="training", phase="")
        journal.write("step", step=0, epoch=0.1, loss=1.25, learning_rate=1e-4, grad_norm=0.5, tokens=4000,
                      tokens_per_s=1000.0, seconds=4.0, memory=MEMORY, gpus=GPUS)  # fmt: skip
        journal.write("eval", step=0, loss=1.5, rows=100, seconds=1.0)
    size = append(run.events_file, 0, megabytes * 1e6)
    write_status(run, Status(run=run.name, state="training", step=size, total=9_999_999, trainer=Identity.current()))
    return run, size


def append(path: Path, step: int, size: float) -> int:
    """Append so many bytes of steps behind this one, as the trainer would; gives the last step."""
    lines = [line for line in path.read_bytes()[:8192].splitlines() if b'"step":0,' in line]
    (before, after), evaluation = lines[0].split(b'"step":0,'), lines[1].split(b'"step":0,')
    loss_before, loss_after = after.split(b'"loss":1.25')
    with path.open("ab") as stream:
        end = stream.tell() + size
        while stream.tell() < end:
            step += 1
            loss = b'"loss":%.4f' % (1 + step % 97 / 970)
            stream.write(before + b'"step":%d,' % step + loss_before + loss + loss_after + b"\n")
            if step % 500 == 0:
                stream.write(evaluation[0] + b'"step":%d,' % step + evaluation[1] + b"\n")
    return step


def seconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The median of some rounds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def until(words: bytes) -> None:
    """Attach in a terminal until these words are on the screen."""
    program = str(Path(sys.executable).with_name("ft-tui"))
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
        os.execv(program, [program, "attach"])
    seen = b""
    try:
        while words not in seen:
            if not select.select([terminal], [], [], 60)[0]:
                raise SystemExit(f"{words!r} never came: {seen[-300:]!r}")
            seen += os.read(terminal, 65536)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def tell(name: str, took: float, baseline: float) -> None:
    """One line of the outcome."""
    print(json.dumps({"case": name, "seconds": round(took, 3), "times_quicker": round(baseline / took, 1)}), flush=True)


def measure(megabytes: float) -> None:
    """All cases, the ones without a history first."""
    from finetune_core.runs.view import history
    from finetune_core.runs.view.run_view import RunView
    from finetune_core.runs.view.tail_view import Glance

    _, last = make_run(0.004)
    short = seconds(lambda: until(b"step %d/" % last))
    time.sleep(1)  # the next run is the newest by name
    run, last = make_run(megabytes)
    print(json.dumps({"journal_bytes": run.events_file.stat().st_size, "steps": last}), flush=True)
    words = b"step %d/" % last
    view = RunView(run)
    whole = seconds(view.poll, rounds=1)
    tell("whole", whole, whole)
    tell("glance", seconds(lambda: Glance(run).poll()), whole)
    frames = [seconds(lambda: (history.forget(run), until(words)))]
    view.kept = 0
    assert history.keep(view)
    last = append(run.events_file, last, MOST_AFTER)
    tell("history", seconds(lambda: RunView(run).poll()), whole)
    frames.append(seconds(lambda: until(b"step %d/" % last)))
    append(run.events_file, last, megabytes * 1e5)
    tell("history_then_glance", seconds(lambda: Glance(run).poll()), whole)
    tell("frame_of_short", short, whole)
    for name, took in zip(("frame", "frame_of_history"), frames, strict=True):
        tell(name, took, whole)
    print(json.dumps({"history_bytes": history.file_of(run).stat().st_size}))


def main() -> None:
    """In a home of its own."""
    options = argparse.ArgumentParser()
    options.add_argument("--megabytes", type=float, default=1000)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FT_TUI_HOME"] = str(Path(folder) / "home")
        measure(options.parse_args().megabytes)


if __name__ == "__main__":
    main()
