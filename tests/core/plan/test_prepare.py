from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune_core.data.files.hub import DONE, folder_of
from finetune_core.data.rows import Conversation
from finetune_core.data.split import split
from finetune_core.errors import FtError, Problem
from finetune_core.plan.prepare import prepare
from finetune_core.plan.resolve import Resolved
from finetune_core.plan.rows import held_out_rows
from finetune_core.plan.situation import RowTokens, TokenCount
from finetune_core.recipe.read import read
from finetune_core.recipe.schema import GUIDES
from finetune_core.runs.naming import differences
from tests.core.models.folders import model_folder
from tests.core.plan.cases import recipe
from tests.fakes import gpu, machine

CPU = machine()


def row(number: int) -> dict[str, Any]:
    turns = (("user", f"Question {number}?"), ("assistant", f"Answer {number}."))
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def rows_file(path: Path, count: int, *more: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in [*map(row, range(count)), *more]))
    return path


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, object]:
    """A model folder and a file of 100 rows, as recipe values."""
    return {
        "model.source": str(model_folder(tmp_path / "model")),
        "data.source": str(rows_file(tmp_path / "rows.jsonl", 100)),
    }


def problems_of(values: dict[str, object], **more: Any) -> list[Problem]:
    with pytest.raises(FtError) as caught:
        prepare(recipe(values), **{"hardware": CPU, **more})
    return list(caught.value.problems)


def test_a_recipe_becomes_a_plan_with_every_value_filled(parts: dict[str, object]) -> None:
    plan: Resolved = prepare(recipe(parts), hardware=CPU)
    assert plan.model.kind == "folder"
    assert plan.data is not None
    assert (plan.data.rows, plan.data.held_out_rows, plan.data.token_lengths) == (95, 5, None)
    assert plan.steps is not None
    assert plan.steps.total >= 3
    assert plan.memory is not None
    # Whoever holds out as few as these five is warned.
    assert [found.where for found in plan.warnings] == ["data.held_out_share"]
    for path, guide in GUIDES.items():
        assert not guide.takes_auto or plan.recipe.get(path) is not None


def test_what_was_prepared_once_is_prepared_again_unchanged(parts: dict[str, object]) -> None:
    once = prepare(recipe(parts), hardware=CPU)
    assert prepare(once.recipe, hardware=CPU).recipe == once.recipe


def test_token_lengths_that_are_known_set_the_length(parts: dict[str, object]) -> None:
    plan = prepare(recipe(parts), hardware=CPU, counted=TokenCount.of([40] * 94 + [90]))
    assert plan.data is not None
    assert (plan.data.rows, plan.recipe.data.max_length) == (95, 128)


def test_rows_that_hold_nothing_to_train_on_where_they_are_cut_are_a_problem(parts: dict[str, object]) -> None:
    rows = RowTokens((90,) * 95, (80,) * 95, (False,) * 95)
    counted = TokenCount(rows, TokenCount.of((40,) * 5).train)
    (found,) = problems_of({**parts, "data.max_length": 64}, counted=counted)
    assert found.what == "no row holds a token to train on"
    assert "95 rows have nothing trained" in found.why
    assert prepare(recipe(parts), hardware=CPU, counted=counted).data is not None


def test_what_waits_for_the_count_is_no_setting_that_tells_two_runs_apart(parts: dict[str, object]) -> None:
    counted = TokenCount.of([40] * 95, [40] * 5)
    later, whole = prepare(recipe(parts), hardware=CPU), prepare(recipe(parts), hardware=CPU, counted=counted)
    assert later.to_launch.adapter.rank is None
    assert differences(later.to_launch, whole.to_launch) == []
    assert whole.to_launch == whole.recipe


def test_a_held_out_file_is_counted_and_leaves_all_rows_for_training(parts: dict[str, object], tmp_path: Path) -> None:
    held_out = rows_file(tmp_path / "held_out.jsonl", 12)
    plan = prepare(recipe({**parts, "data.held_out": str(held_out)}), hardware=CPU)
    assert plan.data is not None
    assert (plan.data.rows, plan.data.held_out_rows) == (100, 12)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.13, 0.5])
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 40, 101])
def test_held_out_rows_are_counted_as_they_are_parted(rows: int, share: float) -> None:
    conversations = [Conversation(number, ()) for number in range(rows)]
    assert held_out_rows(rows, share) == len(split(conversations, share, 42)[1])


