from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_core.errors import FtError
from finetune_core.recipe import yaml_io
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import GUIDES, Recipe

printable = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)


def problems(text: str) -> list[str]:
    with pytest.raises(FtError) as caught:
        yaml_io.parse(text, "r.yaml")
    return [f"{found.where} {found.what} {found.why} {found.remedy}" for found in caught.value.problems]


@given(prompts=st.lists(printable, max_size=4), rate=st.floats(1e-12, 1), name=st.none() | printable, reason=printable)
def test_what_is_written_reads_back_equal(prompts: list[str], rate: float, name: str | None, reason: str) -> None:
    values = {
        "samples.prompts": prompts,
        "training.learning_rate": rate,
        "output.name": None if name == "auto" else name,
    }
    recipe = with_values(Recipe(), values).model_copy(update={"reasons": {"training.epochs": reason}})
    for comments in (True, False):
        assert yaml_io.parse(yaml_io.dump(recipe, comments=comments), "r") == recipe


_LOOKS_LIKE_SOMETHING_ELSE = (
    ".5", "._5", ".5e3", ".inf", ".Inf", "-.inf", ".NaN", "-", "--", "~", "~/rows", "./rows", "0x1f", "0o17", "1_000",
    "on", "No", "y", "2024-01-01", "=", "<<", "null", "Null", "1e5", "+1", "_", "_1", ".", "..", "...", "---", "a: b",
    "# a", "a #b", "'a'", "!a", "&a", "*a", "@a", "%a", "?", "? a", ":", "[", "{", "|", ">", "", " ", "a\nb", "\t",
)  # fmt: skip
any_text = (
    st.sampled_from(_LOOKS_LIKE_SOMETHING_ELSE)
    | st.text("-+._~0123456789eExXoOinfNaAyYT:/ ", max_size=8)
    | st.text(st.characters(exclude_categories=["Cc"]) | st.sampled_from("\n\t\x7f\x85"), max_size=30)
)
_TEXT_FIELDS = [path for path, guide in GUIDES.items() if guide.kind == "text"]


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(any_text, min_size=len(_TEXT_FIELDS), max_size=len(_TEXT_FIELDS)),
    lists=st.lists(any_text, max_size=3),
    mapping=st.dictionaries(any_text, any_text, max_size=3),
    mix=st.dictionaries(any_text, st.floats(1e-9, 0.3), max_size=2),
)
def test_text_stays_text_whatever_else_yaml_could_take_it_for(
    texts: list[str], lists: list[str], mapping: dict[str, str], mix: dict[str, float]
) -> None:
    values = {path: None if text == "auto" else text for path, text in zip(_TEXT_FIELDS, texts, strict=True)}
    values["model.source"], values["data.source"] = (texts[0], texts[-1])
    more = {"samples.prompts": lists, "hardware.gpus": lists, "data.mapping": mapping, "data.mix": mix}
    recipe = with_values(Recipe(), {**values, **more})
    recipe = recipe.model_copy(update={"reasons": dict(mapping)})
    assert yaml_io.parse(yaml_io.dump(recipe), "r") == recipe


def test_a_file_name_that_is_not_utf8_reads_back() -> None:
    recipe = with_values(Recipe(), {"data.mix": {"/rows/\udce4.jsonl": 0.25}, "data.source": "/\udcff.jsonl"})
    assert yaml_io.parse(yaml_io.dump(recipe), "r") == recipe


def test_the_longest_path_and_a_long_column_name_read_back_as_keys() -> None:
    recipe = with_values(Recipe(), {"data.mix": {"/" + "x" * 4095: 0.1}, "data.mapping": {"c" * 3000: "input"}})
    recipe = recipe.model_copy(update={"reasons": {"r" * 2000: "why"}})
    assert yaml_io.parse(yaml_io.dump(recipe), "r") == recipe


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_gives_a_recipe_or_named_problems(text: str) -> None:
    try:
        recipe = yaml_io.parse(text, "r")
    except FtError as error:
        named = [found for found in error.problems if found.where.startswith("r") and found.remedy]
    else:
        named = [recipe]
    assert named


def test_numbers_may_be_written_in_scientific_form() -> None:
    assert yaml_io.parse("training:\n  learning_rate: 2e-4\n", "r").training.learning_rate == 2e-4


def test_every_mistake_is_reported_at_once_with_its_line_and_the_nearest_name() -> None:
    found = problems("training:\n  learnig_rate: 3\n  rank: 4\nadapter:\n  rank: 0\ndata: 5\n")
    assert [line.split()[0] for line in found] == ["r.yaml:2", "r.yaml:3", "r.yaml:5", "r.yaml:6"]
    assert "did you mean `training.learning_rate`" in found[0]
    assert "did you mean `adapter.rank`" in found[1]
    assert "≥ 1 and ≤ 1,024" in found[2]


def test_text_is_not_taken_for_a_number() -> None:
    assert "`adapter.rank` cannot be 'sixteen'" in problems("adapter:\n  rank: sixteen\n")[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &x [1]\nb: *x\n", "aliases"),
        ("a: &x [1]\n", "aliases"),
        ("adapter: {rank: " + "9" * 5000 + "}", "thousands of digits"),
        ("adapter: {rank: 0x" + "f" * 9000 + "}", "thousands of digits"),
        ("reasons: {" + ", ".join(f"k{n}: v" for n in range(9000)) + "}", "too many parts"),
        ('output: {name: "a\\0b"}', "control characters"),
        ("a: [", "not valid YAML"),
        ("a: 1\na: 2\n", "duplicate"),
        ("a: " + "[" * 40 + "]" * 40, "nested too deeply"),
        ("x: " + "y" * 300_000, "too large"),
        ("- 1\n- 2\n", "the recipe is a list"),
        ("hello", "the recipe is only `hello`"),
        ("1: 2", "unknown key `1`"),
        ("true: 2", "unknown key"),
        ('"a\\ud800b": 2', "not whole"),
        ('data:\n  "a\\ud800b": 2', "not whole"),
        ("2001-01-01: 2", "unknown key"),
        ("data:\n  true: x", "unknown key"),
        ("model:\n  source: !!bool x", "tags (!name) are not allowed"),
        ("model: !!set {source}", "tags (!name) are not allowed"),
    ],
)
def test_tricks_of_yaml_are_refused(text: str, says: str) -> None:
    assert says in " ".join(problems(text))


def test_a_written_recipe_explains_every_field_and_gives_reasons() -> None:
    recipe = with_values(Recipe(), {"training.epochs": 3}).model_copy(
        update={"reasons": {"training.epochs": "400 rows\nare few"}}
    )
    text = yaml_io.dump(recipe)
    assert all(guide.help in text for guide in GUIDES.values())
    assert "epochs: 3.0  # because 400 rows are few" in text


def test_a_saved_recipe_is_private_and_loads(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    yaml_io.save(Recipe(), path)
    assert yaml_io.load(path) == Recipe()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_missing_or_binary_recipe_is_an_error_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.yaml", "binary.yaml"):
        with pytest.raises(FtError, match=name):
            yaml_io.load(tmp_path / name)
