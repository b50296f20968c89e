"""A whole LoRA run of the real trainer on a tiny model: what it tells, what it leaves, and that it is reproducible."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from finetune_core.evaluation.losses import load as load_losses
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.runs.status import read_status
from finetune_core.runs.view.run_view import RunView
from tests.core.worker import tiny

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture(scope="module")
def recipe(model: Path, data: Path) -> Recipe:
    return tiny.make_recipe(model, data, adapter__dropout=0.1)


@pytest.fixture(scope="module")
def run(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run = tiny.make_run(tmp_path_factory.mktemp("home"), recipe)
    assert tiny.train(run) == 0, tiny.ended(run)
    return run


def test_the_plan_tells_the_steps_that_are_then_taken(run: RunDir) -> None:
    (plan,) = tiny.events(run, "plan")
    steps = tiny.events(run, "step")
    assert plan["total_steps"] == 12
    assert [event["step"] for event in steps] == list(range(1, 13))
    assert (plan["rows"], plan["held_out_rows"], plan["effective_batch"]) == (36, 12, 9)
    assert 0 < plan["trainable_parameters"] < plan["parameters"]
    assert plan["memory_total"] > 2**30


def test_a_step_tells_loss_rate_gradient_tokens_and_memory(run: RunDir) -> None:
    (plan,) = tiny.events(run, "plan")
    steps = tiny.events(run, "step")
    assert steps[-1]["loss"] < steps[1]["loss"]
    assert max(event["learning_rate"] for event in steps) == pytest.approx(5e-3)
    assert all(event["grad_norm"] > 0 and event["tokens_per_s"] > 0 for event in steps)
    assert steps[-1]["tokens"] == 3 * plan["tokens"]
    assert all(event["memory"]["rss"] > 10**8 for event in steps)


def test_the_base_is_measured_before_the_first_step(run: RunDir) -> None:
    kinds = [(event["kind"], event.get("step")) for event in tiny.events(run)]
    assert kinds.index(("eval", 0)) < kinds.index(("sample", 0)) < kinds.index(("step", 1))
    assert [event["step"] for event in tiny.events(run, "eval")] == [0, 6, 12]


def test_samples_show_the_base_beside_the_tuned_model(run: RunDir) -> None:
    found = tiny.events(run, "sample")
    assert [event["step"] for event in found] == [0, 5, 10, 12]
    sets = [json.loads((run.path / event["path"]).read_text()) for event in found]
    assert all(len(one["items"]) == 2 and one["source"] == "held_out" for one in sets)
    assert [item["base"] for item in sets[0]["items"]] == [item["base"] for item in sets[-1]["items"]]
    assert [item["base"] for item in sets[0]["items"]] == [item["current"] for item in sets[0]["items"]]
    assert all("colour" in item["prompt"] and "answer" in item["reference"] for item in sets[0]["items"])
    assert stat.S_IMODE((run.path / found[0]["path"]).stat().st_mode) == 0o600


def test_the_newest_checkpoints_are_kept_sealed_and_hold_no_pickled_arguments(run: RunDir) -> None:
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-000008", "step-000012"]
    manifest = json.loads((run.checkpoints / "step-000012" / "manifest.json").read_text())
    names = {path.name for path in (run.checkpoints / "step-000012").iterdir()}
    assert names == set(manifest["files"]) | {"manifest.json"}
    assert {"adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"} <= names
    assert "training_args.bin" not in names


def test_the_verdict_holds_every_answer_of_both_models(run: RunDir) -> None:
    (event,) = tiny.events(run, "verdict")
    verdict = json.loads((run.path / event["path"]).read_text())
    assert len(verdict["answers"]) == event["rows"] == 4
    assert set(verdict["answers"][0]) == {
        "prompt", "reference", "fact", "base", "tuned", "base_ended", "tuned_ended",
    }  # fmt: skip
    assert {answer["base_ended"] for answer in verdict["answers"]} <= {True, False}
    # Four rows are too few for any test, whatever their loss did.
    assert (verdict["outcome"], verdict["better"]) == ("too few rows to tell", None)
    assert read_status(run).verdict == "too few rows to tell"
    assert verdict["next"]["set"]
    assert verdict["tuned"]["held_out_loss"] < verdict["base"]["held_out_loss"]
    losses = {found["step"]: found["loss"] for found in tiny.events(run, "eval")}
    assert verdict["base"]["held_out_loss"] == losses[0]
    assert verdict["tuned"]["held_out_loss"] == losses[12]


def test_the_losses_of_single_rows_are_kept_and_come_to_the_loss_that_is_told(run: RunDir) -> None:
    for event in tiny.events(run, "eval"):
        assert event["path"] == f"eval/losses-{event['step']:06d}.json"
        rows = load_losses(run.path / event["path"])
        assert rows is not None
        assert len(rows.nats) == event["rows"] == 12
        assert min(rows.tokens) > 0
        assert rows.mean == event["loss"]
        assert rows.utf8 is None


def test_the_run_ends_done_and_readers_see_it_so(run: RunDir) -> None:
    assert tiny.events(run)[-1]["kind"] == "end"
    assert tiny.ended(run)["state"] == "done"
    status = read_status(run)
    assert status is not None
    assert (status.state, status.step, status.total) == ("done", 12, 12)
    view = RunView(run)
    view.poll()
    assert view.state == "done"
    assert view.load_sample(view.samples[-1]).items[0].reference is not None


def test_the_adapter_loads_in_a_process_that_knows_only_transformers_and_peft(run: RunDir, model: Path) -> None:
    (event,) = tiny.events(run, "result")
    assert (event["path"], event["result_kind"], event["base"]) == ("result", "adapter", str(model))
    script = """
