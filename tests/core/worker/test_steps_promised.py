"""The steps a plan promises are the steps that are done, however early a run is launched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from finetune_core.data.tokens.client import Count, TokenWorker
from finetune_core.plan.count import exact
from finetune_core.plan.packing import best_fit_decreasing, packed_sequences
from finetune_core.plan.prepare import prepare
from finetune_core.plan.resolve import Resolved
from finetune_core.plan.settling import plan_to_launch
from finetune_core.plan.situation import TokenCount
from finetune_core.recipe.check import reopened, with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.recipe.yaml_io import load
from finetune_core.runs.directory import RunDir, read_plan
from finetune_core.runs.upkeep.lifecycle import create
from finetune_core.worker.controls import Controls, Signals
from finetune_core.worker.report import Reporter
from tests.core.worker import tiny
from tests.fakes import machine

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

CPU = machine()
QUICK: dict[str, object] = {
    "hardware.device": "cpu",
    "samples.count": 0,
    "evaluation.questions": 0,
    "training.activation_checkpointing": False,
    "adapter.rank": 4,
}


@dataclass(frozen=True)
class Case:
    """A recipe by what it sets, its rows, and files beside them."""

    name: str
    values: dict[str, object] = field(default_factory=dict)
    rows: Sequence[dict[str, Any]] = field(default_factory=lambda: tiny.rows(90))
    more: dict[str, Sequence[dict[str, Any]]] = field(default_factory=dict)


def spoken(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def uneven(count: int) -> list[dict[str, Any]]:
    """Rows of very different lengths, a few of them many times as long as the others."""
    return [spoken(f"what is {n}" + " red" * (n * n % 53), "blue " * (1 + n * 7 % 31) + str(n)) for n in range(count)]


LATE = [spoken("red " * 100 + str(n), "blue") for n in range(7)]
DAMAGED: list[dict[str, Any]] = [{"messages": []}, {"messages": [{"role": "user"}]}]
TWICE = [*tiny.rows(40), *tiny.rows(20)]
PLAIN = [{"prompt": f"{n} plus {n % 7} is ", "completion": f"{n + n % 7}" + " apple" * (n % 9)} for n in range(60)]
TEXTS = [{"text": "the sky is blue and the snow is white " * (1 + n % 11) + str(n)} for n in range(30)]

CASES = (
    Case("everything on auto"),
    Case("uneven rows on auto", rows=uneven(120)),
    Case("not packed", {"data.packing": "none"}),
    Case("packed into little room", {"data.max_length": 64}, uneven(150)),
    Case("packed, effective batch given", {"training.micro_batch": 2, "training.accumulation": 3}),
    Case("micro-batch given, accumulation not", {"training.micro_batch": 5, "data.packing": "none"}),
    Case("accumulation given, micro-batch not", {"training.accumulation": 7}),
    Case("part of an epoch", {"training.epochs": 0.3, "data.packing": "none"}),
    Case("epochs and a part", {"training.epochs": 2.7}, uneven(70)),
    Case("steps given", {"training.max_steps": 5}),
    Case("half held out", {"data.held_out_share": 0.5}),
    Case("nothing held out", {"data.held_out_share": 0.0, "data.packing": "none"}),
    Case("a held-out file", {"data.held_out": "held_out.jsonl"}, more={"held_out.jsonl": tiny.rows(12)}),
    Case("duplicates dropped", {"data.fixes": {"near-duplicate": "drop"}, "data.packing": "none"}, TWICE),
    Case("rows that cannot be used", {"data.packing": "none"}, [*tiny.rows(50), *DAMAGED, *DAMAGED]),
    Case("rows without a trained token", {"data.max_length": 64, "data.packing": "none"}, [*tiny.rows(50), *LATE]),
    Case("filtered rows", {"data.without": "please", "data.min_characters": 10}),
    Case("another file mixed in", {"data.mix": {"more.jsonl": 0.3}}, more={"more.jsonl": uneven(25)}),
    Case("every word trained", {"data.train_on": "all"}, uneven(60)),
    Case("prompt and completion", rows=PLAIN),
    Case("raw text", {"data.max_length": 64}, TEXTS),
    Case("raw text on auto, unpacked", {"data.packing": "none"}, TEXTS),
    Case("more rows than are packed together", {"data.max_length": 96}, uneven(1150)),
    Case("two rows", rows=tiny.rows(2)),
)


def asked(case: Case, folder: Path, model: Path) -> Recipe:
    """The recipe of a case, its files written."""
    source = tiny.write_rows(folder / "rows.jsonl", case.rows)
    for name, rows in case.more.items():
        tiny.write_rows(folder / name, rows)
    values: dict[str, object] = {"model.source": str(model), "data.source": str(source), **QUICK, **case.values}
    if (held_out := values.get("data.held_out")) is not None:
        values["data.held_out"] = str(folder / str(held_out))
    if isinstance(mix := values.get("data.mix"), dict):
        values["data.mix"] = {str(folder / name): share for name, share in mix.items()}
    return with_values(Recipe(), values)


def count(recipe: Recipe, model: Path) -> TokenCount:
    """The rows in tokens, as the process that the wizard asks counts them."""
    from finetune_core.worker.rows.chat_template import use_template
    from finetune_core.worker.rows.count import count as counting
    from finetune_core.worker.rows.tokenise import Encoder
    from finetune_core.worker.rows.tokenizer import load_tokenizer

    encoder = Encoder(use_template(load_tokenizer(model), recipe.model.chat_template), recipe.data.train_on)
    (last,) = [one for one in counting(recipe.data, recipe.training.seed, encoder.encode) if "train" in one]
    return exact(Count(tuple(map(tuple, last["train"])), tuple(map(tuple, last["held_out"]))))  # type: ignore[arg-type]


def launched(found: Resolved, home: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """The run directory that a launch makes of a plan."""
    monkeypatch.setenv("FT_TUI_HOME", str(home))
    return create(found.to_launch, plan_to_launch(found))


def rows_of(run: RunDir) -> tuple[Recipe, int, int, int]:
    """The recipe as the worker settles it, with rows, held-out rows and sequences of the very data set it trains on."""
    from finetune_core.worker.rows.chat_template import use_template
    from finetune_core.worker.rows.dataset import to_dataset
    from finetune_core.worker.rows.inputs import cut_rows, find_base, read_rows
    from finetune_core.worker.rows.tokenizer import load_tokenizer
    from finetune_core.worker.training.settle import settled

    reporter = Reporter(run)
    controls = Controls(reporter, Signals())
    recipe = load(run.recipe_file)
    base = find_base(recipe, controls, run)
    tokenizer = use_template(load_tokenizer(base.path), recipe.model.chat_template)
    rows = read_rows(recipe, tokenizer, reporter, controls, None)
    recipe = settled(recipe, base, rows.facts(), reporter)
    data = cut_rows(rows, recipe, reporter)
    reporter.close()
    return recipe, len(data.train), len(data.held_out), len(to_dataset(data.train, recipe.data))


@pytest.fixture(scope="module")
def trainer_steps(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What transformers itself computes: the steps of a recipe over a number of sequences."""
    from torch.utils.data import DataLoader

    from finetune_core.worker.methods.sft import sft_config
    from finetune_core.worker.model import device
    from tests.core.worker.test_rows_to_model import prepared

    folder = tmp_path_factory.mktemp("trainer")
    with prepared(tiny.make_recipe(model, data), folder) as job:
        trainer = job.ready.trainer

        def steps(recipe: Recipe, sequences: int) -> int:
            arguments = sft_config(recipe, device.choose(recipe), folder)
            loader: Any = DataLoader(range(sequences), batch_size=arguments.per_device_train_batch_size)  # type: ignore[arg-type]
            return int(trainer.set_initial_training_values(arguments, loader)[-1])

        yield steps


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_run_launched_at_once_or_after_counting_does_the_steps_that_counting_promises(
    case: Case, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainer_steps: Any
) -> None:
    recipe = asked(case, tmp_path, model)
    promised = prepare(recipe, counted=count(recipe, model), hardware=CPU)
    assert promised.counted
    assert promised.steps is not None
    assert promised.data is not None
    at_once = prepare(recipe, hardware=CPU)
    assert not at_once.counted
    fast = rows_of(launched(at_once, tmp_path / "fast", monkeypatch))
    run = launched(promised, tmp_path / "slow", monkeypatch)
    kept = run.recipe_file.read_bytes()
    slow = rows_of(run)
    assert fast == slow
    settled, rows, held_out, sequences = fast
    assert settled == promised.recipe
    assert run.recipe_file.read_bytes() == kept
    assert (rows, held_out, sequences) == (promised.data.rows, promised.data.held_out_rows, promised.steps.sequences)
    assert trainer_steps(settled, sequences) == promised.steps.total
    assert json.loads(run.plan_file.read_text())["steps"] == asdict(promised.steps)


