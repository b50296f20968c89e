"""Runs for lists and the command line: real run directories, with what a worker would have written."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.runs.identity import Identity
from finetune_core.runs.journal import Journal
from finetune_core.runs.status import Status, read_status, write_status
from finetune_core.runs.upkeep.lifecycle import create


def make_run(
    name: str = "tiny", *, live: bool = False, events: Iterable[tuple[str, dict[str, Any]]] = (), **status: Any
) -> RunDir:
    """A run called `name`; `live` names this process as its trainer: without one a state of work counts as crashed."""
    run = create(with_values(Recipe(), {"output.name": name}), {})
    with Journal(run.events_file) as journal:
        for kind, fields in events:
            journal.write(kind, **fields)
    trainer = Identity.current() if live else None
    known = read_status(run) or Status(run=run.name)
    write_status(run, known.changed(trainer=trainer, **{"started": time.time() - 7200, **status}))
    return run


def finished_events(steps: int = 60) -> list[tuple[str, dict[str, Any]]]:
    """What a run that went well has in its journal."""
    losses = [2.0 * 0.95**step for step in range(1, steps + 1)]
    return [
        ("state", {"state": "preparing", "phase": "loading model", "done": None, "total": None, "unit": None}),
        ("plan", {"total_steps": steps, "rows": 100, "held_out_rows": 20}),
        ("eval", {"step": 0, "loss": 2.5, "rows": 20, "seconds": 0.1}),
        ("state", {"state": "training", "phase": "training", "done": None, "total": None, "unit": None}),
        *[
            ("step", {"step": step, "epoch": step / 20, "loss": loss, "learning_rate": 1e-3, "tokens_per_s": 5000.0})
            for step, loss in enumerate(losses, start=1)
        ],
        ("checkpoint", {"step": steps, "path": f"checkpoints/step-{steps:06d}", "bytes": 1_500_000, "seconds": 0.1}),
        (
            "verdict",
            {
                "path": "eval/verdict.json",
                "base": {"valid_json": 0.0, "right_fact": 1.0, "held_out_loss": 2.5},
                "tuned": {"valid_json": 1.0, "right_fact": 0.98, "held_out_loss": 0.25},
                "rows": 20,
                "better": True,
                "words": "The tuned model is better.",
            },
        ),
        ("result", {"path": "result", "bytes": 400_000, "kind": "adapter", "base": "demo"}),
        ("end", {"state": "done", "cause": None, "remedy": None, "last_lines": None}),
    ]
