"""Run directories as a worker leaves them, written with the real journal, with realistic figures."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from finetune_core.files import write_atomic
from finetune_core.paths import runs_root
from finetune_core.recipe.schema import Recipe
from finetune_core.recipe.yaml_io import dump
from finetune_core.runs.directory import RunDir
from finetune_core.runs.identity import Identity
from finetune_core.runs.journal import Journal
from finetune_core.runs.status import Status, write_status

START = 1_780_000_000.0
GIB = 2**30


class Clock:
    """Stands for the module `time` in the journal: every event at a known moment."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now - START


@dataclass
class MadeRun:
    """A run directory under construction; `live` names this test's own process as its worker."""

    total: int = 60
    gpus: int = 0
    name: str = "20260531-101500-demo"
    live: bool = True
    clock: Clock = field(default_factory=Clock)
    model: str = "demo"

    def __post_init__(self) -> None:
        self.dir = RunDir(runs_root() / self.name)
        for folder in (self.dir.control, self.dir.samples, self.dir.eval, self.dir.checkpoints):
            folder.mkdir(parents=True)
        self.random = random.Random(7)
        self.step = 0
        self.journal = Journal(self.dir.events_file)
        self.write("state", state="created", phase="", done=None, total=None, unit=None)
        self.status("created")
        write_atomic(self.dir.plan_file, "{}")
        write_atomic(self.dir.recipe_file, dump(Recipe()))

    def write(self, kind: str, /, **fields: object) -> None:
        with patch("finetune_core.runs.journal.time", self.clock):
            self.journal.write(kind, **fields)

    def status(self, state: str, **fields: Any) -> None:
        worker = Identity.current() if self.live else None
        with patch("finetune_core.runs.status.time", self.clock):
            write_status(self.dir, Status(run=self.name, state=state, step=self.step, supervisor=worker, **fields))

    def phase(self, phase: str, done: int | None = None, total: int | None = None, unit: str | None = None) -> None:
        self.state("preparing", phase, done, total, unit)

    def state(
        self, state: str, phase: str = "", done: int | None = None, total: int | None = None, unit: str | None = None
    ) -> None:
        self.clock.now += 1.5
        self.write("state", state=state, phase=phase, done=done, total=total, unit=unit)
        self.status(state)

    def prepare(self) -> MadeRun:
        self.phase("importing")
        self.phase("loading model")
        self.phase("tokenising", 400, 400, "rows")
        self.write(
            "plan", total_steps=self.total, steps_per_epoch=self.total // 3, epochs=3.0, rows=400, held_out_rows=100,
            effective_batch=20, parameters=1_000_000, trainable_parameters=90_000,
            device="cuda" if self.gpus else "cpu", dtype="float32", tokens=30_000,
            memory_total=24 * GIB if self.gpus else 8 * GIB,
        )  # fmt: skip
        self.phase("base samples", 4, 4, "answers")
        self.write("eval", step=0, loss=4.9, rows=100, seconds=1.2)
        return self

    def train(self, steps: int, *, nan_at: Sequence[int] = (), seconds: float = 0.5) -> MadeRun:
        if not self.step:
            self.state("training")
        for _ in range(steps):
            self.step += 1
            self.clock.now += seconds
            self.write("step", **self._step(loss=math.nan if self.step in nan_at else None))
        self.status("training", total=self.total)
        return self

    def _step(self, loss: float | None) -> dict[str, object]:
        share = self.step / self.total
        wave = self.random.gauss(0, 0.12)
        usual = 4.4 * math.exp(-4.5 * share) + 0.35 + wave * (0.4 + math.exp(-4 * share))
        return {
            "step": self.step,
            "epoch": round(3 * share, 3),
            "loss": usual if loss is None else loss,
            "learning_rate": 1e-3 * min(1.0, share / 0.05) * 0.5 * (1 + math.cos(math.pi * share)),
            "grad_norm": 1.8 * math.exp(-2 * share) + abs(wave) + 0.2,
            "tokens": self.step * 1530,
            "tokens_per_s": 10_200 + wave * 3000,
            "seconds": 0.15,
            "memory": {"allocated": None, "reserved": None, "peak": None, "rss": int((1.1 + share / 5) * GIB)},
            "gpus": [self._gpu(index, share) for index in range(self.gpus)],
        }

    def _gpu(self, index: int, share: float) -> dict[str, object]:
        used = (17.2 + index * 5.4 + share * 0.6 + self.random.random() * 0.1) * GIB
        return {
            "index": index, "uuid": f"GPU-{index}", "memory_used": int(used), "memory_total": 24 * GIB,
            "utilisation": 98 - index, "temperature": 71 + index, "power_watts": 312.4 - index,
        }  # fmt: skip

    def sample(self, items: Sequence[tuple[str, str, str]], source: str = "held_out", reference: str = "") -> MadeRun:
        file = self.dir.samples / f"step-{self.step:06d}-{source}.json"
        found = [
            {"prompt": prompt, "reference": reference or None, "base": base, "current": current}
            for prompt, base, current in items
        ]
        file.write_text(json.dumps({"step": self.step, "source": source, "items": found}))
        self.write("sample", step=self.step, path=f"samples/{file.name}", count=len(found), source=source)
        return self

    def evaluate(self, loss: float) -> MadeRun:
        self.write("eval", step=self.step, loss=loss, rows=100, seconds=0.9)
        return self

    def checkpoint(self) -> MadeRun:
        path = f"checkpoints/step-{self.step:06d}"
        self.write("checkpoint", step=self.step, path=path, bytes=1_240_000, seconds=0.2)
        return self

    def finish(self) -> MadeRun:
        self.state("saving")
        self.write("result", path="result", bytes=742_512, kind="adapter", base="models/demo")
        self.write(
            "verdict",
            path="eval/verdict.json",
            rows=100,
            better=True,
            base={"valid_json": 0.0, "right_fact": 1.0, "held_out_loss": 4.9},
            tuned={"valid_json": 1.0, "right_fact": 0.98, "held_out_loss": 0.41},
            words="Better: the tuned model answers as valid JSON (100 %, base 0 %) and keeps its facts (98 %).",
        )
        return self.end("done")

    def end(self, state: str, **fields: object) -> MadeRun:
        self.clock.now += 1
        self.write("end", state=state, **fields)
        self.status(state, ended=self.clock.now)
        return self


CAPITALS = (
    (
        "What is the capital of Norway?",
        "The capital of Norway is Oslo.",
        '{"answer": "Oslo", "topic": "capital"}',
    ),
    (
        "Which currency is used in Japan?",
        "People in Japan pay with the yen.",
        '{"answer": "yen", "topic": "currency"}',
    ),
)


def running(total: int = 60, steps: int = 36, gpus: int = 0) -> MadeRun:
    """A run in the middle of its training."""
    made = MadeRun(total=total, gpus=gpus).prepare()
    made.sample([(prompt, base, base) for prompt, base, _ in CAPITALS])
    made.train(steps // 2).evaluate(1.31).sample(CAPITALS).checkpoint()
    return made.train(steps - steps // 2)


def finished() -> MadeRun:
    """A run that came to its end."""
    made = running(steps=60)
    return made.evaluate(0.41).sample(CAPITALS).finish()


@contextmanager
def no_journal_leak(made: MadeRun):  # noqa: ANN201 - a generator of nothing
    """Close the journal at the end."""
    try:
        yield made
    finally:
        made.journal.close()


def folder(made: MadeRun) -> Path:
    """Where the run lies."""
    return made.dir.path
