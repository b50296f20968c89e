"""Strings of a recipe are only ever strings: nothing is executed or written outside, every refusal is in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from finetune_core.errors import FtError
from finetune_core.plan.prepare import prepare
from finetune_core.recipe.check import from_text, with_values
from finetune_core.recipe.schema import GUIDES, Recipe
from finetune_core.recipe.yaml_io import dump, load, parse
from finetune_core.runs.start.launch import environment
from finetune_core.runs.upkeep.lifecycle import create
from finetune_tui.cli import cli

ATTACKS = {
    "shell": "; touch X",
    "substitution": "$(touch X)`touch X`",
    "newline": "a\ntouch X\n",
    "option": "--output=X",
    "parents": "../../X",
    "escape": "\x1b]52;c;WA==\x07",
    "nul": "X\0Y",
    "yaml": "!!python/object/apply:os.system ['touch X']",
    "long": "x" * 1_000_000,
}
_TEXTS = [path for path, guide in GUIDES.items() if guide.kind == "text"]
_LISTS = ["samples.prompts", "hardware.gpus", "adapter.target_modules"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "a" / "b" / "here"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def made(tmp_path: Path, home: Path) -> set[Path]:
    """Everything there is outside the program's own folder."""
    return {path for path in tmp_path.rglob("*") if not path.is_relative_to(home)}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_no_string_of_a_recipe_does_anything(attack: str, tmp_path: Path, home: Path) -> None:
    before = made(tmp_path, home)
    refused: dict[str, FtError] = {}
    fields: dict[str, object] = {**dict.fromkeys(_TEXTS, attack), **{name: [attack] for name in _LISTS}}
    fields |= {"data.mapping": {attack: attack}, "data.mix": {attack: 0.1}}
    for path, value in fields.items():
        try:
            recipe = with_values(Recipe(), {path: value})
            assert parse(dump(recipe), "r").get(path) == value
            variables = environment(recipe, {})
            assert all(attack not in name for name in variables)
            prepare(recipe)
            run = create(recipe, {})
        except FtError as error:
            refused[path] = error
            continue
        assert run.path.parent == home / "runs"
        assert load(run.recipe_file).get(path) == value
    assert {"model.source", "data.source", "data.held_out"} <= set(refused)
    said = [found for error in refused.values() for found in error.problems]
    assert all(found.what and found.where and found.why and found.remedy for found in said)
    assert all(len(str(error)) < 20_000 for error in refused.values())
    assert made(tmp_path, home) == before


@pytest.mark.parametrize("attack", [text for text in ATTACKS.values() if "\0" not in text and len(text) < 1000])
def test_no_word_of_the_command_line_does_anything(attack: str, tmp_path: Path, home: Path) -> None:
    before = made(tmp_path, home)
    for words in (
        ["status", attack], ["logs", attack], ["stop", attack], ["resume", attack], ["train", attack],
        ["data", "check", attack], ["recipe", "show", attack],
        ["plan", "--set", f"model.source={attack}", "--set", f"data.source={attack}"],
    ):  # fmt: skip
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 2, (words, done.output)
        assert "Traceback" not in done.output
        assert "\x1b" not in done.output
        assert "\x07" not in done.output
    assert made(tmp_path, home) == before


def test_names_of_files_are_only_names(here: Path, home: Path) -> None:
    names = ("; touch X", "$(touch X)", "`touch X`", "-rf", "a\nb", "é\udcff")
    for name in names:
        path = here / f"{name}.jsonl"
        path.write_bytes(b'{"prompt": "a", "completion": "b"}\n' * 40)
        prepared = prepare(with_values(Recipe(), {"data.source": str(path), "training.max_steps": 1}))
        run = create(prepared.recipe, {})
        assert load(run.recipe_file).data.source == str(path)
    assert not [path for path in here.iterdir() if path.name == "X"]
    assert len(list((home / "runs").iterdir())) == len(names)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 5000, "nested too deeply"),
        ("[&a [x], *a, *a]", "aliases"),
        ("[" + "x," * 40_000 + "]", "characters"),
        ("[" + "x," * 20_000 + "]", "too many parts"),
        ("9" * 5000, "thousands of digits"),
        ("0x" + "f" * 9000, "thousands of digits"),
        ("!!python/object/apply:os.system ['touch X']", "tags"),
    ],
)
def test_what_is_typed_for_a_field_has_the_caps_of_a_file(text: str, words: str) -> None:
    with pytest.raises(FtError, match=words) as caught:
        with_values(Recipe(), {"samples.prompts": from_text("samples.prompts", text)})
    assert caught.value.problems[0].where == "samples.prompts"
