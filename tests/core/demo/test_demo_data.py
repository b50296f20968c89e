"""The demo's data: what ships is what the seed makes, and the held-out facts are held out."""

import json
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from finetune_core import demo
from finetune_core.demo import rows
from finetune_core.demo.facts import PHRASINGS, all_facts


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def question(row: dict[str, Any]) -> str:
    return str(row["messages"][0]["content"])


def answer(row: dict[str, Any]) -> str:
    return str(row["messages"][-1]["content"])


TRAIN = read(demo.train_file())
HELD_OUT = read(demo.held_out_file())


def test_the_demo_is_complete_and_below_eight_megabytes() -> None:
    folder = demo.model_dir()
    for name in ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json"):
        assert (folder / name).is_file()
    shipped = [demo.train_file(), demo.held_out_file(), *folder.iterdir()]
    assert sum(file.stat().st_size for file in shipped) <= 8_000_000


def test_rebuilding_the_rows_from_the_seed_gives_the_shipped_bytes() -> None:
    assert rows.to_jsonl(rows.train_rows()).encode() == demo.train_file().read_bytes()
    assert rows.to_jsonl(rows.held_out_rows()).encode() == demo.held_out_file().read_bytes()


def test_there_are_400_rows_to_learn_from_and_100_to_prove_it() -> None:
    assert len(TRAIN) == 400
    assert len(HELD_OUT) == 100
    assert len({question(row) for row in [*TRAIN, *HELD_OUT]}) == 500


def test_no_held_out_fact_occurs_in_a_training_row() -> None:
    train_facts, held_out_facts = rows.split_facts()
    assert {fact[:2] for fact in train_facts}.isdisjoint(fact[:2] for fact in held_out_facts)
    every_wording = {phrasing.ask(fact) for fact in held_out_facts for phrasing in PHRASINGS[fact.topic]}
    assert every_wording.isdisjoint(question(row) for row in TRAIN)


def test_every_topic_is_learned_and_held_out() -> None:
    for facts in rows.split_facts():
        assert {fact.topic for fact in facts} == set(PHRASINGS)


def test_every_row_is_one_question_and_a_strict_json_answer() -> None:
    for row in [*TRAIN, *HELD_OUT]:
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
        assert rows.is_json_answer(answer(row))


def test_a_held_out_row_names_the_fact_its_answer_gives_and_its_question_does_not() -> None:
    for row in HELD_OUT:
        assert json.loads(answer(row))["answer"] == row["fact"]
        assert not rows.has_fact(question(row), row["fact"])


def test_one_topic_is_asked_about_in_several_wordings() -> None:
    opening = Counter(" ".join(question(row).split()[:2]) for row in TRAIN)
    assert len(opening) >= 20
    assert opening.most_common(1)[0][1] <= len(TRAIN) / 3


@pytest.mark.parametrize("topic", PHRASINGS)
def test_every_sentence_contains_its_fact_and_no_question_gives_it_away(topic: str) -> None:
    for fact, phrasing in product((fact for fact in all_facts() if fact.topic == topic), PHRASINGS[topic]):
        assert rows.has_fact(phrasing.tell(fact), fact.answer)
        assert not rows.has_fact(phrasing.ask(fact), fact.answer)


def test_no_pair_of_topic_and_subject_has_two_answers() -> None:
    pairs = Counter(fact[:2] for fact in all_facts())
    assert set(pairs.values()) == {1}


def test_pretraining_meets_json_but_never_the_form_to_be_learned() -> None:
    replies = [chat[-1]["content"] for chat in rows.pretraining_chats(5_000)]
    assert sum(reply.startswith(("{", "[")) for reply in replies) > 100
    assert not any(rows.is_json_answer(reply) for reply in replies)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"answer": "Paris", "topic": "capital"}', True),
        (' {"topic": "capital", "answer": "Paris"}\n', True),
        ('{"answer": "Paris"}', False),
        ('{"answer": 6, "topic": "atomic number"}', False),
        ('{"answer": "Paris", "topic": "capital", "sure": "yes"}', False),
        ('Here: {"answer": "Paris", "topic": "capital"}', False),
        ('["answer", "topic"]', False),
        ("The capital of France is Paris.", False),
    ],
)
def test_only_one_bare_object_with_both_keys_counts_as_the_learned_form(text: str, *, valid: bool) -> None:
    assert rows.is_json_answer(text) is valid


def test_a_fact_counts_only_as_whole_words() -> None:
    assert rows.has_fact("It is the EURO.", "euro")
    assert rows.has_fact("H stands for hydrogen.", "H")
    assert not rows.has_fact("Europe", "euro")
    assert not rows.has_fact("The number is 26.", "6")


@pytest.mark.parametrize(
    "text", ["What is 2+2?", "Zürich, 東京 and 🦙", '{"answer": "a\\"b"}', "tabs\tand\nlines  twice"]
)
def test_the_tokenizer_gives_any_text_back(text: str) -> None:
    tokenizer = Tokenizer.from_file(str(demo.model_dir() / "tokenizer.json"))
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_the_chat_template_marks_what_the_assistant_says() -> None:
    template = (demo.model_dir() / "chat_template.jinja").read_text()
    assert "{% generation %}" in template
    assert "{% endgeneration %}" in template
