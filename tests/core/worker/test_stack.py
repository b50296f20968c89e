"""The training stack comes without torch's compiler, and functions marked for it compute what they did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from finetune_core.worker.stack import _compiled_at_first_call

_ASKED = """
import gc, sys
from finetune_core.worker.stack import import_stack
import_stack()
print(gc.get_freeze_count() > 100_000, gc.isenabled())
print("torch._inductor.compile_fx" in sys.modules, "finetune_core.worker.training.job" in sys.modules)
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
weights = torch.linspace(-1, 1, 4096).reshape(64, 64)
packed, state = quantize_4bit(weights, quant_type="nf4")
print((dequantize_4bit(packed, state) - weights).abs().max().item() < 0.2)
"""


def test_the_stack_is_imported_without_the_compiler_kept_from_the_search_for_garbage_and_quantises() -> None:
    done = subprocess.run([sys.executable, "-c", _ASKED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "False", "True", "True"]


_STRUCTURE = """
import importlib, json, sys
from contextlib import nullcontext
from finetune_core.worker.quick_imports import quick_imports
with quick_imports() if sys.argv[1] == "quick" else nullcontext():
    import transformers
    from transformers import models
from transformers.utils import import_utils
found = [sorted(module._class_to_module.items()) for module in (transformers, models)]
print(json.dumps([import_utils.define_import_structure.__name__, found]))
"""


def exported(how: str) -> tuple[str, object]:
    done = subprocess.run([sys.executable, "-c", _STRUCTURE, how], capture_output=True, text=True, check=True)
    name, found = json.loads(done.stdout)
    return str(name), found


def test_names_of_transformers_are_the_same_where_they_are_kept_as_where_it_reads_them(home: Path) -> None:
    name, usual = exported("usual")
    assert name == "define_import_structure"
    first, kept = exported("quick"), exported("quick")
    assert first == kept == ("quick", usual)
    (file,) = (home / "cache" / "transformers").iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    assert exported("quick") == ("quick", usual), "a damaged file is not believed"


_PACKAGES = """
import importlib.metadata as metadata, json, sys
from finetune_core.worker.quick_imports import quick_imports
usual = metadata.packages_distributions()
with quick_imports():
    print(json.dumps([usual, metadata.packages_distributions()]))
"""


def test_packages_of_distributions_are_asked_for_again_once_something_is_installed(home: Path, tmp_path: Path) -> None:
    def listed() -> list[dict[str, list[str]]]:
        variables = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", _PACKAGES], capture_output=True, text=True, check=True, env=variables
        )
        return list(json.loads(done.stdout))

    usual, kept = listed()
    assert usual == kept
    assert len([*(home / "cache" / "packages").iterdir()]) == 1
    assert listed() == [usual, kept]
    new = tmp_path / "new_one-1.dist-info"
    new.mkdir()
    (new / "METADATA").write_text("Metadata-Version: 2.1\nName: new-one\nVersion: 1\n")
    (new / "top_level.txt").write_text("new_one\n")
    usual, kept = listed()
    assert kept["new_one"] == ["new-one"]
    assert usual == kept


def test_a_marked_function_is_compiled_at_its_first_call_with_its_settings() -> None:
    compiled: list[tuple[str, object]] = []

    def compiling(function: object, **settings: object) -> object:
        compiled.append((function.__name__, settings))  # type: ignore[attr-defined]
        return function

    kept, torch.compile = torch.compile, compiling  # type: ignore[assignment]
    try:
        with _compiled_at_first_call():

            @torch.compile(dynamic=False)
            def doubled(number: int) -> int:
                return 2 * number

            tripled = torch.compile(lambda number: 3 * number)
        assert torch.compile is compiling  # type: ignore[comparison-overlap]
        assert compiled == []
        assert (doubled(2), doubled(3), tripled(4)) == (4, 6, 12)
        assert compiled == [("doubled", {"dynamic": False}), ("<lambda>", {})]
    finally:
        torch.compile = kept
