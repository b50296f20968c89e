"""Secrets of the environment reach the hub and nothing else: not a run's files, its log, a command's words or lines."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from finetune_core.recipe.yaml_io import save
from finetune_core.runs.directory import find_run
from finetune_core.runs.status import read_status
from tests.core.worker import tiny
from tests.core.worker.faults import answering
from tests.core.worker.model_hub import Hub
from tests.core.worker.test_download import environment

CANARIES = {
    "HF_TOKEN": "hf_CANARYcanaryCANARYcanary01",
    "OPENAI_API_KEY": "sk-CANARY-canary-0123456789abcdef",
    "WANDB_API_KEY": "c0ffee" * 6 + "cafe",
    "AWS_SECRET_ACCESS_KEY": "CANARY/canary+CANARY/canary+CANARY/canary",
    "MY_PASSWORD": "a canary of no form at all",
}
_COMMANDS = (["status", "--json"], ["logs"], ["runs", "--json"])


def hits(content: bytes) -> list[str]:
    return [name for name, value in CANARIES.items() if value.encode() in content]


def command_lines() -> Iterator[bytes]:
    """Those of every process there is."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield path.read_bytes()


def printed_by(words: list[str], variables: dict[str, str]) -> bytes:
    command = [sys.executable, "-m", "finetune_tui.cli", *words]
    done = subprocess.run(command, env=variables, capture_output=True, check=True)
    return done.stdout + done.stderr


def watched(words: list[str], variables: dict[str, str]) -> tuple[bytes, set[bytes]]:
    """All that a command prints, and the command lines that were seen while it ran."""
    process = subprocess.Popen(
        [sys.executable, "-m", "finetune_tui.cli", *words],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    seen: set[bytes] = set()
    while True:
        seen.update(command_lines())
        try:
            printed, _ = process.communicate(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
        return printed, seen


@pytest.mark.parametrize("fails", [False, True], ids=["success", "failure"])
def test_no_secret_is_left_anywhere(hub: Hub, tmp_path: Path, data: Path, home: Path, fails: bool) -> None:
    changes: dict[str, Any] = {"training__max_steps": 4, "training__epochs": None, "saving__every_steps": 2}
    changes |= {"samples__count": 1, "evaluation__questions": 0, "training__compile": False}
    save(tiny.make_recipe(Path("some/tiny"), data, **changes), tmp_path / "recipe.yaml")
    if fails:
        # A server that says aloud what it was given, as some do.
        said = f"Invalid credentials: {' '.join(CANARIES.values())}"
        hub.fault = answering(418, at="/resolve/", X_Error_Message=said)
    variables = {**os.environ, **environment(hub), **CANARIES, "HF_DEBUG": "1"}
    printed, seen = watched(["train", str(tmp_path / "recipe.yaml"), "--plain"], variables)
    run = find_run()
    status = read_status(run)
    assert status is not None
    assert status.state == ("failed" if fails else "done"), run.log_file.read_text()
    assert f"Bearer {CANARIES['HF_TOKEN']}" in hub.tokens
    assert any(b"finetune_core.worker.train" in line and str(run.path).encode() in line for line in seen)
    assert [line for line in seen if hits(line)] == []
    assert hits(printed) == []
    files = [path for path in home.rglob("*") if path.is_file()]
    assert run.log_file in files
    assert [(path, found) for path in files if (found := hits(path.read_bytes()))] == []
    assert [words for words in _COMMANDS if hits(printed_by(words, variables))] == []
    if fails:
        assert "[secret]" in run.log_file.read_text()
        assert "418" in str(status.cause)
