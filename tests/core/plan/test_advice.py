from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_core.errors import FtError
from finetune_core.hardware.look import Hardware
from finetune_core.models.catalogue import catalogue
from finetune_core.models.facts import ModelFacts
from finetune_core.plan.advice.advice import Choice, DataFacts, advise, advised, situation
from finetune_core.plan.advice.few_rows import rank_warning, verdict_warning
from finetune_core.plan.advice.remedies import memory_warning
from finetune_core.plan.memory.estimate import estimate
from finetune_core.plan.situation import Situation
from finetune_core.recipe.schema import GUIDES, Recipe
from tests.core.plan.cases import LLAMA_8B, QWEN_600M, UNKNOWN, data, recipe
from tests.fakes import gpu, machine

H100 = machine(gpu(free_gib=79))
CPU = machine(memory_gib=32)
_OPTIONAL = {"training.max_steps"}


def choices(
    values: dict[str, object] | None = None,
    hardware: Hardware = H100,
    model: ModelFacts = LLAMA_8B,
    facts: DataFacts | None = None,
) -> dict[str, Choice]:
    return {made.field: made for made in advise(recipe(values), hardware, model, facts)}


@pytest.mark.parametrize("model", [LLAMA_8B, QWEN_600M, UNKNOWN])
@pytest.mark.parametrize("facts", [None, data(40), data(2000), data(100_000)])
@pytest.mark.parametrize("hardware", [H100, CPU, machine(gpu(free_gib=1))])
def test_every_auto_value_is_filled_with_a_reason(
    hardware: Hardware, model: ModelFacts, facts: DataFacts | None
) -> None:
    done = advised(Recipe(), hardware, model, facts)
    for path, guide in GUIDES.items():
        if guide.takes_auto:
            assert done.get(path) is not None, path
            assert done.reasons[path], path
    assert done.model.dtype != "auto"
    assert done.hardware.device in {"cuda", "cpu"}
    assert advise(done, hardware, model, facts) == ()


GIVEN: dict[str, object] = {
    "model.dtype": "bfloat16",
    "data.max_length": 777,
    "training.epochs": 0.5,
    "training.learning_rate": 3e-5,
    "training.micro_batch": 3,
    "training.accumulation": 5,
    "training.activation_checkpointing": True,
    "samples.every_steps": 9,
    "evaluation.every_steps": 8,
    "saving.every_steps": 7,
    "hardware.device": "cuda",
    "hardware.gpus": ["0"],
    "output.name": "mine",
}


@settings(max_examples=50, deadline=None)
@given(st.sets(st.sampled_from(sorted(GIVEN))))
def test_a_value_the_user_gave_is_never_touched(fields: set[str]) -> None:
    values = {field: GIVEN[field] for field in fields}
    done = advised(recipe(values), H100, LLAMA_8B, data(2000))
    assert {field: done.get(field) for field in fields} == values
    assert not fields & done.reasons.keys()


@pytest.mark.parametrize(
    ("hardware", "model", "dtype", "why"),
    [
        (H100, LLAMA_8B, "bfloat16", "compute capability 9.0"),
        (machine(gpu(capability=(7, 5), name="Tesla T4")), QWEN_600M, "float16", "Tesla T4 does not compute"),
        (CPU, QWEN_600M, "float32", "small against the memory"),
        (CPU, LLAMA_8B, "bfloat16", "29.9 GiB of 32.0 GiB"),
        (CPU, UNKNOWN, "bfloat16", "unknown"),
    ],
)
def test_the_number_format_suits_the_device(hardware: Hardware, model: ModelFacts, dtype: str, why: str) -> None:
    made = choices(hardware=hardware, model=model)["model.dtype"]
    assert made.value == dtype
    assert why in made.reason


def test_what_16_bit_weights_cost_in_full_tuning_is_said() -> None:
    for name, kept in ((QWEN_600M, True), (LLAMA_8B, False)):
        made = {one.field: one for one in advise(recipe({"adapter.kind": "none"}), H100, name, data(100))}
        assert made["training.float32_weights"].value is kept
        assert "rounded away" in made["training.float32_weights"].reason
    assert choices({}, hardware=H100)["training.float32_weights"].value is False, "the base is frozen"
    assert "updates" not in choices(hardware=H100)["model.dtype"].reason


def test_the_learning_rate_is_higher_for_lora() -> None:
    assert choices()["training.learning_rate"].value == 2e-4
    assert choices({"adapter.kind": "none"})["training.learning_rate"].value == 1e-5


@pytest.mark.parametrize(("rows", "epochs"), [(100, 3.0), (4999, 3.0), (5000, 2.0), (20_000, 1.0)])
def test_more_rows_are_seen_fewer_times(rows: int, epochs: float) -> None:
    assert choices(facts=data(rows))["training.epochs"].value == epochs


