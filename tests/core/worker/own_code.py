"""A real tiny model that runs only with code of its own, which leaves a mark when it is imported."""

from __future__ import annotations

import json
from pathlib import Path

from tests.core.worker import tiny

CONFIGURATION = """from pathlib import Path

from transformers import LlamaConfig

Path({mark!r}).touch()


class MineConfig(LlamaConfig):
    model_type = "mine"
"""
MODELING = """from transformers import LlamaForCausalLM

from .configuration_mine import MineConfig


class MineForCausalLM(LlamaForCausalLM):
    config_class = MineConfig
"""
MAPS = {"AutoConfig": "configuration_mine.MineConfig", "AutoModelForCausalLM": "modeling_mine.MineForCausalLM"}


def make_own_code(folder: Path, mark: Path) -> Path:
    """The tiny model of `tiny`, of a type that transformers does not know."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny.make_model(folder)
    (folder / "configuration_mine.py").write_text(CONFIGURATION.format(mark=str(mark)))
    (folder / "modeling_mine.py").write_text(MODELING)
    return changed(folder, model_type="mine", architectures=["MineForCausalLM"], auto_map=MAPS)


def changed(folder: Path, name: str = "config.json", **values: object) -> Path:
    """The folder, with other values in one of its JSON files."""
    path = folder / name
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | values))
    return folder