def test_paths_become_absolute_since_a_run_lives_elsewhere(
    parts: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows_file(tmp_path / "more.jsonl", 20)
    values = {"model.source": "./model", "data.source": "rows.jsonl", "data.mix": {"more.jsonl": 0.1, "demo": 0.1}}
    plan = prepare(recipe(values), hardware=CPU)
    assert plan.recipe.model.source == str(tmp_path / "model")
    assert plan.recipe.data.source == str(tmp_path / "rows.jsonl")
    assert plan.recipe.data.mix == {str(tmp_path / "more.jsonl"): 0.1, "demo": 0.1}
    (tmp_path / "own.jinja").write_text("{{ messages }}")
    templated = prepare(recipe({**values, "model.chat_template": "own.jinja"}), hardware=CPU)
    assert templated.recipe.model.chat_template == str(tmp_path / "own.jinja")
    assert (
        prepare(recipe({**values, "model.chat_template": "plain"}), hardware=CPU).recipe.model.chat_template == "plain"
    )


def test_the_name_of_a_data_set_of_the_hub_is_no_path(parts: dict[str, object]) -> None:
    folder = folder_of("hub:some/rows")
    folder.mkdir()
    rows_file(folder / "rows.jsonl", 40)
    (folder / DONE).write_text("{}")
    plan = prepare(recipe({**parts, "data.source": "hub:some/rows"}), hardware=CPU)
    assert plan.recipe.data.source == "hub:some/rows"
    assert plan.data is not None
    assert plan.data.rows == 38


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    found = problems_of(
        {
            "model.source": "./no-model",
            "data.source": str(tmp_path / "no-rows.jsonl"),
            "training.epochs": 1.0,
            "training.max_steps": 10,
            "hardware.device": "cuda",
        }
    )
    places = " ".join(problem.where for problem in found)
    for where in ("training.max_steps", "no-model", "no-rows.jsonl", "hardware.device"):
        assert where in places
    assert len(found) == 4


def test_every_file_of_rows_that_cannot_be_opened_is_told(parts: dict[str, object], tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("source.jsonl", "held-out.jsonl", "mix-1.jsonl", "mix-2.jsonl")]
    more = {"data.source": names[0], "data.held_out": names[1], "data.mix": {names[2]: 0.1, names[3]: 0.1}}
    assert [found.where for found in problems_of({**parts, **more})] == names


def test_mistakes_in_a_file_hide_no_other_problem_and_each_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        "adapter:\n  kind: none\n  rank: 0\nquantization: {method: nf4}\nmodel:\n  source: /no/model\n"
        "data:\n  source: /no/rows.jsonl\n  shape: odd\n  held_out: /no/more.jsonl\n"
    )
    with pytest.raises(FtError) as caught:
        prepare(read(file, ("adapter.rnk=3", "training.epochs=1", "training.max_steps=9")), hardware=CPU)
    assert [found.where.removeprefix(str(tmp_path) + "/") for found in caught.value.problems] == [
        "bad.yaml:3",
        "bad.yaml:9",
        "adapter.rnk",
        "bad.yaml:2 adapter.kind",
        "training.max_steps",
        "bad.yaml:6 model.source: /no/model",
        "bad.yaml:8 data.source: /no/rows.jsonl",
        "bad.yaml:10 data.held_out: /no/more.jsonl",
    ]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("data: {held_out_share: 0.0}\nevaluation: {questions: many}\n", [2]),
        ("model: {source: 3}\ndata: {max_length: 4096}\n", [1]),
        ("hardware: {device: tpu, gpus: ['7']}\n", [1]),
        ("model: demo\ndata: [rows.jsonl]\n", [1, 2]),
    ],
)
def test_a_field_that_cannot_be_read_is_told_once_and_not_judged_by_its_default(
    tmp_path: Path, text: str, lines: list[int]
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(FtError) as caught:
        prepare(read(file), hardware=CPU)
    assert [found.where for found in caught.value.problems] == [f"{file}:{line}" for line in lines]


def test_a_model_that_cannot_be_tuned_stops_the_plan(parts: dict[str, object]) -> None:
    (Path(str(parts["model.source"])) / "model.safetensors").unlink()
    (found,) = problems_of(parts)
    assert "no weights" in found.what


def test_a_model_the_hub_may_not_be_asked_for_stops_the_plan(parts: dict[str, object]) -> None:
    (found,) = problems_of({**parts, "model.source": "org/unseen"})
    assert "HF_HUB_OFFLINE" in found.why


def test_a_model_on_the_hub_is_planned_with_what_is_known(
    parts: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    plan = prepare(recipe({**parts, "model.source": "org/unseen"}), hardware=CPU)
    assert (plan.model.kind, plan.memory) == ("hub", None)
    assert plan.recipe.training.micro_batch == 1


def test_conversations_need_a_chat_template_and_plain_texts_do_not(parts: dict[str, object], tmp_path: Path) -> None:
    bare = {**parts, "model.source": str(model_folder(tmp_path / "base", chat_template=False))}
    (found,) = problems_of(bare)
    assert "no chat template" in found.what
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"prompt": f"{n} is", "completion": " a number"}) + "\n" for n in range(50)))
    found = prepare(recipe({**bare, "data.source": str(texts)}), hardware=CPU)
    assert {warning.where for warning in found.warnings} <= {"data.held_out_share"}