import json, sys
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
folder = sys.argv[1]
base = json.load(open(folder + "/adapter_config.json"))["base_model_name_or_path"]
tokenizer = AutoTokenizer.from_pretrained(folder)
tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
turns = [{"role": "user", "content": "what colour is sky 2"}]
ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
assert any("lora" in name and value.abs().sum() > 0 for name, value in tuned.named_parameters() if "lora_B" in name)
print(base, tuned.generate(**ids, max_new_tokens=3).shape[1] > ids["input_ids"].shape[1])
"""
    command = [sys.executable, "-P", "-c", script, str(run.result)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == [str(model), "True"]


def test_training_is_bit_identical_without_samples_and_evaluations(
    run: RunDir, model: Path, data: Path, tmp_path: Path
) -> None:
    """With dropout on: any draw from the random state in between would change the losses."""
    quiet = tiny.make_recipe(
        model, data, adapter__dropout=0.1, samples__count=0, evaluation__questions=0, evaluation__every_steps=None
    )
    other = tiny.make_run(tmp_path, quiet)
    assert tiny.train(other) == 0
    assert tiny.events(other, "sample") == []
    assert tiny.losses(other) == tiny.losses(run)


@pytest.mark.parametrize("last", [4, 6])
def test_a_resumed_run_takes_the_same_steps_as_an_unbroken_one(
    last: int, run: RunDir, model: Path, data: Path, tmp_path: Path
) -> None:
    """Cut at the end of the first epoch, and within the second."""
    recipe = tiny.make_recipe(model, data, adapter__dropout=0.1, saving__every_steps=last, saving__keep=9)
    cut = tiny.make_run(tmp_path, recipe)
    assert tiny.train(cut) == 0
    for folder in cut.checkpoints.iterdir():
        if folder.name != f"step-{last:06d}":
            shutil.rmtree(folder)
    seen = len(tiny.events(cut, "step"))
    assert tiny.train(cut, resume=True) == 0
    again = tiny.events(cut, "step")[seen:]
    unbroken = tiny.losses(run)
    assert {event["step"]: event["loss"] for event in again} == {step: unbroken[step] for step in range(last + 1, 13)}
    assert again[-1]["tokens"] == tiny.events(run, "step")[-1]["tokens"]
    weights = "adapter_model.safetensors"
    assert (cut.result / weights).read_bytes() == (run.result / weights).read_bytes()


def test_resuming_a_finished_run_trains_no_further_and_gives_the_same_adapter(run: RunDir, tmp_path: Path) -> None:
    copy = RunDir(tmp_path / run.name)
    shutil.copytree(run.path, copy.path)
    before = (copy.result / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(copy.result)
    seen = len(tiny.events(copy, "step"))
    assert tiny.train(copy, resume=True) == 0
    assert len(tiny.events(copy, "step")) == seen
    assert (copy.result / "adapter_model.safetensors").read_bytes() == before


def test_a_damaged_checkpoint_is_passed_over_with_an_alarm(run: RunDir, tmp_path: Path) -> None:
    copy = RunDir(tmp_path / run.name)
    shutil.copytree(run.path, copy.path)
    (copy.checkpoints / "step-000012" / "optimizer.pt").unlink()
    assert tiny.train(copy, resume=True) == 0
    (alarm,) = tiny.events(copy, "alarm")
    assert alarm["name"] == "checkpoint_damaged"
    assert "optimizer.pt" in alarm["text"]
    assert "step-000008" in alarm["text"]
    assert tiny.losses(copy) == tiny.losses(run)


def test_a_run_is_not_resumed_on_other_data(recipe: Recipe, run: RunDir, tmp_path: Path) -> None:
    copy = RunDir(tmp_path / run.name)
    shutil.copytree(run.path, copy.path)
    source = Path(recipe.data.source)
    kept = source.read_text()
    try:
        source.write_text(kept + kept.splitlines()[0] + "\n")
        assert tiny.train(copy, resume=True) == 3
    finally:
        source.write_text(kept)
    assert "changed" in tiny.ended(copy)["cause"]
    assert "start a new run" in tiny.ended(copy)["remedy"]


def test_a_resumed_run_keeps_the_chat_template_it_began_with(model: Path, data: Path, tmp_path: Path) -> None:
    """A template file is kept in the run; a model's own that has changed keeps the run from going on."""
    own, template = tmp_path / "model", tmp_path / "own.jinja"
    shutil.copytree(model, own)
    text = (own / "chat_template.jinja").read_text()
    template.write_text(text)
    named = tiny.make_run(tmp_path / "a", tiny.make_recipe(own, data, model__chat_template=str(template)))
    auto = tiny.make_run(tmp_path / "b", tiny.make_recipe(own, data))
    for one in (named, auto):
        assert tiny.train(one) == 0
        shutil.rmtree(one.result)
    template.write_text("{{ 'another' }}")
    (own / "chat_template.jinja").write_text(text + "{{ '' }}")
    assert tiny.train(named, resume=True) == 0
    assert named.template_file.read_text() == text
    assert not auto.template_file.exists()
    assert tiny.train(auto, resume=True) == 3
    assert "the chat template is not what the run began with" in tiny.ended(auto)["cause"]


def test_a_result_of_whole_weights_stops_where_it_has_learnt_to_end_an_answer(
    model: Path, data: Path, tmp_path: Path
) -> None:
    recipe = tiny.make_recipe(model, data, adapter__kind="none", training__epochs=1.0)
    run = tiny.make_run(tmp_path, recipe)
    assert tiny.train(run) == 0
    kept = json.loads((run.result / "generation_config.json").read_text())["eos_token_id"]
    words = json.loads((model / "tokenizer.json").read_text())["added_tokens"]
    assert {"<|text|>", "<|end|>"} == {word["content"] for word in words if word["id"] in kept}
