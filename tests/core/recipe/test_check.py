from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from finetune_core.errors import FtError
from finetune_core.recipe.check import check, from_text, parse_assignments, with_values
from finetune_core.recipe.schema import GUIDES, SECTIONS, Recipe
from finetune_core.recipe.yaml_io import dump, parse


def test_the_default_recipe_breaks_no_rule() -> None:
    assert check(Recipe()) == ()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"quantization.method": "nf4", "adapter.kind": "none"}, "adapter.kind"),
        ({"training.epochs": 1, "training.max_steps": 10}, "training.max_steps"),
        ({"adapter.target_modules": ["q_proj", "lm_head"]}, "adapter.target_modules"),
        ({"adapter.target_modules": []}, "adapter.target_modules"),
        ({"adapter.target_modules": "q_proj"}, "adapter.target_modules"),
        ({"hardware.device": "cpu", "hardware.gpus": ["0"]}, "hardware.gpus"),
        ({"data.held_out_share": 0.0}, "data.held_out_share"),
    ],
)
def test_fields_that_contradict_each_other_are_named(values: dict[str, object], field: str) -> None:
    assert [found.where for found in check(with_values(Recipe(), values))] == [field]


def test_a_change_reports_every_bad_value_at_once() -> None:
    with pytest.raises(FtError) as caught:
        with_values(Recipe(), {"adapter.rank": 0, "training.lr": 1, "foo": 1, "samples.prompts": [1]})
    assert {found.where for found in caught.value.problems} == {"adapter.rank", "training.lr", "foo", "samples.prompts"}


def test_changing_a_field_drops_the_reason_of_the_automatic_value() -> None:
    recipe = Recipe(reasons={"training.epochs": "few rows", "adapter.rank": "usual"})
    assert with_values(recipe, {"training.epochs": 2}).reasons == {"adapter.rank": "usual"}


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("training.learning_rate", " 2e-4 ", 2e-4),
        ("training.learning_rate", "auto", None),
        ("training.learning_rate", "", None),
        ("adapter.rank", "", None),
        ("quantization.double", "false", False),
        ("adapter.target_modules", "[q_proj, v_proj]", ["q_proj", "v_proj"]),
        ("model.source", "0123", "0123"),
        ("quantization.method", "nf4", "nf4"),
    ],
)
def test_typed_text_becomes_the_field_s_value(path: str, text: str, value: object) -> None:
    assert from_text(path, text) == value


def test_assignments_report_every_mistake_and_keep_equal_signs_in_values() -> None:
    assert parse_assignments(("output.name=a=b",)) == {"output.name": "a=b"}
    with pytest.raises(FtError) as caught:
        parse_assignments(("nonsense", "training.lr=3", "samples.prompts=["))
    assert [found.where for found in caught.value.problems] == ["--set", "training.lr", "samples.prompts"]


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("reasons={}", "`reasons={}` cannot be set"),
        ("version=1", "`version=1` cannot be set"),
        ("model=demo", "`model=demo` sets no field"),
        ("modl.source=demo", "did you mean `model.source`?"),
        ("=3", "unknown key in `=3`"),
    ],
)
def test_an_assignment_to_no_field_is_told_in_the_words_that_were_typed(assignment: str, says: str) -> None:
    with pytest.raises(FtError, match=re.escape(says)) as caught:
        parse_assignments((assignment,))
    assert "None" not in str(caught.value)


@pytest.mark.parametrize("word", ["none", "null", ""])
def test_one_word_empties_every_field_that_may_be_empty_on_the_command_line_and_in_a_form(word: str) -> None:
    fields = [path for path, guide in GUIDES.items() if guide.optional]
    assert {"model.revision", "data.held_out", "training.max_steps", "evaluation.patience"} <= set(fields)
    assert set(parse_assignments(tuple(f"{path}={word}" for path in fields)).values()) == {None}
    assert {from_text(path, word) for path in fields} == {None}


def test_the_word_for_empty_is_a_value_where_nothing_may_be_empty() -> None:
    assert parse_assignments(("model.source=none", "quantization.method=none")) == {
        "model.source": "none", "quantization.method": "none",
    }  # fmt: skip
    assert parse_assignments(("data.held_out=./none",)) == {"data.held_out": "./none"}


@pytest.mark.parametrize("word", ["none", "null", "~", ""])
def test_a_recipe_file_empties_a_field_by_the_word_it_is_shown_with(word: str) -> None:
    text = f"data:\n  held_out: {word}\n  min_characters: {word}\ntraining:\n  max_steps: {word}\n"
    read = parse(text, "r")
    assert (read.data.held_out, read.data.min_characters, read.training.max_steps) == (None, None, None)
    written = dump(read, comments=False)
    assert "held_out: none" in written
    assert "null" not in written
    assert parse(written, "r") == read


def test_a_gpu_may_be_named_by_its_index() -> None:
    assert with_values(Recipe(), parse_assignments(("hardware.gpus=[0, 11]",))).hardware.gpus == ["0", "11"]
    assert parse("hardware:\n  gpus: [0]\n", "r").hardware.gpus == ["0"]
    with pytest.raises(FtError, match=r"hardware\.gpus"):
        parse("hardware:\n  gpus: [true]\n", "r")


def test_every_field_is_documented_where_it_is_defined() -> None:
    assert len(GUIDES) == sum(len(kind.model_fields) for kind in SECTIONS.values())
    for guide in GUIDES.values():
        assert guide.help.endswith(".")
        assert len(guide.help) < 130
        assert Recipe().get(guide.path) == guide.default


_NUMBERS = r"-?[0-9]{1,19}(\.[0-9]{0,18})?(e[-+]?[0-9]{1,3})?|0[xob][0-9]+|[1-9]e-[0-9]|[0-9_.:-]{1,8}"


@settings(max_examples=300, deadline=None)
@given(
    st.from_regex(
        r"-?[0-9]{1,19}(\.[0-9]{0,18})?(e[-+]?[0-9]{1,3})?|0[xob][0-9]+|[1-9]e-[0-9]|[0-9_.:-]{1,8}", fullmatch=True
    )
)
def test_a_typed_number_is_what_yaml_reads(text: str) -> None:
    try:
        read = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError):
        with pytest.raises(FtError):
            from_text("training.learning_rate", text)
        return
    found = from_text("training.learning_rate", text)
    assert (type(found), repr(found)) == (type(read), repr(read))
