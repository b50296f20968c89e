from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from finetune_core.evaluation.measures import Measure
from finetune_core.evaluation.next_change import NextChange, RunFacts, from_json, next_change
from finetune_core.evaluation.verdict import BETTER, NOT_BETTER, NOT_USABLE, TOO_FEW, WORSE, Verdict
from finetune_core.recipe.check import check, with_values
from finetune_core.recipe.schema import Recipe

RECIPE = with_values(
    Recipe(),
    {
        "training.learning_rate": 2e-4,
        "training.epochs": 3.0,
        "adapter.rank": 16,
        "data.max_length": 512,
        "evaluation.questions": 100,
    },
)
FALLING = tuple(2.0 - step / 60 for step in range(60))
FACTS = RunFacts(step=60, losses=FALLING, held_out=((0, 2.5), (30, 1.2), (60, 1.19)), rows=400, held_out_rows=100)
PLAIN = Verdict(NOT_BETTER, 100)


def verdict(outcome: Any, rows: int = 100, **tuned: int) -> Verdict:
    return Verdict(outcome, rows, tuned_faults=tuned)


def changed(found: Verdict, facts: RunFacts = FACTS, **fields: object) -> NextChange | None:
    values = {path.replace("__", "."): value for path, value in fields.items()}
    return next_change(found, with_values(RECIPE, values), facts)


@pytest.mark.parametrize(
    ("found", "facts", "fields", "name", "values"),
    [
        pytest.param(
            verdict(WORSE), replace(FACTS, losses=FALLING[::-1]), {}, "loss-rose",
            {"training.learning_rate": 6.7e-05}, id="the training loss rose",
        ),
        pytest.param(
            verdict(NOT_USABLE), replace(FACTS, unfitting=60), {}, "limit",
            {"evaluation.max_new_tokens": 1024}, id="answers longer than the limit",
        ),
        pytest.param(
            verdict(NOT_USABLE, endless=60), replace(FACTS, cut=60), {}, "rows-cut",
            {"data.max_length": 1024}, id="rows were cut, so no end was learnt",
        ),
        pytest.param(
            verdict(NOT_USABLE, endless=60), FACTS, {"data__template_gate": "override"}, "no-stop",
            {"data.template_gate": "enforce"}, id="the gate was overridden",
        ),
        pytest.param(
            verdict(NOT_USABLE, endless=60), replace(FACTS, ends_trained=False), {}, "no-stop",
            {"model.chat_template": "plain"}, id="no end is trained",
        ),
        pytest.param(
            verdict(NOT_USABLE, endless=60), replace(FACTS, step=12), {}, "no-stop",
            {"training.epochs": 9.0}, id="the end was trained too little",
        ),
        pytest.param(
            verdict(NOT_USABLE, repeating=60), FACTS, {}, "repeats",
            {"training.learning_rate": 6.7e-05}, id="answers repeat: a lower rate",
        ),
        pytest.param(
            verdict(NOT_USABLE, repeating=60), replace(FACTS, held_out=((0, 2.5), (20, 1.0), (60, 1.4))), {}, "repeats",
            {"training.epochs": 1.0}, id="answers repeat and the best was earlier: fewer epochs",
        ),
        pytest.param(
            replace(verdict(NOT_USABLE, repeating=90), base_faults={"repeating": 95}), replace(FACTS, step=10), {},
            "repeats", {"training.epochs": 9.0}, id="answers repeat as the base's did: more steps",
        ),
        pytest.param(
            PLAIN, replace(FACTS, losses=(2.0, *[0.01] * 59), held_out=((0, 2.5), (20, 1.0), (60, 1.4)), duplicates=80),
            {}, "by-heart", {"data.fixes": {"exact-duplicate": "drop"}}, id="learnt by heart, with duplicates",
        ),
        pytest.param(
            PLAIN, replace(FACTS, losses=(2.0, *[0.01] * 59), held_out=((0, 2.5), (20, 1.0), (60, 1.4))),
            {}, "by-heart", {"adapter.dropout": 0.1}, id="learnt by heart: dropout",
        ),
        pytest.param(
            PLAIN, replace(FACTS, losses=(2.0, *[0.01] * 59), held_out=((0, 2.5), (20, 1.0), (60, 1.4))),
            {"adapter__dropout": 0.1}, "by-heart", {"training.epochs": 1.0}, id="learnt by heart in spite of dropout",
        ),
        pytest.param(
            PLAIN,
            replace(FACTS, losses=(2.0, *[0.01] * 59), held_out=((0, 2.5), (20, 1.0), (60, 1.4)), droppable=False),
            {}, "by-heart", {"training.epochs": 1.0}, id="by heart where nothing can be dropped",
        ),
        pytest.param(
            replace(PLAIN, identical=99), replace(FACTS, step=9), {}, "nothing-moved",
            {"training.epochs": 9.0}, id="nothing moved in few steps",
        ),
        pytest.param(
            replace(PLAIN, identical=99), FACTS, {"training__learning_rate": 1e-5}, "nothing-moved",
            {"training.learning_rate": 3e-5}, id="nothing moved at a low rate",
        ),
        pytest.param(
            replace(PLAIN, identical=99), FACTS, {}, "nothing-moved",
            {"adapter.rank": 32}, id="nothing moved at a usual rate",
        ),
        pytest.param(
            replace(PLAIN, identical=99), FACTS, {"adapter__rank": 64, "training__epochs": None,
            "training__max_steps": 60}, "nothing-moved", {"training.max_steps": 120}, id="nothing moved at a high rank",
        ),
        pytest.param(
            PLAIN, replace(FACTS, losses=(2.0,) * 60), {"training__learning_rate": 1e-6}, "nothing-moved",
            {"training.learning_rate": 3e-6}, id="the loss did not fall",
        ),
        pytest.param(
            verdict(WORSE), FACTS, {}, "worse", {"training.learning_rate": 6.7e-05}, id="worse: a lower rate",
        ),
        pytest.param(
            verdict(BETTER), replace(FACTS, held_out=((0, 2.5), (20, 1.0), (60, 1.4))), {}, "past-best",
            {"evaluation.patience": 3}, id="past its best",
        ),
        pytest.param(
            verdict(TOO_FEW, 4), replace(FACTS, rows=396, held_out_rows=4), {}, "few-rows",
            {"data.held_out_share": 0.08}, id="few rows: a larger share",
        ),
        pytest.param(
            verdict(TOO_FEW, 4), FACTS, {"evaluation__questions": 4}, "few-rows",
            {"evaluation.questions": 100}, id="few rows: more of them asked",
        ),
        pytest.param(
            verdict(TOO_FEW, 4), replace(FACTS, rows=20, held_out_rows=4), {}, "few-rows", {}, id="few rows in all",
        ),
        pytest.param(
            verdict(BETTER), replace(FACTS, held_out=((0, 2.5), (30, 1.2), (60, 0.9))), {}, "unfinished",
            {"training.epochs": 6.0}, id="still falling at the end",
        ),
        pytest.param(
            PLAIN, FACTS, {"training__learning_rate": 5e-5}, "nothing-moved",
            {"training.learning_rate": 1.5e-4}, id="not better without a sign why",
        ),
    ],
)  # fmt: skip
def test_each_diagnosis_gives_one_change_with_its_reason(
    found: Verdict, facts: RunFacts, fields: dict[str, object], name: str, values: dict[str, object]
) -> None:
    change = changed(found, facts, **fields)
    assert change is not None
    assert (change.name, change.set) == (name, values)
    assert change.what
    assert change.why
    assert from_json(change.to_json()) == change
    assert not check(
        with_values(RECIPE, {path.replace("__", "."): value for path, value in fields.items()} | change.set)
    )


