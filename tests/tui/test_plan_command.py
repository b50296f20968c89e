from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from finetune_core.paths import cache_root, runs_root
from finetune_tui.cli import cli
from tests.core.worker.faults import answering
from tests.core.worker.model_hub import serving_the_demo


@pytest.fixture
def demo(tmp_path: Path) -> str:
    path = tmp_path / "demo.yaml"
    assert ft("recipe", "new", str(path), "--demo", "--set", "hardware.device=cpu").exit_code == 0
    return str(path)


def ft(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def planned(*words: str) -> dict[str, Any]:
    result = ft("plan", *words, "--json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_plan_tells_memory_speed_duration_and_choices(demo: str) -> None:
    found = planned(demo, "--set", "hardware.price_per_hour=2")
    memory = found["memory"]
    assert sum(memory["parts"].values()) == memory["total"] > memory["peak_bytes"]
    assert (memory["fits"], memory["method"], found["measured"]) == (True, "closed form", None)
    assert found["steps"]["total"] == 150
    assert found["speed"]["tokens_per_s"]["mid"] < found["speed"]["limit_tokens_per_s"]
    assert found["duration_s"]["low"] < found["duration_s"]["mid"] < found["duration_s"]["high"]
    assert found["cost"]["mid"] == pytest.approx(found["duration_s"]["mid"] * 2 / 3600)
    made = {choice["field"]: choice for choice in found["choices"]}
    checkpointing = made["training.activation_checkpointing"]
    assert checkpointing["reason"]
    assert checkpointing["alternatives"][0]["time"] > 1


def test_people_read_the_same_in_80_columns(demo: str) -> None:
    result = ft("plan", demo)
    assert result.exit_code == 0
    assert "memory" in result.stdout
    assert "chosen automatically:" in result.stdout
    head, _, _ = result.stdout.partition("chosen automatically:")
    assert max(map(len, head.splitlines())) <= 80


def test_a_gpu_that_is_not_here_can_be_planned_for(demo: str) -> None:
    found = planned(demo, "--gpu", "24GB", "--set", "hardware.device=auto")
    assert found["memory"]["device_bytes"] == 24 * 2**30
    assert {choice["field"]: choice["value"] for choice in found["choices"]}["hardware.device"] == "cuda"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A model of the catalogue that cannot be fetched, so that no tokenizer is started."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return "--set", "model.source=Qwen/Qwen3-8B"


@pytest.mark.parametrize("command", ["plan", "models"])
def test_a_card_is_planned_for_by_its_name(command: str, demo: str, offline: tuple[str, str]) -> None:
    words = [command, demo, *offline] if command == "plan" else [command]
    result = ft(*words, "--gpu", "a100-40", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    free = found["memory"]["free_bytes"] if command == "plan" else found["memory_bytes"]
    assert free == pytest.approx(39.4 * 2**30)
    assert "taken for the A100 40 GB" in result.stderr


def test_a_planned_card_has_its_speed_and_its_formats(demo: str, offline: tuple[str, str]) -> None:
    fast, slow = (planned(demo, "--gpu", name, *offline) for name in ("H100", "T4"))
    assert fast["speed"]["limit_tokens_per_s"] > 10 * slow["speed"]["limit_tokens_per_s"]
    chosen = {choice["field"]: choice["value"] for choice in slow["choices"]}
    assert chosen["model.dtype"] == "float16"
    assert chosen["hardware.device"] == "cuda", "although the recipe says cpu"
    assert "hardware.gpus" not in chosen, "no GPU of that machine has a name here"


@pytest.mark.parametrize("name", ["much", "4095", "2x4090"])
def test_what_is_no_card_and_no_size_is_refused(name: str, demo: str) -> None:
    for words in (["plan", demo], ["models"]):
        result = ft(*words, "--gpu", name)
        assert result.exit_code == 2
        assert "--gpu" in result.stderr


def test_the_disk_of_this_machine_is_a_warning_for_a_gpu_elsewhere(
    demo: str, offline: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune_core.hardware.host._disk", lambda _path: (1000, 2000))
    assert ft("plan", demo, *offline).exit_code == 2
    found = planned(demo, "--gpu", "4090", *offline)
    (warning,) = (one for one in found["warnings"] if "of disk" in one["what"])
    assert "this machine would have" in warning["why"]


def test_models_of_the_catalogue_are_planned_offline_and_the_plan_says_so(demo: str, offline: tuple[str, str]) -> None:
    found = planned(demo, "--gpu", "24GB", *offline)
    assert found["memory"]["total"] > 5 * 2**30
    (warning,) = (one for one in found["warnings"] if one["where"].endswith("model.source"))
    assert "from the shapes that ship" in warning["what"]
    assert "HF_HUB_OFFLINE" in warning["why"]
    unknown = ft("plan", demo, "--gpu", "24GB", "--set", "model.source=some/unknown")
    assert unknown.exit_code == 2
    assert "forbids asking the hub" in unknown.stderr
    assert ft("train", demo, *offline).exit_code == 2


def test_a_model_of_the_catalogue_is_planned_while_the_hub_cannot_be_reached(
    demo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    result = ft("plan", demo, "--gpu", "24GB", "--set", "model.source=Qwen/Qwen3-8B", "--json")
    assert result.exit_code == 0, result.stderr
    assert "planned from the shapes that ship" in result.stderr
    assert json.loads(result.stdout)["memory"]["total"] > 5 * 2**30


def test_an_imagined_gpu_cannot_be_measured(demo: str) -> None:
    result = ft("plan", demo, "--gpu", "24GB", "--probe")
    assert result.exit_code == 2
    assert "cannot be measured" in result.stderr


def test_a_traced_plan_agrees_with_the_closed_form(demo: str) -> None:
    guess, traced = planned(demo), planned(demo, "--trace")
    assert traced["memory"]["method"] == "trace"
    assert traced["memory"]["peak_bytes"] == pytest.approx(guess["memory"]["peak_bytes"], rel=0.05)


def test_what_cannot_be_traced_is_a_warning_beside_the_plan(demo: str) -> None:
    result = ft("plan", demo, "--trace", "--set", "quantization.method=int8")
    assert result.exit_code == 0
    assert "(closed form)" in result.stdout
    assert "cannot be traced" in result.stderr


def test_a_probe_measures_the_longest_batch_and_leaves_no_run_behind(demo: str) -> None:
    found = planned(demo, "--probe", "--set", "evaluation.questions=1")
    measured = found["measured"]
    assert 0 < measured["peak"] < found["memory"]["total"]
    assert measured["tokens_per_s"] == pytest.approx(measured["tokens"] / measured["seconds"])
    assert found["speed"]["method"] == "measured on this machine", "the plan is corrected by it"
    assert list(runs_root().iterdir()) == []
    assert list((cache_root() / "probes").iterdir()) == []
    again = planned(demo)
    assert again["speed"]["method"] == "measured on this machine"


def test_a_probe_that_fails_says_why(demo: str, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n')
    result = ft("plan", demo, "--probe", "--set", f"data.source={rows}", "--set", "data.held_out=", "--set",
                "data.max_length=16", "--set", "model.chat_template=/nowhere.jinja")  # fmt: skip
    assert result.exit_code == 2
    assert "/nowhere.jinja" in result.stderr


def test_a_model_of_the_hub_is_planned_for_before_its_weights_come(demo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving_the_demo(monkeypatch) as hub:
        hub.gated = True
        refused = ft("plan", demo, "--set", "model.source=some/tiny", "--json")
        hub.gated = False
        result = ft("plan", demo, "--set", "model.source=some/tiny", "--json")
        again = ft("plan", demo, "--set", "model.source=some/tiny", "--json")
        monkeypatch.setattr("finetune_core.plan.describe._FRESH_SECONDS", 0.0)
        hub.fault = answering(500, at="/api/")
        later = ft("plan", demo, "--set", "model.source=some/tiny", "--json")
    assert later.exit_code == 0
    assert "taken for what the hub said of it earlier" in later.stderr
    assert json.loads(later.stdout)["memory"]["parts"] == json.loads(again.stdout)["memory"]["parts"]
    assert "asking the hub what some/tiny is" in result.stderr
    assert json.loads(result.stdout)["memory"]["total"] > 0
    assert "asking the hub" not in again.stderr, "it said so once"
    assert not any(path.endswith(".safetensors") for path in hub.got)
    assert refused.exit_code != 0
    assert "it is gated (403)" in refused.stderr
    assert "HF_TOKEN" in refused.stderr
