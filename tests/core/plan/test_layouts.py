"""The layout of a step: it fits whenever one does, and leaves a margin of the memory wherever it can."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from finetune_core.models.facts import ModelFacts
from finetune_core.plan.advice.advice import advised, situation
from finetune_core.plan.advice.lengths import cut_by, cut_warning
from finetune_core.plan.advice.margin import margin, margin_of
from finetune_core.plan.advice.remedies import memory_warning, tight_warning
from finetune_core.plan.memory.estimate import estimate
from finetune_core.plan.situation import DataFacts, RowTokens, TokenCount
from finetune_core.recipe.schema import Recipe
from tests.bench.plan_sweep import MODELS, everyday_rows, layouts, model, verdict
from tests.core.plan.cases import LLAMA_8B, QWEN_600M, data, recipe
from tests.fakes import GIB, gpu, machine

ROWS = everyday_rows()


def needs(model: ModelFacts, facts: DataFacts, free_gib: float) -> list[int]:
    """What each layout of the recipe that is planned for so much memory needs."""
    done = advised(Recipe(), machine(gpu(free_gib=free_gib)), model, facts)
    found = (estimate(model, other, "cuda") for other in layouts(done))
    return sorted({need.total for need in found if need is not None})


def sizes(model: ModelFacts, facts: DataFacts) -> Iterator[int]:
    """Free memory at which a layout just fits, just does not, and fits only without summed gradients."""
    for need in needs(model, facts, 24)[::4]:
        yield from (need, need - 2**20, need + 50 * 2**20)


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("name", MODELS)
def test_no_plan_does_not_fit_by_its_own_account_where_another_layout_would(name: str, kind: str) -> None:
    found = {free: verdict(model(name), ROWS[kind], free) for free in sizes(model(name), ROWS[kind])}
    assert "fault" not in found.values(), found
    assert len(set(found.values())) > 1, "sizes on both sides of what fits"


@pytest.mark.parametrize("free_gib", [5, 7.6, 8, 11.6, 14.6, 15.6, 23.5, 31.5, 39.4, 47.5, 79, 139])
@pytest.mark.parametrize("name", MODELS)
def test_the_faster_way_is_taken_only_where_it_leaves_its_margin(name: str, free_gib: float) -> None:
    free, of = int(free_gib * GIB), model(name)
    done = advised(Recipe(), machine(gpu(free_gib=free_gib)), of, ROWS["short rows"])
    need = estimate(of, done, "cuda")
    assert need is not None
    kept = done.training.activation_checkpointing is False
    if kept or done.quantization.method == "none" or (done.training.micro_batch or 1) > 1:
        assert need.total <= free - margin_of(done, free, "cuda")
        assert margin_of(done, free, "cuda") >= max(0.0499 * free, GIB // 2)
    if kept and done.quantization.method == "nf4":
        assert margin_of(done, free, "cuda") >= 3 * GIB


@pytest.mark.parametrize(("free", "spare"), [(GIB, GIB // 2), (8 * GIB, GIB // 2), (80 * GIB, 4 * GIB)])
def test_the_margin_is_5_percent_or_half_a_gibibyte(free: int, spare: int) -> None:
    assert margin(free) == spare


def test_nf4_that_keeps_its_activations_has_the_larger_margin_on_a_gpu_only() -> None:
    kept = recipe({"quantization.method": "nf4", "training.activation_checkpointing": False})
    again = recipe({"quantization.method": "nf4", "training.activation_checkpointing": True})
    found = [margin_of(one, 100 * GIB, device) for one, device in ((kept, "cuda"), (again, "cuda"), (kept, "cpu"))]
    assert found == [12 * GIB, 5 * GIB, 5 * GIB]
    assert margin_of(kept, 12 * GIB, "cuda") == 3 * GIB


def test_gradients_that_do_not_fit_beside_the_rest_are_not_summed_and_that_is_said() -> None:
    facts = ROWS["not counted"]
    summed = recipe({"quantization.method": "nf4", "training.activation_checkpointing": True, "training.micro_batch": 1,
                     "training.accumulation": 2, "adapter.rank": 16})  # fmt: skip
    need = estimate(LLAMA_8B, summed, "cuda")
    assert need is not None
    hardware = machine(gpu(free_gib=(need.total - 2**20) / GIB))
    done = advised(recipe({"adapter.rank": 16}), hardware, LLAMA_8B, facts)
    assert (done.training.micro_batch, done.training.accumulation) == (1, 1)
    assert "gradients that are summed need room" in done.reasons["training.accumulation"]
    now = situation(done, hardware, LLAMA_8B, facts)
    told = tight_warning(now, estimate(LLAMA_8B, done, "cuda"))
    assert told is not None
    assert "it is tight" in told.what
    assert "tight" in done.reasons["training.micro_batch"]


def test_a_plan_with_room_is_not_said_to_be_tight_nor_is_one_that_does_not_fit() -> None:
    for free in (79, 5):
        hardware = machine(gpu(free_gib=free))
        done = advised(Recipe(), hardware, LLAMA_8B, data(1000))
        assert tight_warning(situation(done, hardware, LLAMA_8B, None), estimate(LLAMA_8B, done, "cuda")) is None


def documents(tokens: int, answer: int = 200, rows: int = 40) -> DataFacts:
    """Rows of so many tokens, the trained ones last."""
    one = RowTokens((tokens,) * rows, (tokens - answer,) * rows, (False,) * rows)
    return DataFacts(rows, 2, TokenCount(one, TokenCount.of(()).train))


@pytest.mark.parametrize(
    ("tokens", "free_gib", "length"),
    [(16_500, 15.9, 16_512), (8_300, 11.6, 8_320), (4_000, 9, 4_096), (16_500, 79, 16_512)],
)
def test_documents_stay_whole_where_any_layout_holds_them(tokens: int, free_gib: float, length: int) -> None:
    hardware = machine(gpu(free_gib=free_gib))
    done = advised(Recipe(), hardware, LLAMA_8B, documents(tokens))
    need = estimate(LLAMA_8B, done, "cuda")
    assert need is not None
    assert (done.data.max_length, need.total <= free_gib * GIB) == (length, True)
    assert cut_warning(situation(done, hardware, LLAMA_8B, documents(tokens))) is None


def test_rows_longer_than_the_memory_holds_are_cut_with_what_is_lost_said() -> None:
    lengths = tuple(range(2_000, 18_000, 100))
    facts = DataFacts(160, 5, TokenCount(RowTokens(lengths, (10,) * 160, (False,) * 160), TokenCount.of(()).train))
    hardware = machine(gpu(free_gib=11.6))
    done = advised(Recipe(), hardware, LLAMA_8B, facts)
    most = done.data.max_length
    assert most is not None
    assert (most % 128, 4_000 < most < 16_512) == (0, True)
    need = estimate(LLAMA_8B, done, "cuda")
    assert need is not None
    assert need.total <= 11.6 * GIB - margin(int(11.6 * GIB))
    cut = sum(length > most for length in lengths)
    told = cut_warning(situation(done, hardware, LLAMA_8B, facts))
    assert told is not None
    assert told.what == f"{cut} of 160 rows are longer than {most:,} tokens and lose their end"
    lost = sum(max(0, length - most) for length in lengths) / sum(lengths)
    assert f"that is {lost * 100:.0f} % of all tokens" in told.why
    assert f"{cut} of 160 rows are longer and get cut" in done.reasons["data.max_length"]


def test_rows_whose_answers_would_all_be_cut_off_stay_whole_and_are_said_not_to_fit() -> None:
    hardware = machine(gpu(free_gib=9))
    done = advised(Recipe(), hardware, LLAMA_8B, documents(16_500))
    assert done.data.max_length == 16_512
    now = situation(done, hardware, LLAMA_8B, documents(16_500))
    told = memory_warning(now, estimate(LLAMA_8B, done, "cuda"))
    assert told is not None
    assert "a GPU with 16 GB" not in told.remedy
    assert "which cuts 40 of 40 rows" in told.remedy


def test_raw_text_goes_on_behind_a_cut_and_loses_nothing() -> None:
    rows = RowTokens((30_000,) * 9, (1,) * 9, (True,) * 9)
    facts = DataFacts(9, 1, TokenCount(rows, TokenCount.of(()).train))
    hardware = machine(gpu(free_gib=12))
    done = advised(Recipe(), hardware, LLAMA_8B, facts)
    assert "go on in rows of their own" in done.reasons["data.max_length"]
    assert cut_warning(situation(done, hardware, LLAMA_8B, facts)) is None


def test_a_limit_of_the_users_that_cuts_rows_is_said_with_the_rows_that_are_left_out() -> None:
    done = advised(recipe({"data.max_length": 2048}), machine(gpu()), LLAMA_8B, documents(4_000))
    told = cut_warning(situation(done, machine(gpu()), LLAMA_8B, documents(4_000)))
    assert told is not None
    assert told.what == "40 of 40 rows are longer than 2,048 tokens and lose their end"
    assert "40 rows have nothing left to train on and are left out" in told.why
    assert "set data.max_length to 4096" in told.remedy


def test_rows_longer_than_the_model_reads_are_said_to_be() -> None:
    done = advised(Recipe(), machine(gpu()), QWEN_600M, documents(50_000))
    told = cut_warning(situation(done, machine(gpu()), QWEN_600M, documents(50_000)))
    assert done.data.max_length == QWEN_600M.context
    assert told is not None
    assert "the model's context ends there" in told.why
    assert "longer context" in told.remedy


def test_a_few_runaways_are_cut_and_documents_among_short_rows_are_not() -> None:
    few = data(5_000, lengths=(300,) * 4_999 + (30_000,))
    many = data(100_000, lengths=(300,) * 99_700 + (16_000,) * 300)
    found = [advised(Recipe(), machine(gpu()), LLAMA_8B, facts).data.max_length for facts in (few, many)]
    assert found == [384, 16_000]


def test_a_remedy_never_cuts_rows_that_a_shorter_limit_leaves_whole() -> None:
    hardware, facts = machine(gpu(free_gib=12)), documents(3_000)
    done = advised(recipe({"data.max_length": 32_768, "quantization.method": "nf4"}), hardware, LLAMA_8B, facts)
    now = situation(done, hardware, LLAMA_8B, facts)
    told = memory_warning(now, estimate(LLAMA_8B, done, "cuda"))
    assert told is not None
    assert "data.max_length 3072 (about" in told.remedy
    assert "cuts" not in told.remedy


def test_what_is_cut_is_counted_by_row_and_token() -> None:
    rows = RowTokens((100, 200, 300, 400), (10, 190, 20, 1), (False, False, False, True))
    found = cut_by(DataFacts(4, 0, TokenCount(rows, TokenCount.of(()).train)), 150)
    assert found is not None
    assert (found.rows, found.cut, found.empty, found.lost) == (4, 2, 1, 0.2)
