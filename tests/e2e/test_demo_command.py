"""The README's demo command, as a newcomer runs it without a terminal; its result is used from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import FT_TUI

# What a user would write in a notebook: nothing of ft-tui in it.
_OUTSIDE = """
import json, sys
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
base, adapter = sys.argv[1:]
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
tokenizer = AutoTokenizer.from_pretrained(adapter)
chat = [{"role": "user", "content": "What is the capital of France?"}]
ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
answer = model.generate(**ids, max_new_tokens=40, do_sample=False)[0, ids["input_ids"].shape[1]:]
print(json.dumps(tokenizer.decode(answer, skip_special_tokens=True)))
"""


@pytest.mark.parametrize("options", [[], ["--qlora"]], ids=["lora", "nf4"])
def test_the_demo_teaches_json_and_keeps_the_facts(
    options: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    command = [FT_TUI, "demo", "--plain", "--json", *options]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert set(result) >= {"run", "directory", "seconds", "base", "tuned", "loss"}
    assert result["base"]["valid_json"] <= 0.02
    assert result["base"]["right_fact"] >= 0.95
    assert result["tuned"]["valid_json"] >= 0.98
    assert result["tuned"]["right_fact"] >= 0.95
    assert result["loss"]["last"] < result["loss"]["first"]
    if not options:
        assert _asked_from_outside(Path(result["directory"])).keys() == {"answer", "topic"}


def _asked_from_outside(run: Path) -> dict[str, str]:
    base = json.loads((run / "result" / "adapter_config.json").read_text())["base_model_name_or_path"]
    command = [sys.executable, "-c", _OUTSIDE, base, str(run / "result")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, str] = json.loads(json.loads(done.stdout.splitlines()[-1]))
    return answer