@pytest.mark.parametrize("name", ["everything on auto", "packed into little room", "rows without a trained token"])
def test_the_steps_promised_are_done_and_a_clone_of_the_run_is_promised_the_same(
    name: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = asked(next(case for case in CASES if case.name == name), tmp_path, model)
    promised = prepare(recipe, counted=count(recipe, model), hardware=CPU)
    assert promised.steps is not None
    run = launched(prepare(recipe, hardware=CPU), tmp_path / "home", monkeypatch)
    assert tiny.train(run) == 0, tiny.ended(run)
    assert [event["step"] for event in tiny.events(run, "step")] == list(range(1, promised.steps.total + 1))
    (plan,) = tiny.events(run, "plan")
    (told,) = tiny.events(run, "settled")
    assert plan["total_steps"] == told["total_steps"] == promised.steps.total == read_plan(run)["steps"]["total"]
    assert (plan["rows"], plan["sequences"]) == (promised.steps.rows, promised.steps.sequences)
    trained = load(run.recipe_file)
    assert trained == promised.recipe
    clone = reopened(trained, trained.reasons)
    again = prepare(clone, counted=count(clone, model), hardware=CPU)
    assert (again.steps, again.recipe) == (promised.steps, promised.recipe)


def test_a_run_broken_off_before_it_was_settled_is_settled_when_it_goes_on_and_only_once(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = with_values(Recipe(), {**QUICK, "model.source": str(model), "data.source": str(data)})
    run = launched(prepare(recipe, hardware=CPU), tmp_path / "home", monkeypatch)
    assert load(run.recipe_file).data.max_length is None
    assert {read_plan(run)[name] for name in ("steps", "memory", "speed")} == {None}
    assert tiny.train(run, resume=True) == 0, tiny.ended(run)
    assert "settle" not in read_plan(run)
    kept = run.recipe_file.read_bytes()
    assert tiny.train(run, resume=True) == 0, tiny.ended(run)
    assert run.recipe_file.read_bytes() == kept
    assert len(tiny.events(run, "settled")) == 1


def test_the_process_of_the_tokenizer_counts_what_the_trainer_counts(model: Path, tmp_path: Path) -> None:
    recipe = asked(next(case for case in CASES if case.name == "another file mixed in"), tmp_path, model)
    told: list[tuple[int, int]] = []
    with TokenWorker(model) as worker:
        found = worker.count(recipe.data, recipe.training.seed, lambda done, total: told.append((done, total)))
        assert worker.count(recipe.data, recipe.training.seed, cancel=lambda: True) is None
    assert found is not None
    assert found.too_many == 0
    assert told
    here = count(recipe, model)
    for one, other in ((exact(found).train, here.train), (exact(found).held_out, here.held_out)):
        assert (one.lengths, one.firsts, one.texts) == (other.lengths, other.firsts, other.texts)


def test_too_many_rows_are_not_waited_for(model: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune_core.worker.rows import count as module

    monkeypatch.setattr(module, "MOST_ROWS", 10)
    recipe = with_values(Recipe(), {"data.source": str(data)})
    answers = list(module.count(recipe.data, 42, lambda _row: pytest.fail("no row is written")))
    assert answers[-1]["too_many"] > 10


@pytest.mark.parametrize("room", [32, 100, 257])
@pytest.mark.parametrize("seed", range(4))
def test_sequences_are_counted_as_trl_packs_them(room: int, seed: int) -> None:
    import random

    from datasets import Dataset
    from trl.data_utils import pack_dataset

    chance = random.Random(seed)
    lengths = [min(room, int(chance.lognormvariate(3, 1.1)) + 2) for _ in range(1 + seed * 800)]
    rows = Dataset.from_dict({"input_ids": [[0] * length for length in lengths]})
    packed = pack_dataset(rows, room, "bfd", {"load_from_cache_file": False})
    assert packed_sequences(TokenCount.of([length + (length == room) for length in lengths]).train, room) == len(packed)
    assert best_fit_decreasing(lengths[:1000], room) <= len(packed)
