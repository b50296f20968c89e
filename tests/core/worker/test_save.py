"""What is saved depends on what was trained alone, not on the process that saved it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_core.worker.model.save import save_weights

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
TARGETS = ["v_proj", "q_proj", "down_proj", "k_proj"]


class Ordered(set[str]):
    """A set as another process would walk through it: in the order given."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self.names = names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)


def saved(model: Path, folder: Path, names: list[str]) -> dict[str, bytes]:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(str(model))
    tuned = get_peft_model(base, LoraConfig(r=2, target_modules=TARGETS, exclude_modules=["lm_head", "embed"]))
    config = tuned.peft_config["default"]
    config.target_modules = Ordered(names)
    config.exclude_modules = Ordered(sorted(config.exclude_modules, reverse=names != sorted(names)))
    save_weights(tuned, folder, None)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_two_processes_that_walk_through_sets_otherwise_save_equal_bytes(model: Path, tmp_path: Path) -> None:
    one = saved(model, tmp_path / "one", sorted(TARGETS))
    other = saved(model, tmp_path / "other", sorted(TARGETS, reverse=True))
    assert one == other
    written = json.loads(one["adapter_config.json"])
    assert written["target_modules"] == sorted(TARGETS)
    assert written["exclude_modules"] == ["embed", "lm_head"]