def test_a_better_model_that_shows_no_fault_needs_no_change() -> None:
    assert changed(verdict(BETTER)) is None
    assert changed(verdict(BETTER), RunFacts(step=0)) is None


def test_a_base_that_was_right_already_leaves_nothing_to_change() -> None:
    right = Measure("exact", 0.98, 0.98, 100)
    assert changed(replace(PLAIN, measures=(right,), identical=100)) is None
    assert changed(replace(PLAIN, measures=(replace(right, base=0.4, tuned=0.4),), identical=100)) is not None


def test_answers_that_repeat_as_the_bases_own_do_are_answers_that_did_not_move() -> None:
    change = changed(replace(verdict(NOT_BETTER, repeating=90), identical=100))
    assert change is not None
    assert change.name == "nothing-moved"


def test_what_was_right_in_some_rows_and_lost_in_others_asks_for_a_lower_rate() -> None:
    fell = Measure("right_fact", 0.9, 0.4, 100, sign=-1)
    change = changed(Verdict(NOT_BETTER, 100, (fell, replace(fell, name="valid_json", sign=1))))
    assert change is not None
    assert change.name == "worse"


@pytest.mark.parametrize("found", [None, [], {}, {"set": 1}, {"set": {}, "name": "x", "what": 1, "why": "y"}])
def test_what_is_no_change_is_read_as_none(found: object) -> None:
    assert from_json(found) is None
