"""Everybody who looks at rows sees the same ones: trainer, plan, checks, tokeniser, wizard."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from finetune_core.data.assemble import read_source
from finetune_core.data.checks.check import check, converted_rows, usable_rows
from finetune_core.data.shapes.recognise import Choice
from finetune_core.data.tokens.client import TokenWorker
from finetune_core.data.usable import usable
from finetune_core.demo import model_dir
from finetune_core.errors import FtError, Problem
from finetune_core.plan.rows import count_rows
from finetune_core.recipe.schema import Data, Recipe
from finetune_tui.wizard.row_facts import open_source


def written(folder: Path, *rows: object) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return str(path)


def recipe(source: str) -> Recipe:
    return Recipe(data=replace_data(source))


def replace_data(source: str) -> Data:
    return Data(source=source, held_out_share=0.0)


MIXED = (
    {"prompt": "What is 1?", "completion": "One."},
    {"prompt": "What is 2?", "completion": ""},
    "{broken\n",
    {"prompt": "What is 4?", "completion": "Four."},
    {"prompt": None, "completion": "Five."},
    {"prompt": "What is 6?", "completion": "Six."},
)
PREFERENCE = ({"prompt": "Hi", "chosen": "Hello.", "rejected": "Go away."},)


def test_the_same_rows_are_usable_for_everybody(tmp_path: Path) -> None:
    source = written(tmp_path, *MIXED)
    seen = dict(usable(source).trained())
    good = [number for number, row in seen.items() if not isinstance(row, Problem)]
    assert good == [1, 4, 6]
    read = read_source(source, Choice())
    assert [row.number for row in read.used] == good
    assert sorted(number for number, _ in read.left_out) == [2, 3, 5]
    assert [row.number for row in usable_rows(source)[0]] == good
    assert check(source, processes=1).usable == len(good)
    assert [row.number for row in converted_rows(source, set(good))] == good
    assert count_rows(recipe(source))[0].rows == len(good)
    worker = TokenWorker(model_dir())
    try:
        lengths = worker.lengths(source, lambda *_: None, lambda: False, choice=Choice())
    finally:
        worker.close()
    assert lengths.rows == len(seen)
    assert lengths.left_out == len(seen) - len(good)
    assert open_source(source, Choice(), 5).problems == ()


def test_rows_that_are_not_trained_on_are_refused_by_everybody_with_the_same_words(tmp_path: Path) -> None:
    source = written(tmp_path, *PREFERENCE)
    worker = TokenWorker(model_dir())
    said: list[Problem] = []
    try:
        for look in (
            lambda: usable(source),
            lambda: read_source(source, Choice()),
            lambda: converted_rows(source, {1}),
            lambda: count_rows(recipe(source)),
            lambda: worker.lengths(source, lambda *_: None, lambda: False, choice=Choice()),
        ):
            with pytest.raises(FtError) as refused:
                look()
            said += refused.value.problems
    finally:
        worker.close()
    shown = check(source, processes=1).not_offered
    assert shown is not None
    said += [shown, *open_source(source, Choice(), 5).problems]
    assert len(said) == 7
    assert {replace(one, field=None) for one in said} == {replace(shown, field=None)}


def test_a_shape_follows_from_the_same_first_rows_for_everybody(tmp_path: Path) -> None:
    """Rows far behind say something else: whoever looked further took them for another shape."""
    many = [{"text": f"Row {place}."} for place in range(1000)]
    source = written(tmp_path, *many, *({"prompt": f"What is {place}?", "completion": "So."} for place in range(900)))
    shape = usable(source).shape
    opened = open_source(source, Choice(), 5)
    assert opened.shape is not None
    assert shape.name == opened.shape.name == "text"
    facts = count_rows(recipe(source))[0]
    assert facts.method == "cpt"
    assert read_source(source, Choice()).used[0].number == 1
    assert len(read_source(source, Choice()).used) == facts.rows == 1000
