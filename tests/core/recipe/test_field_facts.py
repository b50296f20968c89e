"""What is to be known of a field stands where it is defined, and everything takes it from there."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import finetune_core
import finetune_tui
from finetune_core.recipe.schema import GUIDES, Recipe

CORE, TUI = (Path(str(package.__file__)).parent for package in (finetune_core, finetune_tui))
NEW = """    max_steps: int | None = setting("""
ADDED = """    shiny: float = setting(0.5, "A field that was just added.", unit="sparks", ge=0, le=2, shapes_step=True)
    max_steps: int | None = setting("""
# Finds the field in every place that lists or compares fields.
SEARCH = """
from pathlib import Path
from finetune_core.plan.memory import traced
from finetune_core.recipe import yaml_io
from finetune_core.recipe.check import parse_assignments, with_values
from finetune_core.recipe.schema import GUIDES, Recipe

path = "training.shiny"
changed = with_values(Recipe(), parse_assignments((path + "=1.5",)))
assert changed.get(path) == 1.5
text = yaml_io.dump(changed)
assert "# A field that was just added. [≥ 0 and ≤ 2; sparks]" in text and "shiny: 1.5" in text
assert yaml_io.parse(text, "r") == changed
assert path in [guide.path for guide in GUIDES.values() if guide.kind == "number"]
folder = Path("model"); folder.mkdir(); (folder / "config.json").write_text("{}")
assert traced._key(folder, changed, "cpu") != traced._key(folder, Recipe(), "cpu")
from finetune_core.worker.checkpoints import provenance
assert provenance._trained_by(changed)[path] == 1.5
try:
    with_values(Recipe(), {path: 3.0})
except Exception as error:
    assert path in str(error)
else:
    raise AssertionError("out of range")
"""


def test_a_field_that_is_added_in_one_place_is_found_everywhere(tmp_path: Path) -> None:
    for package in (CORE, TUI):
        shutil.copytree(package, tmp_path / package.name, ignore=shutil.ignore_patterns("__pycache__", "model"))
    schema = tmp_path / CORE.name / "recipe" / "schema.py"
    text = schema.read_text()
    assert NEW in text
    schema.write_text(text.replace(NEW, ADDED, 1))
    done = subprocess.run(
        [sys.executable, "-c", SEARCH],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def read_paths() -> set[str]:
    """Each `section.field` that a source file reads: as attributes, or as a path in a text."""
    found: set[str] = set()
    for file in (file for package in (CORE, TUI) for file in package.rglob("*.py")):
        if file.name != "schema.py" and "demo" not in file.parts:
            found |= read_in(ast.parse(file.read_text()))
    return found


def read_in(tree: ast.AST) -> set[str]:
    sections = {path.partition(".")[0] for path in GUIDES}
    nodes = list(ast.walk(tree))
    names = {section: {section} for section in sections}
    # `self._settings = recipe.samples`, then `settings = self._settings`.
    for node in [node for node in nodes if isinstance(node, ast.Assign)] * 2:
        for section in sections:
            if name_of(node.value) in names[section]:
                names[section] |= set(map(name_of, node.targets))
    found = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for node in nodes:
        if isinstance(node, ast.Attribute):
            found |= {f"{section}.{node.attr}" for section in sections if name_of(node.value) in names[section]}
    return found


def name_of(node: ast.AST) -> str:
    return str(getattr(node, "attr", getattr(node, "id", "")))


def test_every_field_of_the_recipe_is_read_by_something() -> None:
    assert sorted(set(GUIDES) - read_paths()) == []


def test_fields_that_name_files_and_fields_that_may_change_say_so() -> None:
    assert {path for path, guide in GUIDES.items() if guide.names_file} == {
        "model.source", "model.chat_template", "data.source", "data.held_out", "data.mix",
    }  # fmt: skip
    free = {path for path, guide in GUIDES.items() if guide.may_change}
    assert {"training.activation_checkpointing", "output.name", "saving.keep", "samples.count"} <= free
    assert not free & {"training.learning_rate", "data.source", "adapter.rank", "model.source"}
    assert all(guide.default == Recipe().get(path) for path, guide in GUIDES.items())
