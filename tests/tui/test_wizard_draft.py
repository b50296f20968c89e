from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_core.data.files.open import open_rows
from finetune_core.data.shapes.recognise import AUTOMATIC, recognise
from finetune_core.errors import Problem
from finetune_core.models.find import find
from finetune_core.paths import drafts_root
from finetune_core.plan.count import spread
from finetune_core.plan.prepare import prepare
from finetune_core.plan.rows import count_rows
from finetune_core.plan.situation import TokenCount
from finetune_core.recipe.check import from_text, with_values
from finetune_core.recipe.schema import GUIDES, Recipe
from finetune_tui.wizard.draft import (
    Draft,
    draft_of,
    drop_draft,
    newest_draft,
    number_text,
    read_draft,
    save_draft,
    text_of,
)
from finetune_tui.wizard.session import DATA, REVIEW, SETTINGS, SHOWN_APART, DataLook, Session, guides_of, step_of
from tests.fakes import machine


def test_what_cannot_be_read_is_kept_and_its_problem_stands_at_its_field() -> None:
    draft = Draft("a", {"adapter.rank": "sixteen", "training.learning_rate": "3e-4"})
    reading = read_draft(draft)
    assert list(reading.problems) == ["adapter.rank"]
    assert reading.recipe.adapter.rank is None
    assert reading.recipe.training.learning_rate == 3e-4
    assert draft.texts["adapter.rank"] == "sixteen"


def test_every_bad_field_has_its_problem_at_once() -> None:
    texts = {"adapter.rank": "0", "training.epochs": "[1", "samples.prompts": "nothing listed", "data.packing": "tight"}
    assert set(read_draft(Draft("a", texts)).problems) == set(texts)


def test_a_rule_between_fields_is_told_at_the_field_it_names() -> None:
    reading = read_draft(Draft("a", {"training.epochs": "2", "training.max_steps": "50"}))
    assert list(reading.problems) == ["training.max_steps"]


def test_clearing_a_field_or_typing_auto_gives_it_back_to_the_program() -> None:
    draft = Draft("a", {"training.epochs": "2"})
    assert draft.type("training.epochs", "")
    assert read_draft(draft).recipe.training.epochs is None
    draft.type("training.epochs", "auto")
    assert read_draft(draft).recipe == Recipe()


def test_typing_what_stands_there_already_changes_nothing() -> None:
    draft = Draft("a")
    assert not draft.type("adapter.rank", "")
    assert not draft.edited


def test_a_field_of_another_version_is_kept_and_does_no_harm() -> None:
    assert read_draft(Draft("a", {"adapter.future": "1"})).problems == {}


def test_a_recipe_becomes_a_draft_that_means_the_same() -> None:
    recipe = with_values(
        Recipe(),
        {
            "model.source": "owner/name",
            "adapter.rank": 8,
            "adapter.target_modules": ["q_proj", "v_proj"],
            "training.learning_rate": 2e-5,
            "training.activation_checkpointing": True,
            "quantization.double": False,
            "samples.prompts": ["What is it?", "yes: [no] # really", "a\nb"],
            "data.held_out": "/data/true",
            "output.name": "2024",
        },
    )
    assert read_draft(draft_of(recipe)).recipe == recipe


def test_what_was_automatic_in_a_run_is_automatic_in_its_clone() -> None:
    recipe = with_values(Recipe(), {"training.epochs": 3.0, "adapter.rank": 32})
    recipe = recipe.model_copy(update={"reasons": {"training.epochs": "few rows"}})
    assert set(draft_of(recipe).texts) == {"adapter.rank"}


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=1e-12, max_value=1))
def test_a_learning_rate_is_written_as_people_do_and_read_back(value: float) -> None:
    rounded = float(f"{value:.6g}")
    assert from_text("training.learning_rate", text_of(rounded)) == pytest.approx(rounded, rel=1e-9)


def test_small_numbers_are_written_short() -> None:
    assert [number_text(value) for value in (2e-4, 0.05, 1.5e-5, 16.0, 0.0)] == ["2e-4", "0.05", "1.5e-5", "16", "0"]


