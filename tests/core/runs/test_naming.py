from __future__ import annotations

import re
from pathlib import Path

import pytest

from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir, find_run
from finetune_core.runs.naming import differences
from finetune_core.runs.status import read_status
from finetune_core.runs.upkeep.lifecycle import create
from finetune_core.runs.view.summary import summarise


def made(reasons: tuple[str, ...] = (), **values: object) -> RunDir:
    """A run of one model and one file with these values; the fields of `reasons` were chosen automatically."""
    paths = {path.replace("__", "."): value for path, value in values.items()}
    usual = {"model.source": "owner/smollm", "data.source": "/d/capitals.jsonl", "adapter.rank": 16}
    recipe = with_values(Recipe(), {**usual, **paths})
    return create(recipe.model_copy(update={"reasons": dict.fromkeys(reasons, "why")}), {})


def title(run: RunDir) -> str:
    return summarise(run).title


def test_runs_of_one_model_and_data_are_told_apart_by_what_was_set_otherwise() -> None:
    assert title(made()) == "smollm-capitals"
    assert title(made(adapter__rank=32, training__learning_rate=1e-4)) == "smollm-capitals r=32 lr=1e-4"
    # Said is what differs from the nearest earlier run, whichever is the newest.
    assert title(made(training__epochs=2.0)) == "smollm-capitals epochs=2"
    assert title(made(adapter__rank=32, training__learning_rate=1e-4, quantization__method="nf4")) == (
        "smollm-capitals nf4"
    )
    assert title(made(model__source="owner/other")) == "other-capitals", "another model is another name"


def test_a_run_like_an_earlier_one_is_a_copy_of_it() -> None:
    made()
    made(adapter__rank=32)
    runs = [made(), made(), made(adapter__rank=32)]
    assert [title(run) for run in runs] == [
        "copy of smollm-capitals", "copy 2 of smollm-capitals", "copy of smollm-capitals r=32",
    ]  # fmt: skip
    assert [run.name[16:] for run in runs] == [
        "smollm-capitals-copy",
        "smollm-capitals-copy-2",
        "smollm-capitals-r32-copy",
    ]


def test_what_differs_is_in_the_name_of_the_directory_by_which_it_is_found() -> None:
    made()
    run = made(adapter__rank=32, training__learning_rate=1e-4)
    assert re.fullmatch(r"\d{8}-\d{6}-smollm-capitals-r32-lr1e-4", run.name)
    assert find_run("smollm-capitals-r32") == run


def test_a_long_name_keeps_room_for_what_differs() -> None:
    name = "a very long name that somebody gave to all of the runs of an evening"
    first, second = made(output__name=name), made(output__name=name, adapter__rank=64)
    assert first.name[16:] == "a-very-long-name-that-somebody-gave-to-a"
    assert second.name.endswith("-r64")
    assert len(second.name) <= 70


def test_what_was_chosen_automatically_in_both_is_no_difference() -> None:
    fields = ("training.micro_batch", "adapter.rank")
    made(fields, training__micro_batch=4)
    assert title(made(fields, training__micro_batch=1)) == "copy of smollm-capitals"
    assert title(made(("training.micro_batch",), training__micro_batch=4, adapter__rank=8)) == "smollm-capitals r=8"


@pytest.mark.parametrize(
    ("values", "others", "said"),
    [
        ({"adapter.kind": "none"}, {}, ["full"]),
        ({"data.source": "a/train.jsonl"}, {"data.source": "b/train.jsonl"}, ["data=a/train.jsonl"]),
        ({"data.source": "a/x.jsonl"}, {"data.source": "a/y.jsonl"}, ["data=x.jsonl"]),
        ({"data.mapping": {"prompt": "q"}}, {}, ["other-mapping"]),
        ({}, {"data.mapping": {"prompt": "q"}, "data.only": "x"}, ["no-mapping", "no-only"]),
        ({"training.seed": 7, "samples.count": 2, "saving.keep": 9}, {}, ["seed=7"]),
        ({}, {"training.epochs": 3.0, "quantization.method": "nf4"}, ["quantization=auto", "epochs=auto"]),
        ({"training.max_steps": 1}, {"training.epochs": 3.0, "adapter.rank": 16}, ["steps=1"]),
    ],
)
def test_each_kind_of_setting_is_said_in_a_word(
    values: dict[str, object], others: dict[str, object], said: list[str]
) -> None:
    assert differences(with_values(Recipe(), values), with_values(Recipe(), others)) == said


def test_earlier_runs_keep_their_names_and_damaged_ones_are_passed_over(home: Path) -> None:
    run = made()
    status = read_status(run)
    assert status is not None
    run.status_file.write_text(status.model_dump_json(exclude={"title", "apart"}))
    assert title(run) == "smollm-capitals", "a run without a title is called by its directory"
    run.recipe_file.write_text("model: [")
    assert title(made()) == "smollm-capitals"
    (home / "runs" / "20260101-000000-smollm-capitals").mkdir()
    (home / "runs" / "20260101-000000-smollm-capitals" / "recipe.yaml").mkdir()
    assert title(made(adapter__rank=8)) == "smollm-capitals r=8"