def test_epochs_stay_empty_when_steps_are_given() -> None:
    made = choices({"training.max_steps": 100}, facts=data(2000))
    assert "training.epochs" not in made
    assert made["saving.every_steps"].value == 20


def test_the_freest_gpu_is_written_down_by_uuid() -> None:
    made = choices(hardware=machine(gpu(0, 10), gpu(1, 60)))
    assert made["hardware.gpus"].value == ["GPU-1"]
    assert made["hardware.device"].value == "cuda"


@pytest.mark.parametrize(
    ("lengths", "context", "value"),
    [
        ((100,) * 1000, 4096, 128),
        ((100,) * 999 + (180,), 4096, 256),
        ((100,) * 999 + (3000,), 4096, 128),
        ((3000,) * 10, 2048, 2048),
        ((1500,) * 10, 131072, 1536),
        ((3,), 4096, 128),
        ((16_500,) * 10, 131072, 16_512),
        ((8_300,) * 10, 131072, 8_320),
        ((2_000_000,), 10_000_000, 2**20),
    ],
)
def test_the_length_covers_nearly_all_rows_within_the_context(
    lengths: tuple[int, ...], context: int, value: int
) -> None:
    model = ModelFacts(source="a/b", kind="hub", context=context)
    made = choices(model=model, facts=data(len(lengths), lengths=lengths))["data.max_length"]
    assert made.value == value
    cut = sum(length > value for length in lengths)
    assert ("none is cut" in made.reason) if not cut else (f"{cut} of {len(lengths)}" in made.reason)


def test_without_counts_the_length_is_2048_within_the_context_and_what_rows_can_reach() -> None:
    assert choices()["data.max_length"].value == 2048
    assert choices(model=ModelFacts("a/b", "hub", context=1000))["data.max_length"].value == 1000
    short = DataFacts(50, 2, estimated_tokens=5000, bound=300)
    assert choices(facts=short)["data.max_length"].value == 384


def test_the_effective_batch_is_16_rows() -> None:
    made = choices({"data.packing": "none"}, facts=data(2000))
    micro, summed = made["training.micro_batch"].value, made["training.accumulation"].value
    assert isinstance(micro, int)
    assert isinstance(summed, int)
    assert micro * summed == 16


def test_packed_sequences_that_hold_many_rows_make_a_smaller_batch() -> None:
    made = choices(facts=data(2000, mean=200))
    assert (made["training.micro_batch"].value, made["training.accumulation"].value) == (2, 1)
    assert "about 10 rows" in made["training.accumulation"].reason


@pytest.mark.parametrize(("rows", "batch"), [(1, 1), (8, 2), (40, 8), (63, 8), (64, 16)])
def test_few_rows_are_trained_in_smaller_steps(rows: int, batch: int) -> None:
    done = advised(recipe({"data.packing": "none"}), H100, QWEN_600M, data(rows))
    assert (done.training.micro_batch or 0) * (done.training.accumulation or 0) == batch


def test_a_micro_batch_that_is_given_sets_the_accumulation_and_the_other_way_round() -> None:
    unpacked = {"data.packing": "none"}
    assert choices({**unpacked, "training.micro_batch": 4}, facts=data(2000))["training.accumulation"].value == 4
    assert choices({**unpacked, "training.accumulation": 8}, facts=data(2000))["training.micro_batch"].value == 2


def test_checkpointing_is_off_where_the_activations_fit_and_on_where_not() -> None:
    large = choices(facts=data(2000))["training.activation_checkpointing"]
    small = choices(hardware=machine(gpu(free_gib=24)), facts=data(2000))["training.activation_checkpointing"]
    assert (large.value, small.value) == (False, True)
    assert "1.4 times" in large.reason
    assert "24.0 GiB are free" in small.reason


@settings(max_examples=80, deadline=None)
@given(
    free=st.floats(0.5, 140),
    rows=st.integers(1, 50_000),
    length=st.sampled_from([64, 512, 2048, 8192]),
    packing=st.sampled_from(["none", "bfd"]),
    method=st.sampled_from(["none", "int8", "nf4"]),
)
def test_what_is_advised_fits_or_nothing_smaller_does(
    free: float, rows: int, length: int, packing: str, method: str
) -> None:
    hardware = machine(gpu(free_gib=free))
    asked = recipe({"data.max_length": length, "data.packing": packing, "quantization.method": method})
    done = advised(asked, hardware, QWEN_600M, data(rows))
    need = estimate(QWEN_600M, done, "cuda")
    assert need is not None
    if need.total > hardware.gpus[0].memory_free:
        assert (done.training.micro_batch, done.training.activation_checkpointing) == (1, True)


