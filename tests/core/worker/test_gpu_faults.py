"""What goes wrong on a real GPU: memory that is not there, another process that takes it, another run, a kill."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from finetune_core.errors import FtError
from finetune_core.hardware.look import look
from finetune_core.recipe.schema import Recipe
from finetune_core.runs import control
from finetune_core.runs.directory import RunDir
from finetune_core.runs.start.launch import launch
from finetune_core.runs.status import live, read_status
from finetune_core.runs.watch import supervise
from finetune_core.runs.watch.batch_override import read_adapted
from tests.core.worker import tiny
from tests.e2e.terminals import wait_until

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU that torch can use"),
]

GIB = 2**30
LENGTH = 2048
# A process that leaves so many bytes of the GPU free, or takes so many, until its input ends.
_HOG = """
import sys, torch
free, _ = torch.cuda.mem_get_info()
how, size = sys.argv[1], int(sys.argv[2])
taken = torch.empty(free - size if how == "leave" else size, dtype=torch.uint8, device="cuda")
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def hog(how: str, size: int) -> Iterator[int]:
    """Another process on the GPU; gives its pid."""
    command = [sys.executable, "-c", _HOG, how, str(size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline().strip() == "ready"
        try:
            yield process.pid
        finally:
            process.stdin.close()


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of eight layers, whose activations for 2,048 tokens take about 0.8 GiB a row."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("wide")
    tokenizer = tiny.make_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=1024, intermediate_size=4096, num_hidden_layers=8,
        num_attention_heads=16, num_key_value_heads=8, max_position_embeddings=LENGTH,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def long_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers of more than 2,048 tokens each."""
    chance = random.Random(3)
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"tell me {number}"},
                {"role": "assistant", "content": " ".join(chance.choices(tiny.COLOURS + tiny.THINGS, k=1600))},
            ]
        }
        for number in range(64)
    ]
    return tiny.write_rows(tmp_path_factory.mktemp("long") / "rows.jsonl", rows)


def wide_recipe(wide: Path, long_rows: Path) -> Recipe:
    return tiny.make_recipe(
        wide, long_rows, hardware__device="cuda", model__dtype="bfloat16", data__max_length=LENGTH,
        training__micro_batch=16, training__accumulation=1, training__epochs=2.0, training__learning_rate=1e-4,
        samples__count=0, evaluation__questions=0, evaluation__fact_field=None, evaluation__every_steps=None,
        saving__every_steps=2,
    )  # fmt: skip


def supervised(home: Path, recipe: Recipe) -> RunDir:
    run = tiny.make_run(home, recipe)
    supervise.run(run)
    return run


def test_memory_that_is_not_there_halves_the_micro_batch_and_the_losses_stay(
    wide: Path, long_rows: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    whole = supervised(tmp_path / "whole", wide_recipe(wide, long_rows))
    assert tiny.ended(whole)["state"] == "done", tiny.ended(whole)
    peak = max(event["memory"]["peak"] for event in tiny.events(whole, "step"))
    with hog("leave", int(0.7 * peak) + GIB):
        run = supervised(tmp_path / "short", wide_recipe(wide, long_rows))
    assert tiny.ended(run)["state"] == "done", run.log_file.read_text()[-3000:]
    adapted = read_adapted(run)
    assert adapted is not None
    assert adapted.micro_batch * adapted.accumulation == 16
    assert adapted.micro_batch < 16
    words = [event["text"] for event in tiny.events(run, "alarm") if event["name"] == "restarted"]
    assert "more were needed" in words[0]
    assert "the GPU has" in words[0]
    for step, loss in tiny.losses(whole).items():
        assert tiny.losses(run)[step] == pytest.approx(loss, rel=0.01)
    record_property("out of memory", json.dumps({"peak": peak, "words": words}))


def long_run(home: Path, model: Path, data: Path) -> RunDir:
    quiet = {"samples__count": 0, "samples__every_steps": None, "evaluation__questions": 0,
             "evaluation__every_steps": None}  # fmt: skip
    recipe = tiny.make_recipe(
        model,
        data,
        hardware__device="cuda",
        hardware__gpus=[look().gpus[0].uuid],
        training__max_steps=200_000,
        training__epochs=None,
        saving__every_steps=500,
        **quiet,
    )
    return tiny.make_run(home, recipe)


def reached(run: RunDir, step: int) -> Callable[[], bool]:
    return lambda: max(tiny.losses(run), default=0) >= step


def told(run: RunDir, name: str) -> list[str]:
    return [event["text"] for event in tiny.events(run, "alarm") if event["name"].startswith(name)]


def log_of(run: RunDir) -> Callable[[], str]:
    return lambda: run.log_file.read_text()[-3000:] if run.log_file.exists() else "no log"


def test_one_run_at_a_time_who_else_takes_memory_is_named_and_a_kill_loses_nothing(
    model: Path, data: Path, home: Path
) -> None:
    first = long_run(home, model, data)
    second = tiny.make_run(
        home, tiny.make_recipe(model, data, hardware__device="cuda", hardware__gpus=[look().gpus[0].uuid])
    )
    launch(first)
    wait_until(reached(first, 60), seconds=90, what=log_of(first))
    with pytest.raises(FtError, match="the GPU is taken by another run"):
        launch(second)
    launch(second, queue=True)
    status = read_status(second)
    assert status is not None
    assert status.state == "queued"
    with hog("take", 5 * GIB) as pid:
        wait_until(lambda: bool(told(first, "gpu_shared")), seconds=60, what=log_of(first))
        assert "of GPU 0" in told(first, "gpu_shared")[0]
        assert f" {pid} of " in told(first, "gpu_shared")[0]
    before = read_status(first)
    assert before is not None
    assert before.trainer is not None
    wait_until(lambda: any(first.checkpoints.glob("step-*")), seconds=60, what=log_of(first))
    os.kill(before.trainer.pid, signal.SIGKILL)
    seen = max(tiny.losses(first))
    wait_until(lambda: bool(told(first, "restarted")), seconds=60, what=log_of(first))
    wait_until(reached(first, seen + 50), seconds=90, what=log_of(first))
    still = read_status(second)
    assert still is not None
    assert still.state == "queued"
    control.ask(first, "stop")
    wait_until(lambda: not live(first) and not live(second), seconds=120, what=log_of(second))
    assert tiny.ended(second)["state"] == "done", tiny.ended(second)


@pytest.mark.parametrize("at", [4, 8])
@pytest.mark.parametrize(
    "values",
    [
        {"data__packing": "bfd", "adapter__dropout": 0.1},
        {"data__packing": "bfd", "quantization__method": "nf4", "adapter__dropout": 0.1},
        {"adapter__kind": "none", "model__dtype": "float32"},
    ],
    ids=["lora", "qlora", "full"],
)
def test_a_run_resumed_from_a_step_follows_the_unbroken_one(
    values: dict[str, Any],
    at: int,
    model: Path,
    data: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    settings = {"hardware__device": "cuda", "model__dtype": "bfloat16", "saving__keep": 3, **values}
    run = tiny.make_run(tmp_path, tiny.make_recipe(model, data, **settings))
    assert tiny.train(run) == 0, tiny.ended(run)
    unbroken = tiny.losses(run)
    for folder in run.checkpoints.glob("step-*"):
        if int(folder.name.removeprefix("step-")) > at:
            shutil.rmtree(folder)
    assert tiny.train(run, resume=True) == 0, tiny.ended(run)
    again = tiny.losses(run)
    record_property("largest relative difference", max(abs(again[step] / loss - 1) for step, loss in unbroken.items()))
    assert again == pytest.approx(unbroken, rel=1e-3)