def test_bad_rows_are_counted_and_named_but_do_not_stop_the_plan(parts: dict[str, object], tmp_path: Path) -> None:
    source = rows_file(tmp_path / "some-bad.jsonl", 20, {"messages": "none"}, {"messages": []})
    plan = prepare(recipe({**parts, "data.source": str(source)}), hardware=CPU)
    summary, *each, few = plan.warnings
    assert "too few to tell" in few.what
    assert "2 of 22 rows" in summary.what
    assert ["some-bad.jsonl:21" in bad.where or "some-bad.jsonl:22" in bad.where for bad in each] == [True, True]
    assert plan.data is not None
    assert (plan.data.rows, plan.data.held_out_rows, plan.data.unusable) == (19, 1, 2)


@pytest.mark.parametrize(
    ("quantization", "values", "where"),
    [
        ({"quant_method": "gptq"}, {}, "model.source"),
        ({"quant_method": "bitsandbytes"}, {"quantization.method": "nf4"}, "quantization.method"),
        ({"quant_method": "bitsandbytes"}, {"adapter.kind": "none"}, "adapter.kind"),
    ],
)
def test_a_model_quantised_already_is_tuned_in_one_way_only(
    parts: dict[str, object], tmp_path: Path, quantization: dict[str, str], values: dict[str, object], where: str
) -> None:
    packed = model_folder(tmp_path / "packed", config={"quantization_config": quantization})
    (found,) = problems_of({**parts, "model.source": str(packed), **values})
    assert found.where == where


@pytest.mark.parametrize(
    ("values", "hardware", "where"),
    [
        ({"data.max_length": 4096}, CPU, "data.max_length"),
        ({"model.dtype": "float16"}, CPU, "model.dtype"),
        ({"model.dtype": "bfloat16"}, machine(gpu(capability=(7, 5))), "model.dtype"),
        ({"hardware.gpus": ["0", "1"]}, machine(gpu(0), gpu(1)), "hardware.gpus"),
        ({}, machine(disk_gib=0), "/"),
    ],
)
def test_what_would_fail_in_the_worker_is_told_before(
    parts: dict[str, object], values: dict[str, object], hardware: Any, where: str
) -> None:
    (found,) = problems_of({**parts, **values}, hardware=hardware)
    assert found.where == where


@pytest.mark.parametrize("targets", [["nosuch"], ["up_proj", "nosuch"], ["model.layers.0.mlp.nosuch", "up_proj"]])
def test_layers_the_model_lacks_are_named_with_those_it_has(parts: dict[str, object], targets: list[str]) -> None:
    (found,) = problems_of({**parts, "adapter.target_modules": targets})
    assert found.where == "adapter.target_modules"
    assert "nosuch" in found.what
    assert found.why.endswith(": embed_tokens, up_proj")


@pytest.mark.parametrize(
    ("config", "values"),
    [
        ({}, {"adapter.target_modules": ["up_proj"]}),
        ({}, {"adapter.target_modules": ["layers.0.mlp.up_proj"]}),
        ({}, {"adapter.target_modules": ["nosuch"], "adapter.kind": "none"}),
        ({"model_type": "mixtral"}, {"adapter.target_modules": ["nosuch"]}),
    ],
)
def test_layers_the_model_has_or_may_have_in_memory_are_no_problem(
    parts: dict[str, object], tmp_path: Path, config: dict[str, str], values: dict[str, object]
) -> None:
    model = model_folder(tmp_path / "other", config=config)
    found = prepare(recipe({**parts, "model.source": str(model), **values}), hardware=CPU)
    assert {warning.where for warning in found.warnings} <= {"data.held_out_share"}


def test_a_run_that_is_too_large_for_the_gpu_is_warned_of(parts: dict[str, object]) -> None:
    plan = prepare(recipe(parts), hardware=machine(gpu(free_gib=0.1)))
    assert "are free" in plan.warnings[0].what


@pytest.mark.parametrize("how", [{}, {"data.packing": "none"}, {"training.attention": "sdpa"}])
def test_attention_dropout_that_packed_rows_leave_out_is_warned_of(
    parts: dict[str, object], tmp_path: Path, how: dict[str, object]
) -> None:
    base = str(model_folder(tmp_path / "dropping", config={"attention_dropout": 0.1}))
    told = prepare(recipe({"data.packing": "bfd", **parts, "model.source": base, **how}), hardware=machine(gpu()))
    assert any("attention dropout is 0" in one.what and "0.1" in one.what for one in told.warnings) is (not how)
    assert not any("dropout" in one.what for one in prepare(recipe(parts), hardware=machine(gpu())).warnings)


def test_planning_imports_nothing_of_the_training_stack(parts: dict[str, object]) -> None:
    script = (
        "import sys; from finetune_core.plan.prepare import prepare;"
        "from finetune_core.recipe.check import with_values;"
        f"from finetune_core.recipe.schema import Recipe; prepare(with_values(Recipe(), {parts!r}));"
        "print(*sorted({'torch', 'transformers', 'peft', 'trl', 'datasets', 'rich', 'textual'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == ""
