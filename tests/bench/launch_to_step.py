"""From the launch to the first optimiser step, on the demo: `python tests/bench/launch_to_step.py [--json FILE]`.

A worker that was waiting (as in the wizard, once the review is shown), one that starts cold with `ft-tui train`, and a
plain TRL script with the same model, rows and settings, in turns; medians, and ratios to the script.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finetune_core.recipe.schema import Recipe
    from finetune_core.runs.directory import RunDir

ROUNDS = 3
# What a person reads a review for; the stack is imported meanwhile.
READING_SECONDS = 15.0
SCRIPT = """
import sys, time
from datasets import load_dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer
from peft import LoraConfig

class First(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        print(time.time(), flush=True)
        control.should_training_stop = True

trainer = SFTTrainer(
    model=sys.argv[1],
    args=SFTConfig(output_dir=sys.argv[3], per_device_train_batch_size=8, max_length=1024, learning_rate=1e-3,
                   use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True),
    train_dataset=load_dataset("json", data_files=sys.argv[2], split="train"),
    peft_config=LoraConfig(r=16, target_modules="all-linear"),
    callbacks=[First()],
)
trainer.train()
"""


def warm_step() -> float:
    """Seconds from the launch to the first step of the demo, with a worker that waited for it."""
    from finetune_core.plan.prepare import prepare
    from finetune_core.runs.start.launch import environment
    from finetune_core.runs.start.warm import WarmWorker
    from finetune_tui.start import start_run

    recipe = demo_recipe()
    waiting = WarmWorker(environment(prepare(recipe).recipe))
    time.sleep(READING_SECONDS)
    begun = time.time()
    run, _ = start_run(recipe, warm=waiting)
    return _first_step(run) - begun


def cold_step(folder: Path) -> float:
    """Seconds from the start of `ft-tui train` to the first step of the demo."""
    from finetune_core.recipe.yaml_io import save
    from finetune_core.runs.directory import find_run

    path = folder / "demo.yaml"
    save(demo_recipe(), path)
    begun = time.time()
    program = str(Path(sys.executable).with_name("ft-tui"))
    command = [program, "train", str(path), "--detach"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return _first_step(find_run(done.stdout.strip())) - begun


def demo_recipe() -> Recipe:
    """The demo's recipe, on the CPU."""
    from finetune_core import demo
    from finetune_core.recipe.check import with_values
    from finetune_core.recipe.schema import Recipe

    return with_values(Recipe(), {**demo.recipe_values(), "hardware.device": "cpu"})


def _first_step(run: RunDir) -> float:
    """When the run took its first step; it is ended then."""
    from finetune_core.runs import control
    from finetune_core.runs.journal import Tail

    tail = Tail(run.events_file)
    while True:
        for event in tail.read():
            if event["kind"] == "step":
                control.ask(run, "stop_now")
                _until_ended(tail)
                return float(event["t"])
        time.sleep(0.01)


def _until_ended(tail: object) -> None:
    while not any(event["kind"] == "end" for event in tail.read()):  # type: ignore[attr-defined]
        time.sleep(0.1)


def script(folder: Path) -> float:
    """Seconds from the start of a plain TRL script to its first step."""
    from finetune_core import demo

    path = folder / "script.py"
    path.write_text(SCRIPT)
    rows = Path(demo.__file__).parent / "train.jsonl"
    begun = time.time()
    command = [sys.executable, str(path), str(demo.model_dir()), str(rows), str(folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(next(line for line in done.stdout.splitlines() if line[:1].isdigit())) - begun


def main() -> None:
    """Measure in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FT_TUI_HOME"] = str(Path(folder) / "home")
        Path(os.environ["FT_TUI_HOME"]).mkdir()
        ways: dict[str, Callable[[], float]] = {
            "waiting worker": warm_step,
            "ft-tui train": lambda: cold_step(Path(folder)),
            "plain TRL script": lambda: script(Path(folder)),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                seconds[name].append(way())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    baseline = medians["plain TRL script"]
    for name, value in medians.items():
        print(f"{name:18} {value:6.2f} s  {value / baseline:5.2f} of the script")
    if chosen.json:
        chosen.json.write_text(json.dumps({"seconds": seconds, "medians": medians}, indent=1))


if __name__ == "__main__":
    main()