def test_a_draft_survives_in_its_file_with_step_and_bad_texts(home: Path) -> None:
    draft = Draft("one", {"adapter.rank": "sixteen \u202e"}, step=3, visited={0, 1, 3}, save_path="x.yaml")
    save_draft(draft)
    found = newest_draft()
    assert found is not None
    assert (found.texts, found.step, found.visited, found.save_path) == (draft.texts, 3, {0, 1, 3}, "x.yaml")
    assert draft.file.stat().st_mode & 0o777 == 0o600


def test_the_newest_good_draft_comes_back_and_damaged_ones_are_passed_over(home: Path) -> None:
    for age, name in enumerate(("new", "old")):
        save_draft(Draft(name, {"output.name": name}))
        os.utime(drafts_root() / f"{name}.json", (1e9 - age, 1e9 - age))
    for name, text in {"torn": '{"v": 1, "te', "list": "[]", "other": '{"v": 99}', "deep": "[" * 50_000}.items():
        (drafts_root() / f"{name}.json").write_text(text)
    found = newest_draft()
    assert found is not None
    assert found.texts == {"output.name": "new"}
    drop_draft(found)
    later = newest_draft()
    assert later is not None
    assert later.texts == {"output.name": "old"}


def test_every_field_of_the_recipe_has_exactly_one_place_in_the_wizard() -> None:
    shown = [
        guide.path for step in range(REVIEW) for level in ("first", "advanced") for guide in guides_of(step, level)
    ]
    assert sorted([*shown, *SHOWN_APART]) == sorted(GUIDES)
    assert {step_of(path) for path in GUIDES} == {0, 1, DATA, SETTINGS}


def test_a_problem_of_a_file_stands_at_the_field_that_names_the_file() -> None:
    session = Session(Draft("a", {"data.source": "/data/rows.jsonl", "model.source": "/models/mine"}))
    session.dry_run = tuple(
        Problem("wrong", where, "why", "remedy")
        for where in ("rows.jsonl:17", "/models/mine", "training.epochs", "/somewhere/else")
    )
    assert set(session.problems()) == {"data.source", "model.source", "training.epochs", "/somewhere/else"}
    assert session.problem_counts() == [0, 1, 1, 1, 1]


def test_lengths_of_a_sample_stand_for_all_training_rows() -> None:
    assert sorted(spread((10, 30, 20), 3)) == [10, 20, 30]
    assert sorted(spread((10, 20), 4)) == [10, 10, 20, 20]


def choose(draft: Draft, *files: str) -> list[str]:
    """Name these files one after the other; what is said after each."""
    said = []
    for file in files:
        draft.type("data.source", file)
        said.append(draft.switched.words() if draft.switched is not None else "")
    return said


def test_what_was_said_of_a_file_begins_afresh_with_another_and_comes_back_with_the_first() -> None:
    of_the_file = {
        "data.shape": "alpaca", "data.mapping": '{"output": "b"}', "data.fixes": '{"near-duplicate": "drop"}',
        "data.only": "refund", "data.held_out": "/d/test.csv", "data.template_gate": "override",
    }  # fmt: skip
    of_the_run = {"data.max_length": "512", "data.held_out_share": "0.1", "adapter.rank": "8"}
    draft = Draft("a", {"data.source": "/d/train.csv", **of_the_file, **of_the_run})
    (said,) = choose(draft, "/d/other.csv")
    assert draft.texts == {"data.source": "/d/other.csv", **of_the_run}
    assert said == (
        "Another file: shape, mapping, fixes, held-out file, filters and the override of the template gate "
        "begin afresh, on auto; train.csv keeps its own."
    )
    draft.type("data.mapping", '{"text": "c"}')
    (said,) = choose(draft, "/d/train.csv")
    assert draft.texts == {"data.source": "/d/train.csv", **of_the_file, **of_the_run}
    assert said.startswith(
        "Another file: mapping begins afresh, on auto; other.csv keeps its own. As set before for train.csv"
    )
    choose(draft, "/d/other.csv")
    assert draft.texts["data.mapping"] == '{"text": "c"}'


