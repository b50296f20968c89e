"""Rows that are not counted in tokens: estimated one by one from the size of their texts, and said to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from finetune_core.data.tokens.client import Count, Lengths, TokenWorker
from finetune_core.errors import FtError
from finetune_core.models.catalogue import from_catalogue
from finetune_core.plan.count import count_with
from finetune_core.plan.prepare import prepare
from finetune_core.plan.report import estimate_words, plan_data, rows_words
from finetune_core.plan.resolve import completed, resolve, worth_counting
from finetune_core.plan.rows import count_rows
from finetune_core.plan.situation import DataFacts, TokenCount
from finetune_core.recipe.schema import Recipe
from finetune_core.worker.rows import count as counting
from finetune_core.worker.rows import server
from tests.core.plan.cases import LLAMA_8B, recipe
from tests.fakes import gpu, machine

H100 = machine(gpu(free_gib=79, name="NVIDIA H100 80GB HBM3"))


def chat(question: int, answer: int, number: int = 0) -> dict[str, Any]:
    """A conversation with texts of so many characters."""
    turns = (("user", f"{number} {'word ' * (question // 5)}"), ("assistant", "word " * (answer // 5)))
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def documents(tmp_path: Path) -> str:
    """Forty documents of 16k tokens, with their answers at the end."""
    return write(tmp_path / "docs.jsonl", [chat(64_000 - 200 * number, 800, number) for number in range(40)])


def facts_of(values: dict[str, object]) -> DataFacts:
    return count_rows(recipe(values))[0]


def test_each_row_is_estimated_with_where_its_answer_begins(tmp_path: Path) -> None:
    rows = [chat(400, 200), {"text": "word " * 400}, chat(40_000, 400)]
    found = facts_of({"data.source": write(tmp_path / "a.jsonl", [rows[0], rows[2]]), "data.held_out_share": 0.0})
    assert found.estimated is not None
    assert sorted(zip(found.estimated.lengths, found.estimated.firsts, strict=True)) == [(161, 100), (10111, 10000)]
    text = facts_of({"data.source": write(tmp_path / "b.jsonl", [rows[1]]), "data.held_out_share": 0.0})
    assert text.estimated is not None
    assert (text.estimated.lengths, text.estimated.texts) == ((505,), (True,))
    everything = facts_of({"data.source": write(tmp_path / "c.jsonl", rows[:1]), "data.train_on": "all",
                           "data.held_out_share": 0.0})  # fmt: skip
    assert everything.estimated is not None
    assert everything.estimated.firsts == (1,)


def test_files_that_are_mixed_in_count_by_their_share(tmp_path: Path) -> None:
    short = write(tmp_path / "short.jsonl", [chat(200, 200, number) for number in range(300)])
    long = write(tmp_path / "long.jsonl", [chat(20_000, 200, number) for number in range(300)])
    found = facts_of({"data.source": short, "data.mix": {long: 0.25}, "data.held_out_share": 0.0})
    assert found.estimated is not None
    many = sum(length > 4_000 for length in found.estimated.lengths)
    assert found.mixed == (100,)
    assert many == 100
    assert found.estimated_tokens == pytest.approx(300 * 110 + 100 * 5_060, rel=0.02)


def test_documents_that_are_not_counted_get_a_limit_that_holds_them(documents: str) -> None:
    found = resolve(recipe({"data.source": documents}), H100, LLAMA_8B, facts_of({"data.source": documents}))
    assert found.recipe.data.max_length == 16_256
    assert "by the size of the texts, none is cut" in found.recipe.reasons["data.max_length"]
    assert (found.counted, found.tokens_from) == (False, "estimate")
    assert "by the size of the rows' texts" in found.basis
    assert "tokens by size of text" in rows_words(found)
    assert "the run counts the rows" in estimate_words(found)


def test_what_is_cut_off_is_not_paid_for_and_is_said(documents: str) -> None:
    facts = facts_of({"data.source": documents})
    ways = {length: {"data.source": documents, "data.train_on": "all", "training.epochs": 1.0,
                     **({"data.max_length": length} if length else {})} for length in (2048, None)}  # fmt: skip
    cut, whole = (completed(resolve(recipe(values), H100, LLAMA_8B, facts_of(values))) for values in ways.values())
    assert cut.speed is not None
    assert whole.speed is not None
    assert cut.speed.tokens == 38 * 2048
    assert whole.speed.tokens == pytest.approx(facts.estimated_tokens, rel=0.01)
    told = next(one for one in cut.warnings if one.where == "data.max_length")
    assert told.what == "about 38 of 38 rows are longer than 2,048 tokens and lose their end"
    assert [one for one in whole.warnings if one.where == "data.max_length"] == []
    assert plan_data(cut)["tokens_from"] == "estimate"


def test_answers_behind_the_cut_are_said_to_be_lost(documents: str) -> None:
    values = {"data.source": documents, "data.max_length": 4096}
    told = completed(resolve(recipe(values), H100, LLAMA_8B, facts_of(values))).warnings
    why = next(one.why for one in told if one.where == "data.max_length")
    assert "about 38 rows have nothing left to train on and are left out" in why


@pytest.mark.parametrize(
    ("values", "free_gib", "worth"),
    [({}, 79, False), ({}, 12, True), ({"data.max_length": 2048}, 79, True), ({"data.max_length": 65_536}, 79, False)],
)
def test_rows_are_counted_before_a_start_only_where_it_could_matter(
    values: dict[str, object], free_gib: float, worth: bool, documents: str
) -> None:
    asked = recipe({"data.source": documents, **values})
    found = resolve(asked, machine(gpu(free_gib=free_gib)), LLAMA_8B, facts_of({"data.source": documents}))
    assert worth_counting(found) is worth


def test_a_model_that_is_not_here_is_planned_from_the_estimate(documents: str) -> None:
    model = from_catalogue("meta-llama/Llama-3.1-8B-Instruct")
    assert model is not None
    found = resolve(Recipe(), H100, model, facts_of({"data.source": documents}))
    assert found.recipe.data.max_length == 16_256


class Sampler:
    """A tokenizer's process that says of a data set that it is too large, and gives lengths of samples of its files."""

    def __init__(self, lengths: dict[str, tuple[int, ...]]) -> None:
        self.found = lengths

    def count(self, *_: object) -> Count:
        return Count(too_many=10**6)

    def lengths(self, source: str, *_: object, **__: object) -> Lengths:
        return Lengths(self.found[source], 0, 0, sampled=True)