@pytest.mark.parametrize(
    ("rank", "rows", "high"), [(64, 300, True), (32, 639, True), (32, 640, False), (16, 50, False)]
)
def test_a_rank_is_high_for_few_rows(rank: int, rows: int, high: bool) -> None:
    told = rank_warning(recipe({"adapter.rank": rank}), rows)
    assert (told is not None) is high
    assert told is None or told.what == f"rank {rank} is high for {rows} rows"
    assert rank_warning(recipe({"adapter.rank": rank, "adapter.kind": "none"}), rows) is None


def test_a_micro_batch_on_the_cpu_fits_into_its_memory() -> None:
    tight = machine(memory_gib=8)
    done = advised(recipe({"data.packing": "none"}), tight, QWEN_600M, data(2000))
    need = estimate(QWEN_600M, done, "cpu")
    assert need is not None
    assert need.total <= tight.host.memory_available


def warning_for(values: dict[str, object], free_gib: float) -> tuple[Situation, str]:
    hardware = machine(gpu(free_gib=free_gib))
    done = advised(recipe(values), hardware, LLAMA_8B, data(2000))
    now = situation(done, hardware, LLAMA_8B, data(2000))
    found = memory_warning(now, estimate(LLAMA_8B, done, "cuda"))
    return now, "" if found is None else str(found)


def test_a_run_that_fits_has_no_warning() -> None:
    assert warning_for({}, 79)[1] == ""


def test_a_run_that_does_not_fit_is_told_what_would() -> None:
    _, words = warning_for({"quantization.method": "none"}, 10)
    assert "18.2 GiB of GPU memory, and 10.0 GiB are free" in words
    assert "quantization.method nf4" in words


def test_full_tuning_that_does_not_fit_is_offered_lora() -> None:
    assert "adapter.kind lora (about" in warning_for({"adapter.kind": "none"}, 24)[1]


def test_a_model_that_fits_in_no_way_is_said_to_be_too_large() -> None:
    words = warning_for({}, 3)[1]
    assert "choose a smaller model, such as" in words
    assert "QLoRA of it takes a GPU with 8 GB (RTX 4060)" in words
    named = [one for one in catalogue() if one.source in words]
    assert len(named) == 2
    assert all(one.parameters is not None and one.parameters < 1.5e9 for one in named)


def test_what_does_not_fit_as_it_is_names_the_gpu_that_would_take_it_and_a_smaller_rank() -> None:
    words = warning_for({"quantization.method": "none"}, 10)[1]
    assert "or a GPU with 24 GB (RTX 3090) for the settings as they are" in words
    words = warning_for({"adapter.rank": 512, "quantization.method": "nf4", "data.max_length": 256}, 8)[1]
    assert "adapter.rank 8 (about" in words


def test_a_micro_batch_of_the_users_that_is_too_large_is_offered_a_smaller_one() -> None:
    words = warning_for({"training.micro_batch": 64, "quantization.method": "nf4"}, 24)[1]
    assert "micro-batch 1 and checkpointing" in words


def test_intervals_are_a_tenth_and_a_fifth_of_the_steps_and_never_above_500() -> None:
    batch = {"training.micro_batch": 16, "training.accumulation": 1, "data.packing": "none"}
    made = choices({**batch, "training.epochs": 1.0}, facts=data(1600))
    assert [made[f"{name}.every_steps"].value for name in ("samples", "evaluation", "saving")] == [10, 10, 20]
    long = choices({**batch, "training.epochs": 10.0}, facts=data(160_000))
    assert [long[f"{name}.every_steps"].value for name in ("samples", "evaluation", "saving")] == [500, 500, 500]


@pytest.mark.parametrize(
    ("model", "source", "name"),
    [
        ("Qwen/Qwen3-0.6B", "/data/My Support Rows.jsonl", "qwen3-0.6b-my-support-rows"),
        ("demo", "demo", "demo"),
        ("./..", "???.json", "run"),
    ],
)
def test_a_run_is_named_after_model_and_data(model: str, source: str, name: str) -> None:
    assert choices({"model.source": model, "data.source": source})["output.name"].value == name


def test_a_gpu_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FtError):
        advise(recipe({"hardware.device": "cuda"}), CPU, LLAMA_8B, None)


@pytest.mark.parametrize(
    ("held_out", "questions", "field"),
    [
        (0, 100, None),
        (1, 100, "data.held_out_share"),
        (5, 100, "data.held_out_share"),
        (5, 0, "data.held_out_share"),
        (6, 100, None),
        (50, 5, "evaluation.questions"),
        (50, 6, None),
        (50, 0, None),
    ],
)
def test_held_out_rows_too_few_for_any_verdict_are_said_beforehand(
    held_out: int, questions: int, field: str | None
) -> None:
    found = verdict_warning(recipe({"evaluation.questions": questions}), held_out)
    assert (found and found.where) == field
