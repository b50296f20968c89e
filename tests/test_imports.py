"""Heavy libraries stay out of the start-up: each room is imported in a fresh interpreter and looked at."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

TRAINING_STACK = {
    "torch",
    "transformers",
    "peft",
    "trl",
    "datasets",
    "bitsandbytes",
    "accelerate",
    "tokenizers",
    "numpy",
    "pandas",
}
INTERFACE = {"textual", "rich", "finetune_tui"}
ROOMS = [
    "recipe.yaml_io",
    "hardware.look",
    "models.find",
    "data.files.open",
    "data.tokens.client",
    "data.checks.process",
    "data.assemble",
    "data.scan.scan",
    "data.scan.row_index",
    "data.files.hub",
    "data.synthetic.make",
    "data.synthetic.review",
    "plan.prepare",
    "runs.view.run_view",
    "runs.start.launch",
    "runs.watch.supervise",
    "runs.watch.supervise_waiting",
    "evaluation.verdict",
    "demo",
]


def loaded_after(statement: str) -> set[str]:
    code = (
        f"{statement}\nimport sys, json; print(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_of_the_core_loads_neither_the_training_stack_nor_the_interface(room: str) -> None:
    assert not loaded_after(f"import finetune_core.{room}") & (TRAINING_STACK | INTERFACE)


@pytest.mark.parametrize("module", ["app", "screens.home", "wizard.screen", "dashboard.screen"])
def test_the_interface_never_loads_the_training_stack(module: str) -> None:
    assert not loaded_after(f"import finetune_tui.{module}") & TRAINING_STACK


def test_the_command_line_loads_neither_pydantic_nor_textual_to_show_its_help() -> None:
    code = """
import sys
sys.argv = ["ft-tui", "--help"]
from finetune_tui.cli import main
try:
    main()
except SystemExit:
    pass
"""
    assert not loaded_after(code) & (TRAINING_STACK | {"textual", "pydantic", "pynvml", "psutil"})


@pytest.mark.parametrize(
    ("before", "later"),
    [
        ("finetune_tui.warm_link", "finetune_core.plan.prepare"),
        ("finetune_core.runs.watch.supervise_waiting", "finetune_core.runs.watch.supervise"),
        ("finetune_core.runs.watch.supervise_waiting", "pydantic"),
    ],
)
def test_a_trainer_that_will_wait_is_started_before_what_the_launch_needs_is_imported(before: str, later: str) -> None:
    code = f"import {before}, sys; print({later!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