def test_a_sample_of_each_file_stands_for_its_rows(tmp_path: Path) -> None:
    short = write(tmp_path / "short.jsonl", [chat(200, 200, number) for number in range(300)])
    long = write(tmp_path / "long.jsonl", [chat(20_000, 200, number) for number in range(300)])
    asked = recipe({"data.source": short, "data.mix": {long: 0.25}, "data.held_out_share": 0.0})
    worker = cast("TokenWorker", Sampler({short: (100, 120), long: (5_000, 7_000)}))
    found = count_with(worker, asked, lambda _done, _total: None, lambda: False)
    assert found is not None
    assert found.exact is False
    assert sorted(set(found.train.lengths)) == [100, 120, 5_000, 7_000]
    assert (len(found.train.lengths), sum(length > 1_000 for length in found.train.lengths)) == (400, 100)
    # Where answers begin is estimated: most of a long row stands before its answer.
    assert all(first > 0.8 * length for length, first in zip(found.train.lengths, found.train.firsts, strict=True))
    plan = resolve(asked, H100, LLAMA_8B, count_rows(asked, found)[0])
    assert (plan.tokens_from, plan.counted) == ("sample", False)
    assert "from a sample of the rows" in plan.basis


@pytest.mark.parametrize(
    ("rows", "size", "most"),
    [(100, 10**5, 20_000), (10**6, 10**9, 20_000), (10**6, 64 * 10**9, 524), (300, 10**9, 50)],
)
def test_a_sample_is_smaller_where_rows_are_large(rows: int, size: int, most: int) -> None:
    assert server._most_rows(rows, size) == most


def test_rows_of_too_many_bytes_are_not_waited_for(documents: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_BYTES", 10**6)
    asked = recipe({"data.source": documents})
    answers = list(counting.count(asked.data, 42, lambda _row: pytest.fail("no row is written")))
    assert 0 < answers[-1]["too_many"] < 40


def test_a_count_of_the_rows_stands_above_the_estimate(documents: str) -> None:
    values = {"model.source": "demo", "data.source": documents}
    found = prepare(recipe(values), hardware=machine(), counted=TokenCount.of((300,) * 38, (300,) * 2))
    assert (found.tokens_from, found.recipe.data.max_length) == ("count", 384)
    with pytest.raises(FtError):
        prepare(recipe({**values, "data.source": "nowhere.jsonl"}), hardware=machine())
