from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import pytest

from finetune_core.runs.directory import RunDir
from finetune_core.runs.events import RECORDS, AlarmEvent, EvalEvent, Record, StateEvent, StepEvent, VerdictEvent
from finetune_core.runs.journal import Journal, Tail
from finetune_core.runs.metrics import EVAL_LOSS, as_metrics, metric, metrics_in_order, metrics_of
from finetune_core.runs.view.run_view import RunView

CORE = Path(__file__).parents[3] / "core" / "finetune_core"


def step(number: int, **metrics: float) -> StepEvent:
    return StepEvent(step=number, epoch=0.1, metrics=metrics, tokens=10 * number, seconds=0.5, memory={}, gpus=[])


def test_every_event_of_the_program_is_written_as_a_record() -> None:
    found = []
    for path in CORE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            first = node.args[0]
            if node.func.attr in {"write", "event"} and isinstance(first, ast.Constant) and first.value in RECORDS:
                found.append(f"{path.name}:{node.lineno}")
    assert found == []
    assert len(RECORDS) == 15


@pytest.mark.parametrize("record", RECORDS.values())
def test_a_record_names_only_fields_it_has_and_says_what_it_is(record: type[Record]) -> None:
    assert {one.name for one in fields(record)} >= record.OMITTED
    assert record.__doc__


def test_what_is_not_known_is_left_out_only_where_the_record_says_so() -> None:
    assert StateEvent(state="training").values() == {
        "state": "training", "phase": "", "done": None, "total": None, "unit": None
    }  # fmt: skip
    assert AlarmEvent(name="low_memory", text="little is left").values() == {
        "name": "low_memory", "text": "little is left"
    }  # fmt: skip
    assert VerdictEvent(path="eval/verdict.json", found={"outcome": "better"}).values() == {
        "path": "eval/verdict.json", "outcome": "better"
    }  # fmt: skip


def test_a_step_holds_its_metrics_and_those_of_the_first_versions_where_they_look() -> None:
    values = step(3, loss=2.5, learning_rate=1e-4, entropy=0.7).values()
    assert values["metrics"] == {"loss": 2.5, "learning_rate": 1e-4, "entropy": 0.7}
    assert (values["loss"], values["learning_rate"], values["grad_norm"]) == (2.5, 1e-4, None)
    assert EvalEvent(step=0, metrics={EVAL_LOSS: 3.0}, rows=4, seconds=0.1, path=None).values()["loss"] == 3.0


def test_a_view_has_a_curve_of_whatever_metric_comes(run: RunDir) -> None:
    with Journal(run.events_file) as journal:
        journal.record(step(1, loss=2.0, **{"rewards/margins": 0.25}))
        journal.record(step(2, loss=1.0, **{"rewards/margins": float("nan")}))
        journal.record(
            EvalEvent(step=2, metrics={EVAL_LOSS: 1.5, "eval_loss:german": 1.75}, rows=4, seconds=0.1, path=None)
        )
    view = RunView(run)
    view.poll()
    assert view.series["loss"].values == [2.0, 1.0]
    assert view.series["rewards/margins"].steps == [1, 2]
    assert view.series["rewards/margins"].values[0] == 0.25
    assert view.series["eval_loss"].values == [1.5]
    assert view.series["eval_loss:german"].values == [1.75]
    assert view.series["step_seconds"].values == [0.5, 0.5]


def test_a_journal_of_the_first_versions_gives_the_same_curves(run: RunDir) -> None:
    with Journal(run.events_file) as journal:
        journal.write("step", step=1, loss=2.0, router_loss=0.5, learning_rate=1e-4, grad_norm=1.0, tokens_per_s=7.0)
        journal.write("eval", step=1, loss=2.5, rows=3)
    view = RunView(run)
    view.poll()
    assert {name: series.values for name, series in view.series.items()} == {
        "loss": [2.0], "router_loss": [0.5], "learning_rate": [1e-4], "grad_norm": [1.0], "tokens_per_s": [7.0],
        "eval_loss": [2.5],
    }  # fmt: skip


def test_ever_new_names_fill_neither_memory_nor_screen(run: RunDir) -> None:
    with Journal(run.events_file) as journal:
        for number in range(1, 20):
            journal.write("step", step=number, metrics={f"m{number}-{place}": 1.0 for place in range(400)})
        journal.write("step", step=20, metrics={"x" * 5000: 1.0, "y": "2", "z": None, "w": [3]})
    view = RunView(run)
    view.poll()
    assert len(view.series) == 500
    assert max(map(len, view.series)) <= 80
    assert view.step == 20


@pytest.mark.parametrize(
    ("name", "title", "group"),
    [
        ("loss", "training loss", "loss"),
        ("eval_loss:german", "held-out loss german", "loss"),
        ("gpu_power:1", "GPU power 1", "GPU"),
        ("rewards/chosen_accuracy", "rewards chosen accuracy", "rewards"),
        ("kl", "kl", ""),
        ("/", "/", ""),
    ],
)
def test_a_metric_that_is_in_no_table_is_described_by_its_name(name: str, title: str, group: str) -> None:
    found = metric(name)
    assert (found.name, found.title, found.group) == (name, title, group)


def test_metrics_come_by_group_the_loss_first() -> None:
    names = ["zeta", "gpu_power:10", "gpu_power:9", "rewards/b", "rewards/a", "learning_rate", "eval_loss", "loss"]
    assert [one.name for one in metrics_in_order(names)] == [
        "loss", "eval_loss", "learning_rate", "gpu_power:9", "gpu_power:10", "zeta", "rewards/a", "rewards/b"
    ]  # fmt: skip


def test_only_figures_of_what_a_trainer_logs_are_metrics() -> None:
    logs = {"loss": 1, "grad_norm": float("inf"), "epoch": 0.5, "on": True, "text": "no", "none": None}
    assert as_metrics(logs, frozenset({"epoch"})) == {"loss": 1.0, "grad_norm": float("inf")}


def test_metrics_survive_the_journal(run: RunDir) -> None:
    with Journal(run.events_file) as journal:
        journal.record(step(1, loss=float("inf"), entropy=0.5))
    event = Tail(run.events_file).read()[-1]
    assert metrics_of(event) == {"loss": "Infinity", "entropy": 0.5}
