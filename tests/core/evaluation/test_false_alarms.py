"""Two equal models must not be called better or worse more often than one time in twenty."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache

import pytest

from finetune_core.evaluation.faults import Answer
from finetune_core.evaluation.losses import RowLosses
from finetune_core.evaluation.verdict import Verdict, judge

WORDS = ["river", "stone", "house", "green", "light", "walks", "quiet", "hills", "sings", "old", "winter", "bread"]
# As many verdicts as a few seconds give, the cheaper ones more often.
_ONE_IN_TWENTY = 0.05
_TRIES = {
    "json": {1: 20, 5: 20, 20: 40, 100: 8},
    "text": {1: 20, 5: 20, 20: 25, 100: 5},
    "labels": {1: 20, 5: 20, 20: 80, 100: 25},
    "raw": {1: 20, 5: 20, 20: 200, 100: 100},
}

Row = tuple[str, str | None]


def json_row(chance: random.Random) -> Row:
    fact = chance.choice(WORDS)
    return json.dumps({"answer": fact, "n": chance.randrange(9)}), fact


def json_answer(chance: random.Random, row: Row) -> str:
    return chance.choice([row[0], f"It is {row[1]}.", json.dumps({"answer": row[1]}), '{"answer": 0, "n": 3}'])


def label_row(chance: random.Random) -> Row:
    return chance.choice(["yes", "no", "maybe"]), None


def label_answer(chance: random.Random, _row: Row) -> str:
    return chance.choice(["yes", "no", "Maybe.", "It is yes."])


def text_row(chance: random.Random) -> Row:
    return " ".join(chance.choice(WORDS) for _ in range(6)), None


def text_answer(chance: random.Random, row: Row) -> str:
    return " ".join(word if chance.random() < 0.5 else chance.choice(WORDS) for word in row[0].split())


def equal_losses(chance: random.Random, rows: int, *, raw: bool) -> tuple[RowLosses, RowLosses]:
    """Rows of very unlike lengths and difficulty, on which both models err alike."""
    tokens = tuple(max(1, int(chance.lognormvariate(3, 0.8))) for _ in range(rows))
    hard = [chance.gauss(2, 0.5) for _ in range(rows)]

    def once() -> RowLosses:
        nats = tuple(count * (one + chance.gauss(0, 0.3)) for count, one in zip(tokens, hard, strict=True))
        return RowLosses(nats, tokens, tuple(4 * count for count in tokens) if raw else None)

    return once(), once()


def equal_models(
    chance: random.Random, rows: int, row: Callable[..., Row], answer: Callable[..., str]
) -> tuple[list[Answer], list[Answer]]:
    asked = [row(chance) for _ in range(rows)]

    def once() -> list[Answer]:
        return [Answer(str(place), *one, answer(chance, one)) for place, one in enumerate(asked)]

    return once(), once()


@cache
def verdicts(kind: str, rows: int) -> tuple[Verdict, ...]:
    chance = random.Random(f"{kind} {rows}")
    makers = {"json": (json_row, json_answer), "labels": (label_row, label_answer), "text": (text_row, text_answer)}
    found = []
    for _ in range(_TRIES[kind][rows]):
        losses = equal_losses(chance, rows, raw=kind == "raw")
        both = equal_models(chance, rows, *makers[kind]) if kind != "raw" else ([], [])
        found.append(judge(*both, *losses))
    return tuple(found)


@pytest.mark.parametrize("rows", [1, 5, 20, 100])
def test_equal_models_are_called_better_or_worse_at_most_one_time_in_twenty(rows: int) -> None:
    found = [verdict for kind in _TRIES for verdict in verdicts(kind, rows)]
    called = [verdict for verdict in found if verdict.outcome in {"better", "worse"} or verdict.better is not None]
    assert len(called) / len(found) <= _ONE_IN_TWENTY


def test_a_verdict_that_took_any_measure_at_its_word_would_be_caught_by_this() -> None:
    def naive(verdict: Verdict) -> bool:
        """As a verdict used to be: one per cent of loss, or any measure uncorrected."""
        loss = verdict.measure("held_out_loss")
        assert loss is not None
        return abs(loss.tuned - loss.base) > 0.01 * loss.base or any(
            (one.p or 1) <= _ONE_IN_TWENTY for one in verdict.measures
        )

    found = [*verdicts("json", 20), *verdicts("labels", 20)]
    assert sum(map(naive, found)) / len(found) > 4 * _ONE_IN_TWENTY


def test_a_model_that_is_right_twice_as_often_is_found_better_on_a_hundred_rows() -> None:
    chance = random.Random(11)
    asked = [json_row(chance) for _ in range(100)]

    def answers(share: float) -> list[Answer]:
        said = (row[0] if chance.random() < share else '{"answer": 0, "n": 3}' for row in asked)
        return [Answer(str(place), *row, text) for place, (row, text) in enumerate(zip(asked, said, strict=True))]

    assert [judge(answers(0.35), answers(0.7), None, None).outcome for _ in range(3)] == ["better"] * 3
