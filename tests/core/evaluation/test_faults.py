from __future__ import annotations

import json
import random

import pytest

from finetune_core.evaluation.faults import Answer, fault, faults, repeats, unrelated

WORDS = [
    "the",
    "river",
    "stone",
    "house",
    "of",
    "green",
    "light",
    "walks",
    "over",
    "quiet",
    "hills",
    "and",
    "sings",
    "about",
    "old",
    "winter",
    "bread",
]


def answer(text: str, reference: str = "The capital of Norway is Oslo.", **more: object) -> Answer:
    return Answer("question", reference, None, text, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("the the the the the the", "repeating"),
        ("lek. lek. lek. lek. lek. lek.", "repeating"),
        ("aaaaaaaaaaaaaaaaaaaaaaaa", "repeating"),
        ("東京東京東京東京東京東京東京東京", "repeating"),
        ("क्या क्या क्या क्या क्या क्या", "repeating"),
        ("It begins as it should, and then it goes on and on " + "and on " * 30, "repeating"),
        ((" ".join(f"{word}{number}" for number, word in enumerate(WORDS * 5)) + ". ") * 3, "repeating"),
        ("\ufffd\ufffdx\ufffd y\ufffd", "unreadable"),
        ("\x07\x1b[3m ab\ue000", "unreadable"),
        ("Oslo", None),
        ("ha ha ha ha", None),
        ("The capital of Norway is Oslo, and that of Sweden is Stockholm.", None),
        ('{"answer": "Oslo", "topic": "capital"}', None),
        ("Осло является столицей Норвегии.", None),
        ("👩‍👩‍👧 Oslo 🇳🇴", None),
    ],
)
def test_an_answer_nobody_could_use_is_named_by_its_fault(text: str, name: str | None) -> None:
    assert fault(answer(text)) == name


def test_an_answer_that_repeats_as_the_rows_own_does_is_none_that_repeats() -> None:
    table = json.dumps([{"name": f"a{number}", "value": number * 7} for number in range(30)])
    assert repeats(table)
    assert fault(answer(table, reference=table.replace("7", "8"))) is None


def test_an_answer_never_stops_when_it_is_cut_where_the_rows_own_would_have_fitted() -> None:
    assert fault(answer("Oslo, the city", ended=False)) == "endless"
    assert fault(answer("Oslo, the city", ended=False, fits=False)) is None
    assert fault(answer("Oslo, the city", ended=True)) is None
    assert fault(answer("Oslo, the city", ended=None)) is None


def test_an_empty_answer_to_a_row_without_one_is_right() -> None:
    assert fault(answer("", reference="")) is None


def test_each_answer_counts_once() -> None:
    found = faults(
        [answer(""), answer("go go go go go go go go", ended=False), answer("Oslo", ended=False), answer("Oslo")]
    )
    assert found == {"empty": 1, "repeating": 1, "endless": 1, "unreadable": 0}


def sentences(seed: int, count: int, words: int = 12) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choice(WORDS) for _ in range(words)) for _ in range(count)]


def gibberish(seed: int, count: int) -> list[str]:
    chance = random.Random(seed)
    pieces = ["rl", "ek", "zx", "qu", "75", ".", "vv", "oth", "ij", "wq", "kk", " "]
    return ["".join(chance.choice(pieces) for _ in range(40)) for _ in range(count)]


def test_answers_that_are_no_nearer_to_their_own_row_than_to_others_are_unrelated() -> None:
    rows = sentences(1, 20)
    said = gibberish(2, 20)
    assert unrelated([answer(text, reference=row) for text, row in zip(said, rows, strict=True)])
    assert not unrelated([answer(row[:30], reference=row) for row in rows])


def test_rows_that_are_alike_short_or_few_say_nothing_of_being_related() -> None:
    said = gibberish(3, 20)
    assert not unrelated([answer(text, reference="I am sorry, I cannot help with that.") for text in said])
    assert not unrelated([answer(text, reference=row[:10]) for text, row in zip(said, sentences(1, 20), strict=True)])
    assert not unrelated([answer(text, reference=row) for text, row in zip(said[:9], sentences(1, 9), strict=True)])