def test_a_name_that_is_typed_letter_by_letter_loses_nothing_and_says_it_all_the_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draft = Draft("a", {"data.source": "train.csv", "data.mapping": "{a: b}"})
    said = choose(draft, "train.cs", "train.c", "train.cs")
    assert "data.mapping" not in draft.texts
    assert set(said) == {"Another file: mapping begins afresh, on auto; train.csv keeps its own."}
    assert choose(draft, "./train.csv") == ["As set before for train.csv: mapping."]
    assert draft.texts["data.mapping"] == "{a: b}"
    assert choose(draft, f"{tmp_path}/train.csv", " train.csv") == ["As set before for train.csv: mapping."] * 2
    draft.type("data.mapping", "")
    assert choose(draft, "other.csv") == [""]


def test_what_was_said_of_earlier_files_survives_in_the_draft_and_an_older_draft_has_none(home: Path) -> None:
    draft = Draft("one", {"data.source": "/d/train.csv", "data.mapping": "{a: b}"})
    choose(draft, "/d/other.csv")
    save_draft(draft)
    found = newest_draft()
    assert found is not None
    choose(found, "/d/train.csv")
    assert found.texts["data.mapping"] == "{a: b}"
    (drafts_root() / "one.json").write_text('{"v": 1, "step": 0, "visited": [0], "save_path": "", "texts": {}}')
    older = newest_draft()
    assert older is not None
    assert older.kept == {}


def test_a_clone_with_another_file_begins_with_auto_for_it() -> None:
    recipe = with_values(Recipe(), {"data.source": "/d/train.csv", "data.mapping": {"prompt": "q", "completion": "a"}})
    draft = draft_of(recipe)
    choose(draft, "demo")
    assert read_draft(draft).recipe.data == Recipe().data
    choose(draft, "/d/train.csv")
    assert read_draft(draft).recipe == recipe


def test_the_memory_of_an_untouched_draft_is_one_number_or_none_at_whatever_moment_one_looks(tmp_path: Path) -> None:
    """Facts come one by one, the rows in tokens at last; nothing that follows from them is shown before."""
    session = Session(Draft("a", dict.fromkeys(("hardware.device",), "cpu")))
    shown: list[tuple[int | None, int | None, int | None, str]] = []

    def look() -> None:
        session.reread()
        memory = session.memory.total if session.memory is not None else None
        steps = session.steps.total if session.steps is not None else None
        shown.append((memory, steps, session.resolved.data.max_length, session.counting))

    look()
    session.hardware = machine()
    look()
    session.data = DataLook("demo")
    look()
    session.model = find("demo")
    look()
    session.data.shape = recognise(open_rows("demo").head(), AUTOMATIC)
    look()
    session.data.facts, _, _ = count_rows(session.recipe)
    look()
    assert {found[:3] for found in shown} == {(None, None, None)}
    assert all(words for *_, words in shown)
    counted = TokenCount.of((40,) * 380, (40,) * 20)
    session.data.counted, session.data.counted_for = counted, session.count_key
    shown.clear()
    look()
    look()
    expected = prepare(session.recipe, counted=counted, hardware=session.hardware)
    assert expected.memory is not None
    assert expected.steps is not None
    assert shown == [(expected.memory.total, expected.steps.total, expected.recipe.data.max_length, "")] * 2
    session.draft.type("training.seed", "7")
    shown.clear()
    look()
    assert shown == [(None, None, None, "Counting tokens …")], "other rows are held out: they are counted anew"


@pytest.mark.parametrize("field", ["model.source", "model.revision", "model.chat_template"])
def test_an_override_of_the_template_gate_is_taken_back_with_another_model_or_template(field: str) -> None:
    draft = Draft("one")
    draft.type("data.source", "a.jsonl")
    draft.type("data.template_gate", "override")
    draft.type("data.source", "b.jsonl")
    draft.type("data.template_gate", "override")
    draft.type("training.epochs", "2")
    assert draft.texts["data.template_gate"] == "override"
    draft.type(field, "another")
    assert "data.template_gate" not in draft.texts
    draft.type("data.source", "a.jsonl")
    assert "data.template_gate" not in draft.texts
