"""A method of training takes the rows it is for; the recipe leaves it to the rows, or names one that fits them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune_core.data.rows import CanonicalRow, Conversation, Message, Preference, Text
from finetune_core.errors import FtError
from finetune_core.methods import METHODS, method_of, refusal
from finetune_core.plan.advice.few_rows import verdict_warning
from finetune_core.plan.prepare import prepare
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import GUIDES, Recipe

ASKED, ANSWERED = Message("user", "2 + 2?"), Message("assistant", "4")
TALK = Conversation(1, (ASKED, ANSWERED))
PROSE = Text(1, "The sky is blue.")
PAIR = Preference(1, (ASKED,), (ANSWERED,), (Message("assistant", "5"),))


def rows_file(folder: Path, kind: str) -> Path:
    found = folder / f"{kind}.jsonl"
    texts = [f"Sentence number {number} is about the sea and its {number * number} islands." for number in range(40)]
    values = (
        [{"text": text} for text in texts]
        if kind == "text"
        else [{"prompt": f"Say it: {number}", "completion": text} for number, text in enumerate(texts)]
    )
    found.write_text("".join(json.dumps(value) + "\n" for value in values))
    return found


@pytest.mark.parametrize(("row", "name"), [(TALK, "sft"), (PROSE, "cpt"), (PAIR, None)])
def test_rows_say_which_method_trains_on_them(row: CanonicalRow, name: str | None) -> None:
    method = method_of(row)
    assert (method.name if method is not None else None) == name


@pytest.mark.parametrize(("name", "row"), [("auto", TALK), ("auto", PROSE), ("sft", TALK), ("cpt", PROSE)])
def test_a_method_that_fits_is_not_refused(name: str, row: CanonicalRow) -> None:
    assert refusal(name, row) is None


@pytest.mark.parametrize(("name", "row", "other"), [("sft", PROSE, "cpt"), ("cpt", TALK, "sft")])
def test_a_method_for_other_rows_is_refused_with_the_one_that_fits(name: str, row: CanonicalRow, other: str) -> None:
    found = refusal(name, row)
    assert found is not None
    assert other in found.remedy
    assert METHODS[name].rows in found.why


def test_the_recipe_offers_every_method_and_no_other() -> None:
    assert set(GUIDES["training.method"].choices) == {"auto", *METHODS}


@pytest.mark.parametrize(("kind", "method", "reason"), [
    ("text", "cpt", "the rows are raw text"),
    ("answers", "sft", "the rows are prompts with answers"),
])  # fmt: skip
def test_a_plan_takes_the_method_from_the_rows_with_the_reason(
    tmp_path: Path, kind: str, method: str, reason: str
) -> None:
    recipe = with_values(Recipe(), {"model.source": "demo", "data.source": str(rows_file(tmp_path, kind))})
    plan = prepare(recipe)
    assert plan.recipe.training.method == method
    assert plan.recipe.reasons["training.method"] == reason


def test_a_plan_refuses_a_method_for_other_rows_before_anything_starts(tmp_path: Path) -> None:
    values = {"model.source": "demo", "data.source": str(rows_file(tmp_path, "text")), "training.method": "sft"}
    with pytest.raises(FtError) as refused:
        prepare(with_values(Recipe(), values))
    assert [found.field for found in refused.value.problems] == ["training.method"]


def test_of_raw_text_every_held_out_row_counts_however_few_questions_are_asked() -> None:
    few = with_values(Recipe(), {"evaluation.questions": 3})
    assert verdict_warning(with_values(few, {"training.method": "sft"}), 200) is not None
    assert verdict_warning(with_values(few, {"training.method": "cpt"}), 200) is None


def test_a_field_that_the_method_has_no_use_for_is_a_warning_where_it_is_set_by_hand(tmp_path: Path) -> None:
    values = {"model.source": "demo", "data.source": str(rows_file(tmp_path, "text")), "evaluation.questions": 7}
    warned = prepare(with_values(Recipe(), values)).warnings
    found = [one for one in warned if one.field == "evaluation.questions"]
    assert [one.what for one in found] == ["evaluation.questions has no effect"]
    assert "the rows are raw text" in found[0].why
    talks = {**values, "data.source": str(rows_file(tmp_path, "talk"))}
    assert not any("no effect" in one.what for one in prepare(with_values(Recipe(), talks)).warnings)
    plain = {name: value for name, value in values.items() if name != "evaluation.questions"}
    assert not any("no effect" in one.what for one in prepare(with_values(Recipe(), plain)).warnings)


def test_every_method_that_a_field_names_is_there() -> None:
    named = {name for guide in GUIDES.values() for name in guide.methods}
    assert named
    assert named <= set(METHODS)
